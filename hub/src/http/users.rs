//! `/v1/users/{user}`: where a user is, and kicks.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State, rejection::PathRejection},
};

use super::{api_key::ApiCaller, problem::Problem, request_body::RequestBody, service::Service};
use crate::{
    identity::UserId,
    protocol::{
        error_code::ErrorCode,
        message::parse_kick,
        send_result::{KickResult, UserLocation},
    },
};

/// The user of a path: percent-decoded once, then validated.
pub(super) type UserPath = Result<Path<String>, PathRejection>;

pub(super) fn user_of(path: UserPath) -> Result<UserId, Problem> {
    let Path(text) =
        path.map_err(|_| Problem::new(ErrorCode::InvalidUserId, "the user id is not percent-encoded UTF-8"))?;
    UserId::new(text).map_err(|error| Problem::new(ErrorCode::InvalidUserId, error.to_string()))
}

pub(super) async fn locate(
    _: ApiCaller,
    State(service): State<Arc<Service>>,
    user: UserPath,
) -> Result<Json<UserLocation>, Problem> {
    Ok(Json(service.edge.router.locate(&user_of(user)?).await?))
}

pub(super) async fn kick(
    _: ApiCaller,
    State(service): State<Arc<Service>>,
    user: UserPath,
    RequestBody(body): RequestBody,
) -> Result<Json<KickResult>, Problem> {
    let user = user_of(user)?;
    let request = parse_kick(&body)?;
    Ok(Json(service.edge.kick(&user, &request).await))
}
