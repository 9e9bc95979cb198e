//! Which web pages may connect (RFC 6455 section 10.2).

/// Where a page comes from (RFC 6454): scheme, host and port. Text is compared without regard to case, and a port
/// that is not written is the scheme's own.
struct Origin<'a> {
    scheme: &'a str,
    host: &'a str,
    port: Option<u16>,
}

impl<'a> Origin<'a> {
    fn read(text: &'a str) -> Option<Self> {
        let (scheme, rest) = text.trim().trim_end_matches('/').split_once("://")?;
        let (host, port) = host_and_port(rest)?;
        Some(Self { scheme, host, port: port.or_else(|| port_of(scheme)) })
    }

    fn is(&self, other: &Self) -> bool {
        self.scheme.eq_ignore_ascii_case(other.scheme)
            && self.host.eq_ignore_ascii_case(other.host)
            && self.port == other.port
    }

    /// Whether a page of this origin was served by the host that the request names. Behind a proxy that ends TLS the
    /// request does not say its scheme, so it is taken for that of the page.
    fn is_served_by(&self, host: &str) -> bool {
        let Some((host, port)) = host_and_port(host.trim()) else { return false };
        let (Some(own), true) = (port_of(self.scheme), self.host.eq_ignore_ascii_case(host)) else {
            return false;
        };
        self.port == Some(port.unwrap_or(own))
    }
}

/// Splits `host`, `host:port`, `[v6]` or `[v6]:port`.
fn host_and_port(text: &str) -> Option<(&str, Option<u16>)> {
    if text.contains(['/', '@', '?', '#', ' ', ',']) {
        return None;
    }
    let end = if text.starts_with('[') { text.find(']')? + 1 } else { text.find(':').unwrap_or(text.len()) };
    let (host, rest) = text.split_at(end);
    let port = match rest.strip_prefix(':') {
        // A sign would be read as a number's too.
        Some(port) if port.starts_with(|c: char| c.is_ascii_digit()) => Some(port.parse().ok()?),
        Some(_) => return None,
        None if rest.is_empty() => None,
        None => return None,
    };
    (!host.is_empty()).then_some((host, port))
}

fn port_of(scheme: &str) -> Option<u16> {
    match scheme {
        _ if scheme.eq_ignore_ascii_case("https") => Some(443),
        _ if scheme.eq_ignore_ascii_case("http") => Some(80),
        _ => None,
    }
}

/// Whether a request with this `Origin` may connect to this `Host`. No origin is no browser and allowed; `null`
/// is refused; else the origin's host is the request's own, or the origin is in the list, where `*` allows all.
#[must_use]
pub fn origin_allowed(origin: Option<&str>, host: Option<&str>, allowed: &[String]) -> bool {
    let Some(origin) = origin else { return true };
    // `null` and what else is no origin has no scheme.
    let Some(origin) = Origin::read(origin) else { return false };
    let listed =
        |allowed: &String| allowed == "*" || Origin::read(allowed).is_some_and(|one| one.is(&origin));
    host.is_some_and(|host| origin.is_served_by(host)) || allowed.iter().any(listed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_the_same_host_or_listed() {
        let list = [
            "https://app.example",
            "http://dev.example:3000",
            "https://[2001:db8::1]",
            "capacitor://localhost",
        ]
        .map(ToOwned::to_owned);
        let cases = [
            (None, Some("chat.example"), true),
            (Some("https://chat.example"), Some("chat.example"), true),
            (Some("https://CHAT.example"), Some("chat.Example"), true),
            (Some("HTTPS://chat.example"), Some("chat.example:443"), true),
            (Some("https://chat.example:443"), Some("chat.example"), true),
            (Some("http://chat.example"), Some("chat.example:80"), true),
            (Some("http://chat.example"), Some("chat.example:443"), false),
            (Some("https://chat.example"), Some("chat.example:80"), false),
            (Some("https://chat.example"), Some("chat.example:8443"), false),
            (Some("http://chat.example:8080"), Some("chat.example:8080"), true),
            (Some("http://chat.example:8080"), Some("chat.example"), false),
            (Some("http://[::1]:8080"), Some("[::1]:8080"), true),
            (Some("http://[::1]"), Some("[::1]:80"), true),
            (Some("http://[::1]:8080"), Some("[::2]:8080"), false),
            (Some("https://app.example"), Some("chat.example"), true),
            (Some("https://APP.example:443"), Some("chat.example"), true),
            (Some("https://app.example:444"), Some("chat.example"), false),
            (Some("http://dev.example:3000"), Some("chat.example"), true),
            (Some("http://dev.example"), Some("chat.example"), false),
            (Some("https://[2001:db8::1]"), Some("chat.example"), true),
            (Some("capacitor://localhost"), Some("chat.example"), true),
            (Some("capacitor://other"), Some("other"), false),
            (Some("http://app.example"), Some("chat.example"), false),
            (Some("https://evil.example"), Some("chat.example"), false),
            (Some("https://chat.example.evil"), Some("chat.example"), false),
            (Some("https://evilchat.example"), Some("chat.example"), false),
            (Some("https://chat.example@evil.example"), Some("chat.example"), false),
            (Some("https://chat.example, https://evil.example"), Some("chat.example"), false),
            (Some("https://chat.example:+443"), Some("chat.example"), false),
            (Some("https://chat.example:"), Some("chat.example"), false),
            (Some("https://chat.example:99999"), Some("chat.example"), false),
            (Some("https://"), Some(""), false),
            (Some("null"), Some("chat.example"), false),
            (Some("null"), Some("null"), false),
            (Some(""), Some("chat.example"), false),
            (Some("file://chat.example"), Some("chat.example"), false),
            (Some("https://chat.example"), None, false),
        ];
        for (origin, host, expected) in cases {
            assert_eq!(origin_allowed(origin, host, &list), expected, "{origin:?} {host:?}");
        }
        let star = ["*".to_owned()];
        assert!(origin_allowed(Some("https://x"), Some("y"), &star));
        assert!(origin_allowed(Some("app://x"), None, &star));
        assert!(!origin_allowed(Some("null"), Some("y"), &star));
    }
}
