//! Generated Secrets. They are created once and never written again: the user may change the keys in them.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;

use super::labels::Component;
use super::redis::CONFIG_KEY;
use super::{metadata, names};
use crate::api::WscCluster;
use crate::api::hub::AuthMode;

/// Key of the generated token Secret; its name without the ending is the key id.
pub const AUTH_KEY: &str = "default.key";
/// Key of the generated API Secret with scope `api`.
pub const API_KEY: &str = "api";
/// Key of the generated API Secret with scope `admin`, which the operator uses.
pub const ADMIN_KEY: &str = "admin";
/// Key of the Redis password, in generated and in given Secrets.
pub const PASSWORD_KEY: &str = "password";

/// Random bytes of a generated key. As text they are 64 characters: enough for HS512 too.
const KEY_BYTES: usize = 48;
/// Random bytes of an API key or password; 43 characters as text.
const PASSWORD_BYTES: usize = 32;

/// The Secrets that the spec asks to be generated. `random(n)` gives n bytes from a cryptographic source.
pub fn secrets(cluster: &WscCluster, random: &mut dyn FnMut(usize) -> Vec<u8>) -> Vec<Secret> {
    let mut text = |bytes: usize| URL_SAFE_NO_PAD.encode(random(bytes));
    let spec = &cluster.spec;
    let mut secrets = Vec::with_capacity(3);
    if spec.hub.auth.mode == AuthMode::Token && spec.hub.auth.keys_secret_ref.is_none() {
        let data = vec![(AUTH_KEY, text(KEY_BYTES))];
        secrets.push(secret(cluster, names::auth_secret(cluster), Component::Hub, data));
    }
    if spec.hub.api_keys_secret_ref.is_none() {
        let data = vec![(API_KEY, text(PASSWORD_BYTES)), (ADMIN_KEY, text(PASSWORD_BYTES))];
        secrets.push(secret(cluster, names::api_secret(cluster), Component::Hub, data));
    }
    if spec.redis.managed.is_some() {
        let password = text(PASSWORD_BYTES);
        let config = format!("requirepass {password}\n");
        let data = vec![(PASSWORD_KEY, password), (CONFIG_KEY, config)];
        secrets.push(secret(cluster, names::redis_secret(cluster), Component::Redis, data));
    }
    secrets
}

fn secret(cluster: &WscCluster, name: String, component: Component, data: Vec<(&str, String)>) -> Secret {
    let data: BTreeMap<String, ByteString> =
        data.into_iter().map(|(key, value)| (key.to_owned(), ByteString(value.into_bytes()))).collect();
    Secret {
        metadata: metadata::child(cluster, name, component),
        type_: Some("Opaque".to_owned()),
        data: Some(data),
        ..Secret::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::SecretRef;
    use crate::api::redis::ExternalRedis;
    use crate::desired::fixture::cluster;

    fn generate(cluster: &WscCluster) -> Vec<Secret> {
        let mut next = 0_u8;
        secrets(cluster, &mut |count| {
            next += 1;
            vec![next; count]
        })
    }

    fn text(secret: &Secret, key: &str) -> String {
        String::from_utf8(secret.data.as_ref().unwrap()[key].0.clone()).unwrap()
    }

    #[test]
    fn every_key_is_long_enough_and_of_its_own() {
        let secrets = generate(&cluster());
        let names: Vec<_> = secrets.iter().map(|secret| secret.metadata.name.clone().unwrap()).collect();
        assert_eq!(names, ["chat-auth", "chat-api", "chat-redis"]);
        let keys = [
            text(&secrets[0], AUTH_KEY),
            text(&secrets[1], API_KEY),
            text(&secrets[1], ADMIN_KEY),
            text(&secrets[2], PASSWORD_KEY),
        ];
        for (index, key) in keys.iter().enumerate() {
            assert!(key.len() >= 32, "the hub wants 32 bytes for HMAC and 24 characters for API keys");
            assert!(keys.iter().skip(index + 1).all(|other| other != key));
        }
        assert_eq!(text(&secrets[2], CONFIG_KEY), format!("requirepass {}\n", keys[3]));
    }

    #[test]
    fn secrets_that_the_spec_names_are_not_generated() {
        let mut cluster = cluster();
        cluster.spec.hub.auth.keys_secret_ref = Some(SecretRef { name: "mine".into() });
        cluster.spec.hub.api_keys_secret_ref = Some(SecretRef { name: "mine".into() });
        cluster.spec.redis.managed = None;
        cluster.spec.redis.external = Some(ExternalRedis::default());
        assert!(generate(&cluster).is_empty());
    }

    #[test]
    fn trusted_mode_needs_no_token_key() {
        let mut cluster = cluster();
        cluster.spec.hub.auth.mode = AuthMode::Trusted;
        assert_eq!(generate(&cluster).len(), 2);
    }
}
