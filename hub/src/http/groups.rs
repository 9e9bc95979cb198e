//! `/v1/groups/{group}`: messages for members, memberships, and who is in a group.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, Query, State, rejection::PathRejection, rejection::QueryRejection},
};
use serde::Deserialize;

use super::{
    api_key::ApiCaller, problem::Problem, request_body::RequestBody, service::Service, users::user_of,
};
use crate::{
    identity::{GroupName, UserId},
    protocol::{
        error_code::ErrorCode,
        group_answer::{GroupListing, MembershipResult},
        group_payload::MembershipChange,
        message_batch::parse_group_send,
        send_result::BroadcastResult,
    },
};

/// The group of a path: percent-decoded once, then validated.
type GroupPath = Result<Path<String>, PathRejection>;
/// The group and the user of a path.
type MemberPath = Result<Path<(String, String)>, PathRejection>;

fn bad(detail: impl Into<String>) -> Problem {
    Problem::new(ErrorCode::BadRequest, detail)
}

fn group_name(text: &str) -> Result<GroupName, Problem> {
    GroupName::new(text).map_err(|error| bad(error.to_string()))
}

fn group_of(path: GroupPath) -> Result<GroupName, Problem> {
    let Path(text) = path.map_err(|_| bad("the group is not percent-encoded UTF-8"))?;
    group_name(&text)
}

fn member_of(path: MemberPath) -> Result<(GroupName, UserId), Problem> {
    let Path((group, user)) = path.map_err(|_| bad("group or user are not percent-encoded UTF-8"))?;
    Ok((group_name(&group)?, user_of(Ok(Path(user)))?))
}

pub(super) async fn send(
    _: ApiCaller,
    State(service): State<Arc<Service>>,
    group: GroupPath,
    RequestBody(body): RequestBody,
) -> Result<Json<BroadcastResult>, Problem> {
    let group = group_of(group)?;
    let (message, options) = parse_group_send(&body)?;
    Ok(Json(service.edge.send_to_group(&group, &message, &options).await))
}

pub(super) async fn join(
    _: ApiCaller,
    State(service): State<Arc<Service>>,
    member: MemberPath,
) -> Result<Json<MembershipResult>, Problem> {
    change(&service, member, true).await
}

pub(super) async fn leave(
    _: ApiCaller,
    State(service): State<Arc<Service>>,
    member: MemberPath,
) -> Result<Json<MembershipResult>, Problem> {
    change(&service, member, false).await
}

async fn change(
    service: &Service,
    member: MemberPath,
    joins: bool,
) -> Result<Json<MembershipResult>, Problem> {
    let (group, user) = member_of(member)?;
    let change = MembershipChange { joins, group };
    Ok(Json(service.edge.router.change_membership(&user, &change).await))
}

/// Where a listing goes on.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Page {
    after: Option<String>,
}

pub(super) async fn list(
    _: ApiCaller,
    State(service): State<Arc<Service>>,
    group: GroupPath,
    page: Result<Query<Page>, QueryRejection>,
) -> Result<Json<GroupListing>, Problem> {
    let group = group_of(group)?;
    let Query(page) = page.map_err(|_| bad("the query is malformed, only after=<user> is known"))?;
    let after = page.after.filter(|after| !after.is_empty());
    let after = after.map(|after| user_of(Ok(Path(after)))).transpose()?;
    Ok(Json(service.edge.router.group_listing(&group, after.as_ref()).await?))
}
