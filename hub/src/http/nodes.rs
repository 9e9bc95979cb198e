//! `GET /v1/nodes`, also `/nodes`.

use std::sync::Arc;

use axum::{Json, extract::State};

use super::{api_key::ApiCaller, problem::Problem, service::Service};
use crate::routing::ports::NodeRecord;

pub(super) async fn nodes(
    _: ApiCaller,
    State(service): State<Arc<Service>>,
) -> Result<Json<Vec<NodeRecord>>, Problem> {
    Ok(Json(service.edge.router.nodes().await?))
}
