//! Which path is answered by what, on which listener.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Request, State},
    middleware::{self, Next},
    response::Response,
    routing::{any, delete, get, post, put},
};
use http::{HeaderValue, StatusCode, header};

use super::{
    admin, chat_page, drain, events, groups, health, loopback_host, messages, metrics, nodes, openapi,
    service::Service,
    stats,
    unknown_path::{no_such_method, no_such_path},
    users, websocket,
};

/// What clients may reach: nothing here sends, kicks or lists. With `--dev` the chat page too.
pub fn for_clients(service: &Arc<Service>) -> Router {
    let router = Router::new().route("/ws", any(websocket::upgrade));
    let router = if service.edge.settings.dev { chat_page::add_to(router) } else { router };
    finish(router, service)
}

/// What the backend and the operator may reach.
pub fn for_backends(service: &Arc<Service>) -> Router {
    let router = Router::new()
        .route("/v1/users/{user}", get(users::locate))
        .route("/v1/users/query", get(users::locate_query).post(users::query))
        .route("/v1/users/{user}/messages", post(messages::send_to_user))
        .route("/v1/users/{user}/kick", post(users::kick))
        .route("/v1/messages", post(messages::send_many))
        .route("/v1/users/{user}/ban", delete(users::lift_ban))
        .route("/v1/users/{user}/revoke", post(users::revoke))
        .route("/v1/broadcast", post(messages::broadcast))
        .route("/v1/groups/{group}", get(groups::list))
        .route("/v1/groups/{group}/messages", post(groups::send))
        .route("/v1/groups/{group}/members/{user}", put(groups::join).delete(groups::leave))
        .route("/v1/events", get(events::events))
        .route("/v1/nodes", get(nodes::nodes))
        .route("/nodes", get(nodes::nodes))
        .route("/v1/stats", get(stats::stats))
        .route("/admin/status", get(admin::status))
        .route("/admin/drain", post(drain::begin).delete(drain::cancel))
        .route("/admin/rebalance", post(drain::rebalance))
        .route("/metrics", get(metrics::metrics))
        .route("/openapi.json", get(openapi::document::openapi));
    finish(router, service)
}

/// Callers of a node that is being left get their answers, and are to ask another one next: a connection that they keep
/// would be closed under their next request.
async fn part(State(service): State<Arc<Service>>, request: Request, next: Next) -> Response {
    let mut answer = next.run(request).await;
    let lifecycle = &service.edge.lifecycle;
    if !lifecycle.is_serving()
        && !lifecycle.is_settling()
        && answer.status() != StatusCode::SWITCHING_PROTOCOLS
    {
        answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    answer
}

fn finish(router: Router<Arc<Service>>, service: &Arc<Service>) -> Router {
    let router = router
        .route("/health", get(health::health))
        .route("/livez", get(health::livez))
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
        .layer(middleware::from_fn_with_state(Arc::clone(service), part))
        .with_state(Arc::clone(service));
    if service.edge.settings.dev { router.layer(middleware::from_fn(loopback_host::guard)) } else { router }
}
