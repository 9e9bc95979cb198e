//! `GET /health` and `GET /livez`: no key, nothing secret.

use std::sync::Arc;

use axum::{Json, extract::State, response::IntoResponse};
use http::StatusCode;
use serde::Serialize;

use super::service::Service;
use crate::{
    identity::NodeId,
    routing::ports::RedisState,
    session::{edge::Edge, lifecycle::Phase},
};

/// The state of a node in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum HealthStatus {
    /// All is well.
    Healthy,
    /// Serves clients, but Redis is away.
    Degraded,
    /// Not registered yet.
    Starting,
    /// Sends its clients elsewhere.
    Draining,
    /// Has no clients any more.
    Closed,
}

/// The answer of `GET /health`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Health {
    /// The state in one word.
    pub status: HealthStatus,
    /// Whether clients are served.
    pub is_running: bool,
    /// Open connections.
    pub websocket_count: usize,
    /// The node.
    pub node_id: NodeId,
    /// `up`, `down` or `embedded`.
    pub redis: &'static str,
}

impl Health {
    /// The node's health now.
    #[must_use]
    pub fn of(edge: &Edge) -> Self {
        let registration = edge.router.registration();
        let status = match edge.lifecycle.phase(&registration) {
            Phase::Starting => HealthStatus::Starting,
            Phase::Draining => HealthStatus::Draining,
            Phase::Closed => HealthStatus::Closed,
            Phase::Active
                if matches!(registration.redis, RedisState::Down(_)) || !registration.registered =>
            {
                HealthStatus::Degraded
            }
            Phase::Active => HealthStatus::Healthy,
        };
        Self {
            status,
            is_running: status != HealthStatus::Closed,
            websocket_count: edge.router.local().len(),
            node_id: edge.settings.node_id.clone(),
            redis: registration.redis.word(),
        }
    }

    /// Whether new clients should be sent here: a full or degraded node is still a working one.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        matches!(self.status, HealthStatus::Healthy | HealthStatus::Degraded)
    }
}

pub(super) async fn health(State(service): State<Arc<Service>>) -> impl IntoResponse {
    let health = Health::of(&service.edge);
    let status = if health.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(health))
}

/// Answers as long as the runtime runs tasks; never depends on Redis.
pub(super) async fn livez() -> &'static str {
    "ok\n"
}
