//! `POST /v1/users/{user}/messages`, `POST /v1/messages` and `POST /v1/broadcast`.

use std::sync::Arc;

use axum::{Json, extract::State};
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
        message_batch::{parse_batch, parse_broadcast, parse_send},
        send_result::{BroadcastResult, SendResult},
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
    Ok(Json(
        service
            .edge
            .send_to_user(Principal::Key(Arc::clone(caller.name())), receiver, message, options)
            .await,
    ))
}

/// The answer of `POST /v1/messages`.
#[derive(Debug, Serialize)]
pub(super) struct BatchResult {
    /// In the order of the messages.
    results: Vec<SendResult>,
}

pub(super) async fn send_many(
    caller: ApiCaller,
    State(service): State<Arc<Service>>,
    BatchBody(body): BatchBody,
) -> Result<Json<BatchResult>, Problem> {
    let entries = parse_batch(&body)?;
    drop(body);
    Ok(Json(BatchResult {
        results: service.edge.send_batch(Principal::Key(Arc::clone(caller.name())), entries).await,
    }))
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
