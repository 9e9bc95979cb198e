//! Secrets: generated ones are created once and then left alone; named ones are checked.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::{Api, PostParams};

use crate::api::WscCluster;
use crate::api::conditions::reasons;
use crate::api::hub::AuthMode;
use crate::desired;
use crate::desired::names;
use crate::desired::redis::CONFIG_KEY;
use crate::desired::secrets::PASSWORD_KEY;
use crate::observe::metrics::Metrics;

use super::error::{ReconcileError, status_code};
use super::memory::ClusterMemory;

/// A fault in the spec that only the cluster can show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpecFault {
    /// Reason of the `SpecValid` condition.
    pub reason: &'static str,
    /// What is wrong and what to do.
    pub message: String,
}

/// What is known of the Secrets of a resource.
#[derive(Debug, Clone, Default)]
pub struct Secrets {
    /// Generated ones created in this pass.
    pub created: Vec<String>,
    /// Generated ones that had been there, were gone, and were created again.
    pub recreated: Vec<String>,
    /// What is wrong with named ones.
    pub faults: Vec<SpecFault>,
    /// UID and resource version of the managed Redis password Secret.
    pub redis_auth_version: Option<String>,
    /// Key for the hubs' admin API, or why there is none.
    pub admin_key: Option<String>,
    /// State of every Secret that the pods mount, by name.
    pub versions: BTreeMap<String, String>,
    /// A Secret of an earlier resource of this name is about to be collected.
    pub leftover: Option<String>,
}

/// Secrets are not watched, which would need the right to list them all, but read. During an
/// operation passes follow each other every second; the Secrets are read less often.
const READ_EVERY: Duration = Duration::from_secs(5);

/// The last look at the Secrets of a resource.
#[derive(Debug)]
pub struct Checked {
    at: Instant,
    generation: Option<i64>,
    /// What was found; what was created then is not told again.
    pub found: Secrets,
}

impl Checked {
    /// A look just taken.
    #[must_use]
    pub fn new(generation: Option<i64>, found: &Secrets) -> Self {
        Self {
            at: Instant::now(),
            generation,
            found: Secrets { created: Vec::new(), recreated: Vec::new(), ..found.clone() },
        }
    }

    /// Whether the look still holds: the spec is the same, nothing was wrong, and it is not old.
    #[must_use]
    pub fn is_fresh(&self, generation: Option<i64>, now: Instant) -> bool {
        self.generation == generation
            && self.found.faults.is_empty()
            && self.found.leftover.is_none()
            && self.found.admin_key.is_some()
            && now.duration_since(self.at) < READ_EVERY
    }
}

/// Endings of the files with keys that verify tokens.
const TOKEN_KEYS: &[&str] = &[".key", ".pem", "jwks.json"];

/// How Secrets are handled in a pass.
#[derive(Debug, Clone, Copy)]
pub struct Mode {
    /// Whether missing generated ones are created.
    pub create: bool,
    /// Whether the resource had its pods before, so that a missing Secret was lost.
    pub established: bool,
}

/// A key that must be in a Secret.
enum Need {
    Exactly(&'static str),
    Prefix(&'static str),
    Suffixes(&'static [&'static str]),
}

impl Need {
    fn is_met(&self, data: &BTreeMap<String, ByteString>) -> bool {
        data.iter().any(|(key, value)| {
            !value.0.is_empty()
                && match self {
                    Self::Exactly(name) => key == name,
                    Self::Prefix(prefix) => key.starts_with(prefix),
                    Self::Suffixes(suffixes) => suffixes.iter().any(|suffix| key.ends_with(suffix)),
                }
        })
    }

