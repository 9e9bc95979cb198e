//! Key sets of identity providers: JWKS (RFC 7517).

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, de::IgnoredAny};

use super::verifying_key::VerifyingKey;

/// A key of a set, with its `kid`.
pub(super) type Named = (Option<String>, VerifyingKey);

/// The keys of a set.
#[derive(Default)]
pub(super) struct Jwks {
    /// Those that verify tokens.
    pub(super) keys: Vec<Named>,
    /// Those that are for something else, a sentence each (RFC 7517 section 5 asks to ignore them).
    pub(super) skipped: Vec<String>,
}

#[derive(Deserialize)]
struct RawSet {
    keys: Vec<RawKey>,
}

#[derive(Deserialize)]
struct RawKey {
    kty: String,
    kid: Option<String>,
    r#use: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    /// A private key; its value is not read.
    d: Option<IgnoredAny>,
}

/// What a key of a set is good for.
enum Kind {
    Rsa,
    P256,
    Ed25519,
    /// Known, and for something else than verifying tokens here.
    Other(String),
}

/// Reads a set. Keys of kinds, curves or uses that the hub does not know are skipped; a secret (`oct`) or a private
/// key has no place in a set of public keys, and it and a key that is malformed or too weak are mistakes.
///
/// # Errors
/// Each mistake, a sentence.
pub(super) fn read(text: &[u8]) -> Result<Jwks, Vec<String>> {
    // The reader's own sentence could repeat what stands there.
    let set: RawSet = serde_json::from_slice(text)
        .map_err(|error| vec![format!("is not a JWKS: line {} column {}", error.line(), error.column())])?;
    let (mut jwks, mut problems) = (Jwks::default(), Vec::new());
    for (index, raw) in set.keys.into_iter().enumerate() {
        let name = raw.kid.as_ref().map_or_else(|| format!("key {index}"), |kid| format!("key {kid:?}"));
        match kind(&raw) {
            Ok(Kind::Other(what)) => jwks.skipped.push(format!("{name} {what}")),
            Ok(kind) => match key(&kind, &raw) {
                Ok(key) => jwks.keys.push((raw.kid, key)),
                Err(what) => problems.push(format!("{name} {what}")),
            },
            Err(what) => problems.push(format!("{name} {what}")),
        }
    }
    if problems.is_empty() { Ok(jwks) } else { Err(problems) }
}

fn kind(raw: &RawKey) -> Result<Kind, String> {
    if raw.kty == "oct" {
        return Err("is a secret (kty oct): secrets belong into <kid>.key files".to_owned());
    }
    if raw.d.is_some() {
        return Err("is a private key (d): the hub only verifies, give it the public one".to_owned());
    }
    let alg = raw.alg.as_deref();
    if alg.is_some_and(|alg| alg.eq_ignore_ascii_case("none") || alg.starts_with("HS")) {
        return Err(format!("has alg {:?}, which is none of a public key", alg.unwrap_or_default()));
    }
    if raw.r#use.as_deref().is_some_and(|r#use| r#use != "sig") {
        return Ok(Kind::Other("is not for signatures (use)".to_owned()));
    }
    if raw.key_ops.as_ref().is_some_and(|ops| ops.iter().all(|op| op != "verify")) {
        return Ok(Kind::Other("is not for verifying (key_ops)".to_owned()));
    }
    let (kind, algorithms): (_, &[&str]) = match (raw.kty.as_str(), raw.crv.as_deref()) {
        ("RSA", _) => (Kind::Rsa, &["RS256"]),
        ("EC", Some("P-256")) => (Kind::P256, &["ES256"]),
        // RFC 9864 gives the curve as the algorithm's name.
        ("OKP", Some("Ed25519")) => (Kind::Ed25519, &["EdDSA", "Ed25519"]),
        ("EC" | "OKP", Some(curve)) => return Ok(Kind::Other(format!("is on the unknown curve {curve:?}"))),
        ("EC" | "OKP", None) => return Err("has no curve (crv)".to_owned()),
        (kty, _) => return Ok(Kind::Other(format!("is of the unknown kind {kty:?} (kty)"))),
    };
    match alg {
        Some(alg) if !algorithms.contains(&alg) => {
            Ok(Kind::Other(format!("is for {alg:?}, its kind is used for {} here", algorithms[0])))
        }
        _ => Ok(kind),
    }
}

fn key(kind: &Kind, raw: &RawKey) -> Result<VerifyingKey, String> {
    let member = |name: &str, value: &Option<String>| {
        let text = value.as_ref().ok_or_else(|| format!("has no {name}"))?;
        URL_SAFE_NO_PAD.decode(text).map_err(|_| format!("has a malformed {name}"))
    };
    match kind {
        Kind::Rsa => VerifyingKey::from_rsa_components(&member("n", &raw.n)?, &member("e", &raw.e)?),
        Kind::P256 => VerifyingKey::from_p256_coordinates(&member("x", &raw.x)?, &member("y", &raw.y)?),
        Kind::Ed25519 => VerifyingKey::from_ed25519(&member("x", &raw.x)?),
        Kind::Other(what) => Err(what.clone()),
    }
}
