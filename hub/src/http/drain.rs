//! `/admin/drain` and `/admin/rebalance`: sending clients elsewhere.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::Serialize;

use super::{api_key::AdminCaller, problem::Problem, request_body::RequestBody, service::Service};
use crate::{
    protocol::{
        drain_request::{parse_drain, parse_rebalance},
        error_code::ErrorCode,
    },
    session::drain::control::{DrainProgress, DrainRefused},
};

/// The answer to an order to drain, or to taking it back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct DrainAnswer {
    /// As in `/admin/status`.
    pub phase: &'static str,
    /// As in `/admin/status`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain: Option<DrainProgress>,
}

/// The answer to an order to rebalance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct RebalanceAnswer {
    /// Connections that will be closed: as many as asked for, or all there are.
    pub close: usize,
}

pub(super) async fn begin(
    _: AdminCaller,
    State(service): State<Arc<Service>>,
    RequestBody(body): RequestBody,
) -> Result<Json<DrainAnswer>, Problem> {
    let request = parse_drain(&body)?;
    let edge = &service.edge;
    let progress = edge.begin_drain(&request).await.map_err(|refused| conflict(&refused))?;
    Ok(Json(DrainAnswer { phase: edge.phase().as_str(), drain: Some(progress) }))
}

pub(super) async fn cancel(
    _: AdminCaller,
    State(service): State<Arc<Service>>,
) -> Result<Json<DrainAnswer>, Problem> {
    let edge = &service.edge;
    edge.cancel_drain().await.map_err(|refused| conflict(&refused))?;
    Ok(Json(DrainAnswer { phase: edge.phase().as_str(), drain: edge.drain_progress() }))
}

pub(super) async fn rebalance(
    _: AdminCaller,
    State(service): State<Arc<Service>>,
    RequestBody(body): RequestBody,
) -> Result<Json<RebalanceAnswer>, Problem> {
    let request = parse_rebalance(&body)?;
    let close = service.edge.rebalance(&request).map_err(|refused| conflict(&refused))?;
    Ok(Json(RebalanceAnswer { close }))
}

/// The request is good, the node is not in the state for it.
fn conflict(refused: &DrainRefused) -> Problem {
    let code = match refused {
        DrainRefused::OtherNode { .. } => ErrorCode::BadRequest,
        DrainRefused::Ending | DrainRefused::Closed | DrainRefused::NotActive => ErrorCode::Draining,
    };
    Problem::conflict(code, refused.to_string())
}
