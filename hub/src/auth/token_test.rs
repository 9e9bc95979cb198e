//! Tokens good and bad, as a table.

use std::{path::PathBuf, time::SystemTime};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as B64};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use super::{Authenticator, TokenError};
use crate::identity::UserId;

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
const OTHER: &[u8] = b"fedcba9876543210fedcba9876543210";

struct Keys(PathBuf);

impl Keys {
    fn new(name: &str, files: &[(&str, &[u8])]) -> Self {
        let dir = std::env::temp_dir().join(format!("wsc-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        for (file, content) in files {
            std::fs::write(dir.join(file), content).unwrap();
        }
        Self(dir)
    }

    fn load(&self) -> Authenticator {
        Authenticator::load(&self.0, None, None).unwrap()
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_secs()).unwrap()
}

fn sign(algorithm: Algorithm, kid: Option<&str>, secret: &[u8], claims: &Value) -> String {
    let header = Header { kid: kid.map(ToOwned::to_owned), ..Header::new(algorithm) };
    jsonwebtoken::encode(&header, claims, &EncodingKey::from_secret(secret)).unwrap()
}

fn good() -> Value {
    json!({"sub": "alice", "exp": now() + 60})
}

fn with(field: &str, value: Value) -> Value {
    let mut claims = good();
    claims[field] = value;
    claims
}

fn without(field: &str) -> Value {
    let mut claims = good();
    claims.as_object_mut().unwrap().remove(field);
    claims
}

#[test]
fn good_tokens_say_who_connects_and_what_is_granted() {
    let keys = Keys::new("good", &[("default.key", b"0123456789abcdef0123456789abcdef\n")]);
    let authenticator = keys.load();
    let wsc = json!({"client_id": "phone", "groups": ["room-1"], "send": ["user:b*"], "join": ["room-*"], "new": 1});
    for (algorithm, kid) in
        [(Algorithm::HS256, None), (Algorithm::HS384, Some("default")), (Algorithm::HS512, None)]
    {
        let claims = authenticator.verify(&sign(algorithm, kid, SECRET, &with("wsc", wsc.clone()))).unwrap();
        assert_eq!((claims.user.as_str(), claims.client_id.unwrap().as_str()), ("alice", "phone"));
        assert_eq!(claims.groups[0].as_str(), "room-1");
        assert!(claims.grants.may_send_to_user(&UserId::new("bob").unwrap()));
        assert!(claims.expires > SystemTime::now());
    }
    let bare = authenticator.verify(&sign(Algorithm::HS256, None, SECRET, &good())).unwrap();
    assert!(!bare.grants.may_send_to_user(&UserId::new("bob").unwrap()), "nothing is granted unasked");
    let leeway = with("exp", json!(now() - 2));
    assert!(authenticator.verify(&sign(Algorithm::HS256, None, SECRET, &leeway)).is_ok());
}

#[test]
fn bad_tokens_are_refused_with_a_sentence() {
    let keys = Keys::new("bad", &[("default.key", SECRET)]);
    let authenticator = keys.load();
    let hs256 = |claims: &Value| sign(Algorithm::HS256, None, SECRET, claims);
    let token = hs256(&good());
    let parts: Vec<&str> = token.split('.').collect();
    let none = B64.encode(r#"{"alg":"none","typ":"JWT"}"#);
    let rs256 = B64.encode(r#"{"alg":"RS256","typ":"JWT"}"#);
    let mallory = B64.encode(json!({"sub": "mallory", "exp": now() + 60}).to_string());
    let cases: Vec<(String, &str)> = vec![
        (String::new(), "not a JWT"),
        ("a.b".into(), "not a JWT"),
        ("..".into(), "malformed"),
        ("x".repeat(9000), "more than 8192 bytes"),
        (format!("{none}.{}.", parts[1]), "algorithm"),
        (format!("{none}.{}.{}", parts[1], parts[2]), "algorithm"),
        (format!("{rs256}.{}.{}", parts[1], parts[2]), "algorithm"),
        (format!("{}.{mallory}.{}", parts[0], parts[2]), "signature"),
        (format!("{}.{}.", parts[0], parts[1]), "signature"),
        (format!("{}.{}.{}A", parts[0], parts[1], parts[2]), ""),
        (sign(Algorithm::HS256, None, OTHER, &good()), "signature"),
        (sign(Algorithm::HS256, Some("nope"), SECRET, &good()), "names a key (kid) that is not loaded"),
        (hs256(&with("exp", json!(now() - 60))), "has expired"),
        (hs256(&without("exp")), "has no exp"),
        (hs256(&with("exp", json!("soon"))), ""),
        (hs256(&with("exp", json!(-5))), ""),
        (hs256(&with("nbf", json!(now() + 60))), "not valid yet"),
        (hs256(&without("sub")), "has no sub"),
        (hs256(&with("sub", json!("@backend"))), "sub: user id must not begin with '@'"),
        (hs256(&with("sub", json!(7))), ""),
        (hs256(&with("wsc", json!({"client_id": "a b"}))), "wsc.client_id contains"),
        (hs256(&with("wsc", json!({"groups": [""]}))), "wsc.groups"),
        (hs256(&with("wsc", json!({"send": ["user:*b"]}))), "wsc.send"),
        (hs256(&with("wsc", json!({"join": ["**"]}))), "wsc.join"),
        (hs256(&with("wsc", json!("x"))), "malformed"),
    ];
    for (token, why) in cases {
        match authenticator.verify(&token) {
            Ok(claims) => panic!("{token} was taken: {claims:?}"),
            Err(error) => {
                assert!(error.to_string().contains(why), "{token}: {error}, expected {why}");
                assert_eq!(matches!(error, TokenError::Expired), why == "has expired", "{token}: {error}");
            }
        }
    }
}

#[test]
fn with_several_keys_the_token_names_one() {
    let keys = Keys::new("several", &[("old.key", SECRET), ("new.key", OTHER), ("readme.txt", b"x")]);
    let authenticator = keys.load();
    assert!(authenticator.verify(&sign(Algorithm::HS256, Some("old"), SECRET, &good())).is_ok());
    assert!(authenticator.verify(&sign(Algorithm::HS256, Some("new"), OTHER, &good())).is_ok());
    assert!(authenticator.verify(&sign(Algorithm::HS256, Some("new"), SECRET, &good())).is_err());
    assert!(authenticator.verify(&sign(Algorithm::HS256, None, SECRET, &good())).is_err());
}

#[test]
fn issuer_and_audience_are_checked_when_wanted() {
    let keys = Keys::new("issuer", &[("default.key", SECRET)]);
    let authenticator = Authenticator::load(&keys.0, Some("shop"), Some("chat")).unwrap();
    let cases = [
        (json!("shop"), json!("chat"), true),
        (json!("shop"), json!(["x", "chat"]), true),
        (json!("else"), json!("chat"), false),
        (json!("shop"), json!("else"), false),
        (Value::Null, json!("chat"), false),
        (json!("shop"), Value::Null, false),
    ];
    for (iss, aud, accepted) in cases {
        let claims = json!({"sub": "alice", "exp": now() + 60, "iss": iss, "aud": aud});
        let token = sign(Algorithm::HS256, None, SECRET, &claims);
        assert_eq!(authenticator.verify(&token).is_ok(), accepted, "{claims}");
    }
}

#[test]
fn times_hold_to_the_second_with_five_of_leeway() {
    let keys = Keys::new("times", &[("default.key", SECRET)]);
    let authenticator = keys.load();
    let at = |seconds: f64| SystemTime::UNIX_EPOCH + std::time::Duration::from_secs_f64(seconds);
    let cases = [
        (json!({"exp": 1000}), 999.0, "ok"),
        (json!({"exp": 1000}), 1000.0, "ok"),
        (json!({"exp": 1000}), 1004.9, "ok"),
        (json!({"exp": 1000}), 1005.0, "the token has expired"),
        (json!({"exp": 1000.5}), 1005.4, "ok"),
        (json!({"exp": 1000.5}), 1005.5, "the token has expired"),
        (json!({"exp": 0}), 1.0, "ok"),
        (json!({"exp": 1000, "nbf": 500}), 495.0, "ok"),
        (json!({"exp": 1000, "nbf": 500}), 494.9, "the token is not valid yet (nbf)"),
        (json!({"exp": 1000, "nbf": -1}), 500.0, "the token's nbf is malformed"),
        (json!({"exp": 1e300}), 500.0, "the token's exp is malformed"),
        (json!({"exp": i64::MAX}), 500.0, "ok"),
        (json!({"exp": 1000, "iat": 1e300}), 500.0, "the token's iat is malformed"),
        (json!({"exp": 1000, "iat": "x"}), 500.0, "malformed"),
        (json!({"exp": 1000, "iat": 990.25}), 500.0, "ok"),
        (json!({"exp": null}), 500.0, "the token has no exp"),
    ];
    for (mut claims, now, expected) in cases {
        claims["sub"] = json!("alice");
        let said = match authenticator.verify_at(&sign(Algorithm::HS256, None, SECRET, &claims), at(now)) {
            Ok(read) => {
                assert_eq!(read.issued_at, claims["iat"].as_f64().map(at), "{claims}");
                "ok".to_owned()
            }
            Err(error) => error.to_string(),
        };
        assert!(said.contains(expected), "{claims} at {now}: {said}");
    }
    let twice = format!("{{\"sub\":\"alice\",\"sub\":\"eve\",\"exp\":{}}}", now() + 60);
    let header = B64.encode(r#"{"alg":"HS256"}"#);
    let message = format!("{header}.{}", B64.encode(twice));
    let key = EncodingKey::from_secret(SECRET);
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256).unwrap();
    assert!(authenticator.verify(&format!("{message}.{signature}")).is_err(), "a claim that is there twice");
}

#[test]
fn a_critical_extension_is_not_passed_over() {
    let keys = Keys::new("crit", &[("k1.key", SECRET)]);
    let header = Header { crit: Some(vec!["exp".to_owned()]), ..Header::new(Algorithm::HS256) };
    let token = jsonwebtoken::encode(&header, &good(), &EncodingKey::from_secret(SECRET)).unwrap();
    let error = keys.load().verify(&token).unwrap_err();
    assert!(error.to_string().contains("(crit)"), "{error}");
}
