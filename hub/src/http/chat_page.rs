//! The chat page of `--dev`: a browser's view of the hub, made with the client library. Its files are part of the
//! program; nothing is read from the disk and nothing comes from elsewhere.

use axum::{Router, routing::get};
use http::{HeaderName, header};

/// Only the page's own files and this hub's WebSocket. Not every browser takes `'self'` for a WebSocket too.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; \
    connect-src 'self' ws://localhost:* ws://127.0.0.1:*; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Path, content type and content of each file.
const FILES: [(&str, &str, &str); 4] = [
    ("/", "text/html; charset=utf-8", include_str!("../../client-js/page/index.html")),
    ("/chat.css", "text/css; charset=utf-8", include_str!("../../client-js/page/chat.css")),
    ("/chat.js", "text/javascript; charset=utf-8", include_str!("../../client-js/dist/page/chat.js")),
    (
        "/wsc-client.min.js",
        "text/javascript; charset=utf-8",
        include_str!("../../client-js/dist/wsc-client.min.js"),
    ),
];

/// The headers of every file.
fn headers(content_type: &'static str) -> [(HeaderName, &'static str); 5] {
    [
        (header::CONTENT_TYPE, content_type),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        // The next build of the hub may have another page.
        (header::CACHE_CONTROL, "no-store"),
    ]
}

/// Adds the page at `/`.
pub(super) fn add_to<S: Clone + Send + Sync + 'static>(router: Router<S>) -> Router<S> {
    FILES.into_iter().fold(router, |router, (path, content_type, content)| {
        router.route(path, get(async move || (headers(content_type), content)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the page names is served, so that nothing is fetched from elsewhere.
    #[test]
    fn the_page_needs_nothing_but_its_own_files() {
        let (_, _, page) = FILES[0];
        for (path, _, content) in &FILES[1..3] {
            assert!(page.contains(&format!("=\"{}\"", &path[1..])), "{path} is not on the page");
            assert!(!content.contains("http:") && !content.contains("https:"), "{path} names another place");
        }
        assert!(FILES[2].2.contains("\"./wsc-client.min.js\""), "the script does not use the library");
        assert!(!page.contains("http:") && !page.contains("https:") && !page.contains("<style"), "{page}");
        assert!(!page.contains("onclick") && !page.contains("<script>"), "the policy forbids inline scripts");
    }
}
