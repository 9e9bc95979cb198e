//! Tokens: as they come, and with a good signature around any header and any claims.
#![no_main]

use std::{sync::LazyLock, time::SystemTime};

use jsonwebtoken::{Algorithm, EncodingKey};
use libfuzzer_sys::fuzz_target;
use wsc_hub::auth::{Authenticator, KeySet};

const SECRET: &[u8] = b"a secret of the fuzzer, 32 bytes or more";

static AUTHENTICATOR: LazyLock<Authenticator> = LazyLock::new(|| {
    let keys = KeySet::from_files([("default.key", SECRET)]).expect("one key");
    Authenticator::with_keys(keys, None, None)
});

/// The alphabet of RFC 4648 section 5, without padding.
fn base64url(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let digits = bytes.chunks(3).flat_map(|chunk| {
        let word =
            chunk.iter().fold(0u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        (0..=chunk.len()).map(move |digit| char::from(ALPHABET[(word >> (18 - 6 * digit) & 63) as usize]))
    });
    digits.collect()
}

fuzz_target!(|text: &str| {
    // No input can carry a signature of the secret by chance.
    assert!(AUTHENTICATOR.verify(text).is_err(), "a token that nobody signed");
    // The same with a signature: a header and claims of the fuzzer's, or claims alone.
    let (header, claims) = text.split_once('\n').unwrap_or((r#"{"alg":"HS256"}"#, text));
    let signed = format!("{}.{}", base64url(header.as_bytes()), base64url(claims.as_bytes()));
    let signature =
        jsonwebtoken::crypto::sign(signed.as_bytes(), &EncodingKey::from_secret(SECRET), Algorithm::HS256);
    let token = format!("{signed}.{}", signature.expect("a signature"));
    if let Ok(claims) = AUTHENTICATOR.verify(&token) {
        assert!(claims.expires + std::time::Duration::from_secs(6) > SystemTime::now(), "an old token");
        assert!(!claims.user.as_str().starts_with('@'));
    }
});
