//! Environment of the hub container.
//!
//! Settings are literal values in the pod template, so the StatefulSet's revision is the hash of the configuration. Those
//! that reach running nodes are not here but in the file of hot settings.

use k8s_openapi::api::core::v1::{EnvVar, EnvVarSource, ObjectFieldSelector};

use super::services::{API_PORT, CLIENT_PORT};
use super::volumes::{API_KEYS_DIR, AUTH_KEYS_DIR, REDIS_AUTH_DIR, REDIS_CA_DIR, REDIS_CERT_DIR};
use super::{hot_settings, redis};
use crate::api::WscCluster;
use crate::api::duration::single_unit;
use crate::api::hub::{AuthMode, HubEnv, MANAGED_ENV};
use crate::api::inbox::InboxSpec;
use crate::api::redis::RedisMode;

/// What the hub leaves of the pod's grace to the kubelet, so that it is never killed while closing connections.
const GRACE_MARGIN: std::time::Duration = std::time::Duration::from_secs(10);

/// All variables of the hub container: those of the operator, then the spec's own.
pub fn hub(cluster: &WscCluster) -> Vec<EnvVar> {
    let spec = &cluster.spec;
    let hub = &spec.hub;
    let mut env = vec![
        field("WSC_NODE_ID", "metadata.name"),
        field("WSC_POD_UID", "metadata.uid"),
        field("WSC_NODE_IP", "status.podIP"),
        // Present where the API server copies topology labels to pods, else empty.
        field("WSC_ZONE", "metadata.labels['topology.kubernetes.io/zone']"),
        value("WSC_CLIENT_ADDR", format!("0.0.0.0:{CLIENT_PORT}")),
        value("WSC_API_ADDR", format!("0.0.0.0:{API_PORT}")),
    ];
    env.extend(redis_connection(cluster));
    env.extend([
        value("WSC_KEY_PREFIX", redis::key_prefix(cluster)),
        value("WSC_OWNER", cluster.metadata.uid.clone().unwrap_or_default()),
        value("WSC_AUTH_MODE", hub.auth.mode.as_str()),
        value("WSC_API_KEYS_DIR", API_KEYS_DIR),
        value("WSC_HEARTBEAT_INTERVAL", hub.heartbeat.interval.single_unit()),
        value("WSC_LEASE", hub.heartbeat.lease.single_unit()),
        value("WSC_MAX_CONNECTIONS_PER_USER", hub.limits.max_connections_per_user.to_string()),
        value("WSC_ON_EXCESS", hub.limits.on_excess.as_str()),
        value("WSC_EVENTS", hub.events.enabled.to_string()),
        value("WSC_HOT_SETTINGS_FILE", hot_settings::path()),
        value(
            "WSC_GRACE",
            single_unit(spec.drain.termination_grace_period.get().saturating_sub(GRACE_MARGIN)),
        ),
        value("WSC_LOG_FORMAT", "json"),
    ]);
    env.extend(inbox(&hub.inbox));
    if hub.auth.mode == AuthMode::Token {
        env.push(value("WSC_AUTH_KEYS_DIR", AUTH_KEYS_DIR));
    }
    if let Some(proxy) = &hub.auth.proxy {
        if let Some(header) = &proxy.user_header
            && hub.auth.mode == AuthMode::Proxy
        {
            env.push(value("WSC_PROXY_USER_HEADER", header.clone()));
        }
        if !proxy.trusted_cidrs.is_empty() {
            env.push(value("WSC_TRUSTED_PROXIES", proxy.trusted_cidrs.join(",")));
        }
    }
    env.extend(hub.env.iter().map(own));
    env
}

/// The first entry that names a variable of the operator.
pub fn first_managed(env: &[HubEnv]) -> Option<&str> {
    env.iter().map(|entry| entry.name.as_str()).find(|name| MANAGED_ENV.contains(name))
}

fn inbox(inbox: &InboxSpec) -> Vec<EnvVar> {
    // The hub stores nothing where no message fits.
    let messages = if inbox.enabled { inbox.max_messages } else { 0 };
    let mut env = vec![value("WSC_INBOX_MAX_MESSAGES", messages.to_string())];
    env.extend(inbox_bytes(inbox).map(|bytes| value("WSC_INBOX_MAX_BYTES", bytes.to_string())));
    env.push(value("WSC_INBOX_TTL", inbox.ttl.single_unit()));
    env
}

/// Bytes of stored messages of one user; none when the spec names no size that the hub takes.
pub(super) fn inbox_bytes(inbox: &InboxSpec) -> Option<u64> {
    redis::bytes(&inbox.max_bytes).filter(|bytes| (1 << 10..=256 << 20).contains(bytes))
}

