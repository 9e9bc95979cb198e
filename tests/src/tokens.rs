//! Tokens as a backend would mint them.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

/// Seconds since the epoch.
#[must_use]
pub fn unix_now() -> i64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(elapsed.as_secs()).unwrap_or(i64::MAX)
}

/// Claims of a token, with a user and an end one hour from now.
#[must_use]
pub fn claims(user: &str) -> Value {
    json!({"sub": user, "exp": unix_now() + 3600})
}

/// Claims that also grant sending, such as `user:*`.
#[must_use]
pub fn claims_with_send(user: &str, grants: &[&str]) -> Value {
    json!({"sub": user, "exp": unix_now() + 3600, "wsc": {"send": grants}})
}

/// Signs claims with HMAC.
///
/// # Errors
/// When the claims cannot be encoded.
pub fn sign(algorithm: Algorithm, kid: Option<&str>, secret: &str, claims: &Value) -> Result<String> {
    let mut header = Header::new(algorithm);
    header.kid = kid.map(str::to_owned);
    Ok(jsonwebtoken::encode(&header, claims, &EncodingKey::from_secret(secret.as_bytes()))?)
}

/// A token of one hour by HS256.
///
/// # Errors
/// When it cannot be encoded.
pub fn mint(kid: Option<&str>, secret: &str, user: &str) -> Result<String> {
    sign(Algorithm::HS256, kid, secret, &claims(user))
}

/// A token that says it needs no signature and has none.
#[must_use]
pub fn unsigned(claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.", part(&json!({"alg": "none", "typ": "JWT"})), part(claims))
}
