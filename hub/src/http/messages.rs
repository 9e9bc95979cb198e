//! `POST /v1/users/{user}/messages`, `POST /v1/messages` and `POST /v1/broadcast`.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::header::CONTENT_TYPE,
    response::{IntoResponse, Response},
};
use serde::Serialize;

use super::{
    api_key::ApiCaller,
    problem::Problem,
    request_body::{BatchBody, RequestBody},
    service::Service,
    users::{UserPath, user_of},
};
use crate::{
    protocol::{
        error_code::ErrorCode,
        message_batch::{parse_batch, parse_broadcast, parse_send},
        send_result::{BroadcastResult, SendResult, SendStatus},
    },
    routing::idempotency::Principal,
};

pub(super) async fn send_to_user(
    caller: ApiCaller,
    State(service): State<Arc<Service>>,
    user: UserPath,
    RequestBody(body): RequestBody,
) -> Result<Json<SendResult>, Problem> {
    let receiver = user_of(user)?;
    let (message, options) = parse_send(&body)?;
    let principal = Principal::Key(Arc::clone(caller.name()));
    let stores = options.store;
    let result = service.edge.send_to_user(principal, &receiver, &message, &options).await;
    match result.error {
        // What is to be kept and is not cannot be told from a message that waits, but by the status of the answer.
        Some(error) if stores && result.status == SendStatus::Failed => {
            Err(Problem::new(error.code, error.detail))
        }
        _ => Ok(Json(result)),
    }
}

/// The answer of `POST /v1/messages`.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct BatchResult {
    /// In the order of the messages.
    results: Vec<SendResult>,
}

/// Bytes of most results.
const RESULT_BYTES: usize = 192;

impl IntoResponse for BatchResult {
    fn into_response(self) -> Response {
        // One buffer of about the right size, where `Json` grows one from 128 bytes.
        let mut body = Vec::with_capacity(32 + RESULT_BYTES * self.results.len());
        match serde_json::to_writer(&mut body, &self) {
            Ok(()) => ([(CONTENT_TYPE, "application/json")], body).into_response(),
            Err(error) => Problem::new(ErrorCode::Internal, error.to_string()).into_response(),
        }
    }
}

pub(super) async fn send_many(
    caller: ApiCaller,
    State(service): State<Arc<Service>>,
    BatchBody(body): BatchBody,
) -> Result<BatchResult, Problem> {
    let entries = parse_batch(&body)?;
    drop(body);
    Ok(BatchResult {
        results: service.edge.send_batch(Principal::Key(Arc::clone(caller.name())), entries).await,
    })
}

pub(super) async fn broadcast(
    _: ApiCaller,
    State(service): State<Arc<Service>>,
    RequestBody(body): RequestBody,
) -> Result<Json<BroadcastResult>, Problem> {
    let request = parse_broadcast(&body)?;
    let result = service.edge.broadcast(&request.message, &request.options, &request.exclude_users);
    Ok(Json(result.await))
}