fn redis_connection(cluster: &WscCluster) -> Vec<EnvVar> {
    let mode = cluster.spec.redis.external.as_ref().map_or(RedisMode::Standalone, |external| external.mode);
    let mut env =
        vec![value("WSC_REDIS_URL", redis::redis_url(cluster)), value("WSC_REDIS_MODE", mode.as_str())];
    if cluster.spec.redis.managed.is_some() {
        env.push(value("WSC_REDIS_PASSWORD_FILE", format!("{REDIS_AUTH_DIR}/password")));
    }
    if let Some(external) = &cluster.spec.redis.external {
        if let Some(sentinel) = &external.sentinel {
            env.push(value("WSC_REDIS_SENTINEL_MASTER", sentinel.master_name.clone()));
        }
        if external.auth_secret_ref.is_some() {
            // The key is optional in the Secret; the volume has a file for it in any case.
            env.push(value("WSC_REDIS_USERNAME_FILE", format!("{REDIS_AUTH_DIR}/username")));
            env.push(value("WSC_REDIS_PASSWORD_FILE", format!("{REDIS_AUTH_DIR}/password")));
        }
        if external.tls.enabled && external.tls.ca_secret_ref.is_some() {
            env.push(value("WSC_REDIS_CA_FILE", format!("{REDIS_CA_DIR}/ca.crt")));
        }
        if external.tls.enabled && external.tls.client_cert_secret_ref.is_some() {
            env.push(value("WSC_REDIS_CERT_FILE", format!("{REDIS_CERT_DIR}/tls.crt")));
            env.push(value("WSC_REDIS_KEY_FILE", format!("{REDIS_CERT_DIR}/tls.key")));
        }
    }
    env
}

fn value(name: &str, value: impl Into<String>) -> EnvVar {
    EnvVar { name: name.to_owned(), value: Some(value.into()), value_from: None }
}

fn field(name: &str, path: &str) -> EnvVar {
    EnvVar {
        name: name.to_owned(),
        value: None,
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector {
                api_version: Some("v1".to_owned()),
                field_path: path.to_owned(),
            }),
            ..EnvVarSource::default()
        }),
    }
}

