//! What a request to connect says: a target, then headers as `name:value`, one a line.
#![no_main]

use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use libfuzzer_sys::fuzz_target;
use wsc_hub::{
    auth::origin_allowed,
    identity::UserId,
    session::handshake::{ConnectInputs, is_version_13, websocket_key},
};

fuzz_target!(|bytes: &[u8]| {
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let Some(Ok(uri)) = lines.next().map(Uri::try_from) else { return };
    let mut headers = HeaderMap::new();
    for line in lines.take(32) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(&line[..colon]), HeaderValue::from_bytes(&line[colon + 1..]))
        else {
            continue;
        };
        headers.append(name, value);
    }
    if let Ok(key) = websocket_key(&headers) {
        assert_eq!(key.len(), 24, "16 bytes in base64");
    }
    let _ = is_version_13(&headers);
    let allowed = ["https://app.example".to_owned()];
    let proxy_user = HeaderName::from_static("x-forwarded-user");
    // With a proxy that says who connects, and without.
    let _ = ConnectInputs::read(&uri, &headers, Some(&proxy_user));
    match ConnectInputs::read(&uri, &headers, None) {
        Ok(inputs) => {
            if let Some(Ok(user)) = inputs.user.as_deref().map(UserId::new) {
                assert!(user.as_str().len() <= 128 && !user.as_str().starts_with('@'));
            }
            let _ = origin_allowed(inputs.origin.as_deref(), inputs.host.as_deref(), &allowed);
            assert!(!origin_allowed(Some("null"), inputs.host.as_deref(), &allowed), "null is no origin");
        }
        Err(refusal) => assert!(!refusal.detail.is_empty(), "a refusal with no sentence"),
    }
});
