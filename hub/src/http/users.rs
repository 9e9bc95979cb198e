//! `/v1/users/{user}` and `/v1/users/query`: where users are, kicks, bans and revocations.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State, rejection::PathRejection},
};
use http::StatusCode;

use super::{api_key::ApiCaller, problem::Problem, request_body::RequestBody, service::Service};
use crate::{
    identity::UserId,
    protocol::{
        error_code::ErrorCode,
        message::parse_kick,
        message_batch::parse_query,
        revoke_request::parse_revoke,
        send_result::{KickResult, RevokeResult, UserLocation, UsersOnline},
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

/// `GET /v1/users/query`: where the user of that name is, which `POST` on the same path is not about.
pub(super) async fn locate_query(
    caller: ApiCaller,
    state: State<Arc<Service>>,
) -> Result<Json<UserLocation>, Problem> {
    locate(caller, state, Ok(Path("query".to_owned()))).await
}

pub(super) async fn query(
    _: ApiCaller,
    State(service): State<Arc<Service>>,
    RequestBody(body): RequestBody,
) -> Result<Json<UsersOnline>, Problem> {
    Ok(Json(service.edge.router.users_online(&parse_query(&body)?).await?))
}

pub(super) async fn kick(
    _: ApiCaller,
    State(service): State<Arc<Service>>,
    user: UserPath,
    RequestBody(body): RequestBody,
) -> Result<Json<KickResult>, Problem> {
    let user = user_of(user)?;
    let request = parse_kick(&body)?;
    Ok(Json(service.edge.kick(&user, &request).await?))
}

pub(super) async fn lift_ban(
    _: ApiCaller,
    State(service): State<Arc<Service>>,
    user: UserPath,
) -> Result<StatusCode, Problem> {
    service.edge.router.lift_ban(&user_of(user)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn revoke(
    _: ApiCaller,
    State(service): State<Arc<Service>>,
    user: UserPath,
    RequestBody(body): RequestBody,
) -> Result<Json<RevokeResult>, Problem> {
    let user = user_of(user)?;
    let before = parse_revoke(&body)?;
    Ok(Json(service.edge.router.revoke(&user, before).await?))
}
