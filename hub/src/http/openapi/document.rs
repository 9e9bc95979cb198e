//! `GET /openapi.json`: what the API answers, for programs. It says nothing of this node, so it needs no key.

use std::sync::LazyLock;

use axum::response::IntoResponse;
use http::header;
use utoipa::openapi::{
    ComponentsBuilder, InfoBuilder, LicenseBuilder, OpenApiBuilder, PathItem, PathsBuilder,
    security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
    tag::TagBuilder,
};

use super::{
    call::{API_KEY, JSON},
    calls,
};

/// What holds for every call.
const ABOUT: &str = "Sends to users, groups and everyone, kicks, and says who is online, on any node of the cluster. \
    Errors are problems of RFC 9457; their `code` is stable. Unknown fields of a body are ignored, and `null` is as good \
    as a field left out; a body is read as JSON whatever its `Content-Type`. `traceparent` (W3C Trace Context) is \
    carried to the other nodes. With `--dev` only requests to loopback hosts are answered, others with 403.";

const TAGS: [(&str, &str); 6] = [
    ("messages", "To users, groups and everyone"),
    ("users", "Where they are, and keeping them out"),
    ("groups", "Who is in which"),
    ("cluster", "Nodes, numbers and events"),
    ("admin", "For the operator"),
    ("node", "Health and metrics of one node, with no key"),
];

/// The description in JSON, made once.
static TEXT: LazyLock<String> = LazyLock::new(document);

/// The description of the API in JSON, in OpenAPI 3.1, indented for people.
#[must_use]
pub fn document() -> String {
    let mut paths = PathsBuilder::new();
    let scheme = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("An API key. Scope `api`, or `admin`, which includes it."))
        .build();
    let mut components = ComponentsBuilder::new().security_scheme(API_KEY, SecurityScheme::Http(scheme));
    for call in calls::all() {
        let (method, path, operation, schemas) = call.build();
        paths = paths.path(path, PathItem::new(method, operation));
        components = components.schemas_from_iter(schemas);
    }
    let info = InfoBuilder::new()
        .title("wsc-hub control API")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(ABOUT))
        .license(Some(LicenseBuilder::new().name("Apache-2.0").identifier(Some("Apache-2.0")).build()));
    let tags = TAGS.map(|(name, about)| TagBuilder::new().name(name).description(Some(about)).build());
    let document = OpenApiBuilder::new()
        .info(info.build())
        .paths(paths.build())
        .components(Some(components.build()))
        .tags(Some(tags))
        .build();
    // Keys are strings, so this cannot fail.
    let mut text = document.to_pretty_json().unwrap_or_default();
    text.push('\n');
    text
}

pub(in crate::http) async fn openapi() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, JSON)], TEXT.as_str())
}
