//! `token`: a token by the cluster's own key, for tests.

use std::collections::BTreeMap;

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use k8s_openapi::ByteString;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::api::WscCluster;
use crate::api::hub::AuthMode;
use crate::desired::names;

use super::answer::Answer;
use super::arguments::TokenArguments;
use super::error::KubectlError;
use super::place::Place;
use super::user;

/// Ending of entries that hold a secret for HMAC; what stands before it is the key's id.
const SECRET_ENDING: &str = ".key";

/// Mints a token.
///
/// # Errors
/// When the cluster takes no tokens, or its key cannot sign.
pub async fn mint(
    place: &Place,
    cluster: &WscCluster,
    arguments: &TokenArguments,
) -> Result<Answer, KubectlError> {
    user::check(&arguments.user)?;
    let mode = cluster.spec.hub.auth.mode;
    if mode != AuthMode::Token {
        return Err(KubectlError::NotNow(format!(
            "{} takes no tokens: spec.hub.auth.mode is {mode:?}",
            names::cluster(cluster)
        )));
    }
    let secret = names::effective_auth_secret(cluster);
    let data = place.secret(&secret).await?.data.unwrap_or_default();
    let (kid, key) = choose(&secret, &data, arguments.key.as_deref())?;
    signed(arguments, kid, key, Timestamp::now())
}

/// The entry that signs.
fn choose<'a>(
    secret: &str,
    data: &'a BTreeMap<String, ByteString>,
    wanted: Option<&str>,
) -> Result<(&'a str, &'a [u8]), KubectlError> {
    let keys: Vec<(&str, &[u8])> = data
        .iter()
        .filter_map(|(entry, value)| Some((entry.strip_suffix(SECRET_ENDING)?, value.0.as_slice())))
        .collect();
    let ids = || keys.iter().map(|(kid, _)| *kid).collect::<Vec<_>>().join(", ");
    match (wanted, keys.as_slice()) {
        (_, []) => Err(KubectlError::Key(format!(
            "Secret {secret} holds no entry <kid>{SECRET_ENDING}: public keys verify tokens but cannot sign any"
        ))),
        (Some(wanted), _) => keys.iter().find(|(kid, _)| *kid == wanted).copied().ok_or_else(|| {
            KubectlError::Key(format!("Secret {secret} holds no {wanted}{SECRET_ENDING}; it has: {}", ids()))
        }),
        (None, [only]) => Ok(*only),
        (None, _) => Err(KubectlError::Key(format!(
            "Secret {secret} holds several keys, choose one with --key: {}",
            ids()
        ))),
    }
}

fn signed(arguments: &TokenArguments, kid: &str, key: &[u8], now: Timestamp) -> Result<Answer, KubectlError> {
    let seconds = arguments.ttl.get().as_secs().max(1);
    let expires = now.as_second().saturating_add(i64::try_from(seconds).unwrap_or(i64::MAX));
    let mut header = Header::new(Algorithm::HS256);
    header.kid = Some(kid.to_owned());
    // The hub trims what it reads from the file.
    let key = EncodingKey::from_secret(key.trim_ascii());
    let token = jsonwebtoken::encode(&header, &claims(arguments, expires), &key)
        .map_err(|error| KubectlError::Key(format!("cannot sign with key {kid}: {error}")))?;
    let until = Timestamp::from_second(expires).map(|until| until.to_string()).unwrap_or_default();
    let json = json!({"token": token, "user": arguments.user, "kid": kid, "expiresAt": until});
    Ok(Answer { text: format!("{token}\n"), json })
}

fn claims(arguments: &TokenArguments, expires: i64) -> Value {
    let mut claims =
        Map::from_iter([("sub".to_owned(), json!(arguments.user)), ("exp".to_owned(), json!(expires))]);
    for (name, value) in [("iss", &arguments.issuer), ("aud", &arguments.audience)] {
        if let Some(value) = value {
            claims.insert(name.to_owned(), json!(value));
        }
    }
    let mut grants = Map::new();
    for (name, values) in
        [("groups", &arguments.groups), ("send", &arguments.send), ("join", &arguments.join)]
    {
        if !values.is_empty() {
            grants.insert(name.to_owned(), json!(values));
        }
    }
    if let Some(client) = &arguments.client_id {
        grants.insert("client_id".to_owned(), json!(client));
    }
    if !grants.is_empty() {
        claims.insert("wsc".to_owned(), Value::Object(grants));
    }
    Value::Object(claims)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use clap::Parser as _;
    use jsonwebtoken::{Algorithm, DecodingKey, Validation};
    use k8s_openapi::ByteString;
    use k8s_openapi::jiff::Timestamp;
    use serde_json::{Value, json};

    use super::{choose, signed};
    use crate::kubectl::arguments::{Arguments, Command, TokenArguments};

    fn arguments(line: &str) -> TokenArguments {
        let words = ["kubectl-wsc", "token"].into_iter().chain(line.split(' '));
        match Arguments::try_parse_from(words).unwrap().command {
            Command::Token(arguments) => arguments,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_token_says_who_how_long_and_what_is_granted() {
        let line = "alice --ttl 10m --group room-1 --send user:* --send backend --join room-* --client-id phone --issuer me";
        let secret = b"0123456789abcdef0123456789abcdef\n";
        let now = Timestamp::now();
        let answer = signed(&arguments(line), "default", secret, now).unwrap();
        let mut checks = Validation::new(Algorithm::HS256);
        checks.set_issuer(&["me"]);
        let key = DecodingKey::from_secret(b"0123456789abcdef0123456789abcdef");
        let token = jsonwebtoken::decode::<Value>(answer.text.trim(), &key, &checks).unwrap();
        assert_eq!(token.header.kid.as_deref(), Some("default"));
        assert_eq!(token.claims["sub"], "alice");
        assert_eq!(token.claims["exp"], now.as_second() + 600);
        assert_eq!(
            token.claims["wsc"],
            json!({"groups": ["room-1"], "send": ["user:*", "backend"], "join": ["room-*"], "client_id": "phone"})
        );
        assert_eq!(answer.json["user"], "alice");
    }

    #[test]
    fn the_key_is_the_only_one_or_the_one_that_is_named() {
        let data = |names: &[&str]| -> BTreeMap<String, ByteString> {
            names.iter().map(|name| ((*name).to_owned(), ByteString(vec![b'x'; 32]))).collect()
        };
        assert_eq!(choose("s", &data(&["a.key", "b.pem"]), None).unwrap().0, "a");
        assert_eq!(choose("s", &data(&["a.key", "b.key"]), Some("b")).unwrap().0, "b");
        for (names, wanted, says) in [
            (vec!["b.pem", "jwks.json"], None, "cannot sign"),
            (vec!["a.key", "b.key"], None, "--key: a, b"),
            (vec!["a.key"], Some("c"), "it has: a"),
        ] {
            let error = choose("s", &data(&names), wanted).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