    fn words(&self) -> String {
        match self {
            Self::Exactly(name) => format!("key {name:?}"),
            Self::Prefix(prefix) => format!("key whose name begins with {prefix:?}"),
            Self::Suffixes(suffixes) => {
                format!("key whose name ends with {}", suffixes.join(" or "))
            }
        }
    }
}

/// Creates the generated Secrets that are missing and checks the named ones.
///
/// # Errors
/// When the API server cannot be reached or refuses.
pub async fn ensure(
    client: &Client,
    metrics: &Metrics,
    cluster: &WscCluster,
    mode: Mode,
    memory: &mut ClusterMemory,
) -> Result<Secrets, ReconcileError> {
    let namespace = names::namespace(cluster);
    let owner = cluster.metadata.uid.as_deref().unwrap_or_default();
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let mut found = Secrets::default();
    let mut random = |length: usize| {
        let mut bytes = vec![0; length];
        rand::fill(&mut bytes[..]);
        bytes
    };
    let redis_name = names::redis_secret(cluster);
    let admin_name = names::effective_api_secret(cluster);
    let mut admin = None;
    for secret in desired::secrets(cluster, &mut random) {
        let Some(name) = secret.metadata.name.clone() else {
            continue;
        };
        let present =
            api.get_opt(&name).await.map_err(ReconcileError::api(format!("reading Secret {name}")))?;
        let present = match present {
            Some(present) => present,
            None if !mode.create => continue,
            None => {
                metrics.wrote("create", "Secret");
                let created = create(&api, &name, &secret).await?;
                if mode.established || memory.secrets.contains(&name) {
                    found.recreated.push(name.clone());
                } else {
                    found.created.push(name.clone());
                }
                created
            }
        };
        if is_leftover(&present, owner) {
            found.leftover = Some(name.clone());
        }
        // It may have been there before, made by somebody else, or its keys may have been taken out.
        let data = present.data.clone().unwrap_or_default();
        for need in generated_needs(cluster, &name).iter().filter(|need| !need.is_met(&data)) {
            found.faults.push(SpecFault {
                reason: reasons::SECRET_KEY_MISSING,
                message: format!(
                    "Secret {name} has no {}; add it, or delete the Secret, which is then made with new random content",
                    need.words()
                ),
            });
        }
        memory.secrets.insert(name.clone());
        found.versions.extend(version(&present).map(|version| (name.clone(), version)));
        if name == redis_name {
            found.redis_auth_version = version(&present);
            if !config_agrees(&data) {
                found.faults.push(SpecFault {
                    reason: reasons::INVALID,
                    message: format!(
                        "Secret {name}: key {CONFIG_KEY} does not set the password that key {PASSWORD_KEY} holds; correct one of them, or delete the Secret, which is then made with a new password"
                    ),
                });
            }
        }
        if name == admin_name {
            admin = Some(present);
        }
    }
    for (name, field, needs) in named(cluster) {
        let present =
            api.get_opt(&name).await.map_err(ReconcileError::api(format!("reading Secret {name}")))?;
        match present {
            None => found.faults.push(SpecFault {
                reason: reasons::SECRET_MISSING,
                message: format!(
                    "Secret {name}, named by spec.{field}, does not exist in namespace {namespace}; create it, or correct the name"
                ),
            }),
            Some(present) => {
                found.versions.extend(version(&present).map(|version| (name.clone(), version)));
                let data = present.data.clone().unwrap_or_default();
                for need in needs.iter().filter(|need| !need.is_met(&data)) {
                    found.faults.push(SpecFault {
                        reason: reasons::SECRET_KEY_MISSING,
                        message: format!(
                            "Secret {name}, named by spec.{field}, has no {}; add it",
                            need.words()
                        ),
                    });
                }
                if name == admin_name {
                    admin = Some(present);
                }
            }
        }
    }
    found.admin_key = admin.as_ref().and_then(admin_key);
    Ok(found)
}

async fn create(api: &Api<Secret>, name: &str, secret: &Secret) -> Result<Secret, ReconcileError> {
    match api.create(&PostParams::default(), secret).await {
        Ok(created) => Ok(created),
        Err(error) if status_code(&error) == Some(409) => {
            api.get(name).await.map_err(ReconcileError::api(format!("reading Secret {name}")))
        }
        Err(error) => Err(ReconcileError::api(format!("creating Secret {name}"))(error)),
    }
}

/// Which state of a Secret this is, without a word about what is in it.
fn version(secret: &Secret) -> Option<String> {
    let metadata = &secret.metadata;
    Some(format!("{}/{}", metadata.uid.as_deref()?, metadata.resource_version.as_deref()?))
}

/// Whether what Redis reads and what the hubs read name the same password. What is missing is another fault.
fn config_agrees(data: &BTreeMap<String, ByteString>) -> bool {
    let (Some(password), Some(config)) = (data.get(PASSWORD_KEY), data.get(CONFIG_KEY)) else {
        return true;
    };
    let text = |bytes: &ByteString| String::from_utf8_lossy(&bytes.0).trim().to_owned();
    let password = text(password);
    text(config).lines().any(|line| {
        let value = line.trim().strip_prefix("requirepass").map(str::trim);
        value.is_some_and(|value| value == password || value == format!("\"{password}\""))
    })
}

/// Owned by another resource of our kind: one of this name that was deleted a moment ago, whose
/// Secrets the garbage collector has not reached yet.
fn is_leftover(secret: &Secret, owner: &str) -> bool {
    secret
        .metadata
        .owner_references
        .as_deref()
        .unwrap_or_default()
        .iter()
        .any(|reference| reference.kind == "WscCluster" && reference.uid != owner)
}

/// The first key of scope `admin`, as the hub reads it: by name, trimmed.
fn admin_key(secret: &Secret) -> Option<String> {
    secret.data.as_ref()?.iter().filter(|(name, _)| name.starts_with("admin")).find_map(|(_, value)| {
        let key = std::str::from_utf8(&value.0).ok()?.trim();
        (!key.is_empty()).then(|| key.to_owned())
    })
}

/// What a generated Secret must hold, whoever made it.
fn generated_needs(cluster: &WscCluster, name: &str) -> Vec<Need> {
    let mut needs = Vec::new();
    if name == names::auth_secret(cluster) {
        needs.push(Need::Suffixes(TOKEN_KEYS));
    } else if name == names::api_secret(cluster) {
        needs.push(Need::Prefix("admin"));
    } else if name == names::redis_secret(cluster) {
        needs.extend([Need::Exactly(PASSWORD_KEY), Need::Exactly(CONFIG_KEY)]);
    }
    needs
}

/// Secrets that the spec names: name, field, needed keys.
fn named(cluster: &WscCluster) -> Vec<(String, &'static str, Vec<Need>)> {
    let spec = &cluster.spec;
    let mut named = Vec::new();
    if let Some(keys) = &spec.hub.auth.keys_secret_ref
        && spec.hub.auth.mode == AuthMode::Token
    {
        named.push((keys.name.clone(), "hub.auth.keysSecretRef", vec![Need::Suffixes(TOKEN_KEYS)]));
    }
    if let Some(keys) = &spec.hub.api_keys_secret_ref {
        named.push((keys.name.clone(), "hub.apiKeysSecretRef", vec![Need::Prefix("admin")]));
    }
    if let Some(external) = &spec.redis.external {
        if let Some(auth) = &external.auth_secret_ref {
            named.push((auth.name.clone(), "redis.external.authSecretRef", vec![Need::Exactly("password")]));
        }
        if let Some(ca) = &external.tls.ca_secret_ref {
            named.push((ca.name.clone(), "redis.external.tls.caSecretRef", vec![Need::Exactly("ca.crt")]));
        }
        if let Some(certificate) = &external.tls.client_cert_secret_ref {
            named.push((
                certificate.name.clone(),
                "redis.external.tls.clientCertSecretRef",
                vec![Need::Exactly("tls.crt"), Need::Exactly("tls.key")],
            ));
        }
    }
    named
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Secret;
    use serde_json::json;

    use super::{Need, admin_key, config_agrees, generated_needs, is_leftover};
    use crate::api::redis::{ManagedRedis, RedisSpec};
    use crate::api::{WscCluster, WscClusterSpec};

    fn secret(data: &serde_json::Value) -> Secret {
        serde_json::from_value(json!({"stringData": {}, "data": data})).unwrap()
    }

    #[test]
    fn needs_are_met_by_name_and_only_with_a_value() {
        let data = secret(&json!({"password": "eA==", "main.key": "eA==", "admin-2": ""})).data.unwrap();
        assert!(Need::Exactly("password").is_met(&data));
        assert!(Need::Suffixes(&[".key", ".pem"]).is_met(&data));
        assert!(!Need::Prefix("admin").is_met(&data), "an empty value is no key");
        assert!(!Need::Exactly("username").is_met(&data));
    }

    #[test]
    fn a_generated_secret_that_somebody_emptied_is_a_fault() {
        let redis = RedisSpec { managed: Some(ManagedRedis::default()), ..RedisSpec::default() };
        let cluster = WscCluster::new("chat", WscClusterSpec::with_redis(redis));
        let mine = secret(&json!({"mine": "eA=="})).data.unwrap();
        for (name, expected) in [("chat-auth", 1), ("chat-api", 1), ("chat-redis", 2), ("other", 0)] {
            let unmet = generated_needs(&cluster, name).iter().filter(|need| !need.is_met(&mine)).count();
            assert_eq!(unmet, expected, "{name}");
        }
    }

    #[test]
    fn redis_and_the_hubs_must_read_the_same_password() {
        // The texts are "x", "requirepass x\n", "requirepass y", "dir /data\nrequirepass \"x\"".
        for (config, agrees) in [
            ("cmVxdWlyZXBhc3MgeAo=", true),
            ("cmVxdWlyZXBhc3MgeQ==", false),
            ("ZGlyIC9kYXRhCnJlcXVpcmVwYXNzICJ4Ig==", true),
            ("", false),
        ] {
            let data = secret(&json!({"password": "eA==", "redis.conf": config})).data.unwrap();
            assert_eq!(config_agrees(&data), agrees, "{config}");
        }
        assert!(config_agrees(&secret(&json!({"password": "eA=="})).data.unwrap()));
    }

    #[test]
    fn the_admin_key_is_the_first_of_its_scope_and_trimmed() {
        // "api-key" and " admin-key\n"
        let found = admin_key(&secret(&json!({"api": "YXBpLWtleQ==", "admin": "IGFkbWluLWtleQo="})));
        assert_eq!(found.as_deref(), Some("admin-key"));
        assert_eq!(admin_key(&secret(&json!({"api": "YXBpLWtleQ=="}))), None);
    }

    #[test]
    fn a_secret_of_a_deleted_namesake_is_a_leftover_and_a_users_own_is_not() {
        let owned = |uid: &str| {
            serde_json::from_value::<Secret>(json!({"metadata": {"ownerReferences": [
                {"apiVersion": "wsc.dev/v1alpha1", "kind": "WscCluster", "name": "chat", "uid": uid}
            ]}}))
            .unwrap()
        };
        assert!(is_leftover(&owned("old"), "new"));
        assert!(!is_leftover(&owned("new"), "new"));
        assert!(!is_leftover(&Secret::default(), "new"));
    }
}