fn own(entry: &HubEnv) -> EnvVar {
    EnvVar { name: entry.name.clone(), value: entry.value.clone(), value_from: entry.value_from.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::hub::ProxySpec;
    use crate::api::redis::{ExternalRedis, RedisTlsSpec, SentinelSpec};
    use crate::api::{SecretRef, SpecDuration};
    use crate::desired::fixture::cluster;

    fn get<'a>(env: &'a [EnvVar], name: &str) -> Option<&'a str> {
        env.iter()
            .find(|variable| variable.name == name)
            .map(|variable| variable.value.as_deref().unwrap_or("<field>"))
    }

    #[test]
    fn the_node_id_is_the_pods_name() {
        let env = hub(&cluster());
        let node_id = env.iter().find(|variable| variable.name == "WSC_NODE_ID").unwrap();
        let path = &node_id.value_from.as_ref().unwrap().field_ref.as_ref().unwrap().field_path;
        assert_eq!(path, "metadata.name");
    }

    #[test]
    fn the_hub_ends_ten_seconds_before_its_grace() {
        let mut cluster = cluster();
        assert_eq!(get(&hub(&cluster), "WSC_GRACE"), Some("110s"));
        cluster.spec.drain.termination_grace_period = SpecDuration::try_from("1m".to_owned()).unwrap();
        assert_eq!(get(&hub(&cluster), "WSC_GRACE"), Some("50s"));
    }

    #[test]
    fn trusted_mode_reads_no_token_keys() {
        let mut cluster = cluster();
        assert_eq!(get(&hub(&cluster), "WSC_AUTH_KEYS_DIR"), Some(AUTH_KEYS_DIR));
        cluster.spec.hub.auth.mode = AuthMode::Trusted;
        let env = hub(&cluster);
        assert_eq!(get(&env, "WSC_AUTH_KEYS_DIR"), None);
        assert_eq!(get(&env, "WSC_AUTH_MODE"), Some("trusted"));
    }

    #[test]
    fn a_proxy_that_is_believed_is_named_and_its_header_only_in_its_mode() {
        let mut cluster = cluster();
        assert_eq!(get(&hub(&cluster), "WSC_TRUSTED_PROXIES"), None);
        cluster.spec.hub.auth.proxy = Some(ProxySpec {
            user_header: Some("X-User".into()),
            trusted_cidrs: vec!["10.0.0.0/8".into(), "fd00::/8".into()],
        });
        let env = hub(&cluster);
        assert_eq!(get(&env, "WSC_TRUSTED_PROXIES"), Some("10.0.0.0/8,fd00::/8"));
        assert_eq!(get(&env, "WSC_PROXY_USER_HEADER"), None);
        cluster.spec.hub.auth.mode = AuthMode::Proxy;
        let env = hub(&cluster);
        assert_eq!(get(&env, "WSC_PROXY_USER_HEADER"), Some("X-User"));
        assert_eq!((get(&env, "WSC_AUTH_MODE"), get(&env, "WSC_AUTH_KEYS_DIR")), (Some("proxy"), None));
    }

    #[test]
    fn an_inbox_that_is_off_stores_no_message() {
        let mut cluster = cluster();
        let env = hub(&cluster);
        assert_eq!(get(&env, "WSC_INBOX_MAX_MESSAGES"), Some("1000"));
        assert_eq!(get(&env, "WSC_INBOX_MAX_BYTES"), Some("1048576"));
        assert_eq!(get(&env, "WSC_INBOX_TTL"), Some("604800s"));
        cluster.spec.hub.inbox.enabled = false;
        assert_eq!(get(&hub(&cluster), "WSC_INBOX_MAX_MESSAGES"), Some("0"));
    }

    #[test]
    fn an_external_redis_in_every_form_is_addressed() {
        let mut cluster = cluster();
        cluster.spec.redis.managed = None;
        let addresses = vec!["a:26379".to_owned(), "b:26379".to_owned()];
        let sentinel = Some(SentinelSpec { master_name: "main".into() });
        for (mode, word, sentinel) in
            [(RedisMode::Sentinel, "sentinel", sentinel), (RedisMode::Cluster, "cluster", None)]
        {
            let addresses = addresses.clone();
            cluster.spec.redis.external =
                Some(ExternalRedis { mode, addresses, sentinel, ..ExternalRedis::default() });
            let env = hub(&cluster);
            assert_eq!(get(&env, "WSC_REDIS_MODE"), Some(word));
            assert_eq!(get(&env, "WSC_REDIS_URL"), Some("redis://a:26379,b:26379/0"));
            let master = (mode == RedisMode::Sentinel).then_some("main");
            assert_eq!(get(&env, "WSC_REDIS_SENTINEL_MASTER"), master);
        }
    }

    #[test]
    fn external_redis_credentials_are_files() {
        let mut cluster = cluster();
        cluster.spec.redis.managed = None;
        cluster.spec.redis.external = Some(ExternalRedis {
            addresses: vec!["redis.example.com:6380".into()],
            database: 2,
            auth_secret_ref: Some(SecretRef { name: "acl".into() }),
            tls: RedisTlsSpec {
                enabled: true,
                ca_secret_ref: Some(SecretRef { name: "ca".into() }),
                client_cert_secret_ref: Some(SecretRef { name: "cert".into() }),
            },
            ..ExternalRedis::default()
        });
        let env = hub(&cluster);
        for (name, expected) in [
            ("WSC_REDIS_URL", "rediss://redis.example.com:6380/2"),
            ("WSC_REDIS_USERNAME_FILE", "/etc/wsc/redis-auth/username"),
            ("WSC_REDIS_PASSWORD_FILE", "/etc/wsc/redis-auth/password"),
            ("WSC_REDIS_CA_FILE", "/etc/wsc/redis-ca/ca.crt"),
            ("WSC_REDIS_CERT_FILE", "/etc/wsc/redis-cert/tls.crt"),
            ("WSC_REDIS_KEY_FILE", "/etc/wsc/redis-cert/tls.key"),
        ] {
            assert_eq!(get(&env, name), Some(expected), "{name}");
        }
    }

    #[test]
    fn every_variable_of_the_operator_is_refused_in_the_spec() {
        let mut cluster = cluster();
        cluster.spec.hub.auth.mode = AuthMode::Proxy;
        cluster.spec.hub.auth.proxy =
            Some(ProxySpec { user_header: Some("X-User".into()), trusted_cidrs: vec!["10.0.0.0/8".into()] });
        for variable in hub(&cluster) {
            assert!(
                MANAGED_ENV.contains(&variable.name.as_str()),
                "{} is missing in MANAGED_ENV",
                variable.name
            );
        }
    }

    #[test]
    fn own_variables_come_last_and_as_written() {
        let mut cluster = cluster();
        cluster.spec.hub.env =
            vec![HubEnv { name: "WSC_PING_INTERVAL".into(), value: Some("20s".into()), value_from: None }];
        assert_eq!(first_managed(&cluster.spec.hub.env), None);
        let env = hub(&cluster);
        assert_eq!(env.last().unwrap().name, "WSC_PING_INTERVAL");
        assert_eq!(get(&env, "WSC_PING_INTERVAL"), Some("20s"));
    }
}
