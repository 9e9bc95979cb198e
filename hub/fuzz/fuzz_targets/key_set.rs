//! Keys that verify tokens: a set as JSON, and a public key as PEM. No secret and no private key gets in.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wsc_hub::auth::{Authenticator, KeySet};

fuzz_target!(|bytes: &[u8]| {
    for name in ["jwks.json", "a.pem", "a.key"] {
        match KeySet::from_files([(name, bytes)]) {
            Ok(keys) => {
                assert!(keys.len() > 0, "a set of no keys");
                assert!(name != "a.key" || bytes.len() >= 32, "a short secret");
                // A token that nobody signed stays what it is, whatever the key.
                let token = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbGljZSIsImV4cCI6NDEwMjQ0NDgwMH0.";
                assert!(Authenticator::with_keys(keys, None, None).verify(token).is_err());
            }
            Err(error) => assert!(!error.problems().is_empty(), "a refusal with no sentence"),
        }
    }
});
