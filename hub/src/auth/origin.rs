//! Which web pages may connect (RFC 6455 section 10.2).

/// Whether a request with this `Origin` may connect to this `Host`. No origin is no browser and allowed; `null`
/// is refused; else the origin's host is the request's own, or the origin is in the list, where `*` allows all.
#[must_use]
pub fn origin_allowed(origin: Option<&str>, host: Option<&str>, allowed: &[String]) -> bool {
    let Some(origin) = origin else { return true };
    let origin = origin.trim().to_ascii_lowercase();
    if origin == "null" || origin.is_empty() {
        return false;
    }
    if allowed.iter().any(|allowed| allowed == "*" || *allowed == origin) {
        return true;
    }
    let without_scheme = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
    match (without_scheme, host) {
        (Some(of_page), Some(of_request)) => of_page == of_request.trim().to_ascii_lowercase(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_the_same_host_or_listed() {
        let list = ["https://app.example".to_owned()];
        let cases = [
            (None, Some("chat.example"), true),
            (Some("https://chat.example"), Some("chat.example"), true),
            (Some("https://CHAT.example"), Some("chat.Example"), true),
            (Some("http://chat.example:8080"), Some("chat.example:8080"), true),
            (Some("http://chat.example:8080"), Some("chat.example"), false),
            (Some("https://app.example"), Some("chat.example"), true),
            (Some("http://app.example"), Some("chat.example"), false),
            (Some("https://evil.example"), Some("chat.example"), false),
            (Some("https://chat.example.evil"), Some("chat.example"), false),
            (Some("null"), Some("chat.example"), false),
            (Some(""), Some("chat.example"), false),
            (Some("file://chat.example"), Some("chat.example"), false),
            (Some("https://chat.example"), None, false),
        ];
        for (origin, host, expected) in cases {
            assert_eq!(origin_allowed(origin, host, &list), expected, "{origin:?} {host:?}");
        }
        assert!(origin_allowed(Some("https://x"), Some("y"), &["*".to_owned()]));
        assert!(!origin_allowed(Some("null"), Some("y"), &["*".to_owned()]));
    }
}
