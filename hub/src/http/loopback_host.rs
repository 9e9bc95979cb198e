//! The guard of `--dev`: requests that name another host than this machine are refused, so that no web page
//! reaches the hub by a name that resolves to loopback.

use axum::{
    extract::Request,
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::header;

use super::problem::Problem;
use crate::protocol::error_code::ErrorCode;

pub(super) async fn guard(request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let host = host.or_else(|| request.uri().authority().map(http::uri::Authority::as_str));
    if host.is_some_and(is_loopback) {
        return next.run(request).await;
    }
    let detail = "with --dev only loopback hosts are answered: use localhost, 127.0.0.1 or [::1]";
    Problem::new(ErrorCode::NotPermitted, detail).into_response()
}

/// Whether a `Host` header names this machine.
fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_machine_pass() {
        for good in ["localhost", "LOCALHOST:8080", "127.0.0.1", "127.1.2.3:1", "[::1]", "[::1]:8080"] {
            assert!(is_loopback(good), "{good}");
        }
        for bad in ["", "example.org", "localhost.example.org", "10.0.0.1", "[::2]:1", "127.0.0.1.nip.io"] {
            assert!(!is_loopback(bad), "{bad}");
        }
    }
}
