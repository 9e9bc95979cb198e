//! `GET /admin/status`: what the operator reads.

use std::{sync::Arc, time::SystemTime};

use axum::{Json, extract::State};
use serde::Serialize;

use super::{api_key::AdminCaller, service::Service};
use crate::{
    identity::{Incarnation, NodeId},
    protocol::millis::whole_millis,
    routing::ports::RedisState,
    session::drain::control::DrainProgress,
};

/// The answer of `GET /admin/status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct AdminStatus {
    /// `starting`, `active`, `draining` or `closed`.
    pub phase: &'static str,
    /// Whether the lease is held.
    pub registered: bool,
    /// Until the lease runs out, in milliseconds; absent while it is not held.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease_expires_in_ms: Option<u64>,
    /// `up`, `down` or `embedded`.
    pub redis: &'static str,
    /// Why Redis is down: a word, a colon, a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redis_error: Option<String>,
    /// Open connections.
    pub connections: usize,
    /// Most connections that are taken.
    pub max_connections: usize,
    /// SHA-256 of the file of hot settings that is applied, in hexadecimal; absent without a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hot_hash: Option<String>,
    /// Why the file as it is now is not applied, every mistake in it; absent while it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hot_error: Option<String>,
    /// UID of the pod; empty outside Kubernetes.
    pub pod_uid: String,
    /// The node.
    pub node_id: NodeId,
    /// Which life of it.
    pub incarnation: Incarnation,
    /// Release of the hub.
    pub version: &'static str,
    /// What has become of the drain; absent without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain: Option<DrainProgress>,
}

pub(super) async fn status(_: AdminCaller, State(service): State<Arc<Service>>) -> Json<AdminStatus> {
    let edge = &service.edge;
    let registration = edge.router.registration();
    let hot = edge.hot.file();
    let left = registration
        .lease_expires
        .filter(|_| registration.registered)
        .map(|expires| whole_millis(expires.duration_since(SystemTime::now()).unwrap_or_default()));
    Json(AdminStatus {
        phase: edge.lifecycle.phase(&registration).as_str(),
        registered: registration.registered,
        lease_expires_in_ms: left,
        redis: registration.redis.word(),
        redis_error: match registration.redis {
            RedisState::Down(error) | RedisState::Refused(error) => Some(error),
            RedisState::Embedded | RedisState::Up => None,
        },
        connections: edge.router.local().len(),
        max_connections: edge.hot.now().max_connections,
        hot_hash: hot.applied.clone(),
        hot_error: hot.error.as_ref().map(ToString::to_string),
        pod_uid: edge.settings.pod_uid.clone(),
        node_id: registration.instance.node,
        incarnation: registration.instance.incarnation,
        version: env!("CARGO_PKG_VERSION"),
        drain: edge.drain_progress(),
    })
}
