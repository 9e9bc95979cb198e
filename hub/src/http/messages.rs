//! `POST /v1/users/{user}/messages` and `POST /v1/broadcast`.

use std::sync::Arc;

use axum::{Json, extract::State};

use super::{
    api_key::ApiCaller,
    problem::Problem,
    request_body::RequestBody,
    service::Service,
    users::{UserPath, user_of},
};
use crate::protocol::{
    message::{parse_broadcast, parse_send},
    send_result::{BroadcastResult, SendResult},
};

pub(super) async fn send_to_user(
    _: ApiCaller,
    State(service): State<Arc<Service>>,
    user: UserPath,
    RequestBody(body): RequestBody,
) -> Result<Json<SendResult>, Problem> {
    let receiver = user_of(user)?;
    let (message, options) = parse_send(&body)?;
    Ok(Json(service.edge.send_to_user(&receiver, &message, &options).await))
}

pub(super) async fn broadcast(
    _: ApiCaller,
    State(service): State<Arc<Service>>,
    RequestBody(body): RequestBody,
) -> Result<Json<BroadcastResult>, Problem> {
    let (message, options) = parse_broadcast(&body)?;
    Ok(Json(service.edge.broadcast(&message, &options).await))
}
