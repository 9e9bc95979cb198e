//! `GET /v1/stats`: the cluster in six numbers.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::Serialize;

use super::{api_key::ApiCaller, service::Service};
use crate::routing::ports::{NodeLoad, NodeRecord};

/// The answer of `GET /v1/stats`: sums over the nodes whose leases are held. This node's part is as of now, that of
/// another as of its last heartbeat. It costs what `GET /nodes` costs, however many users there are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Stats {
    /// Live nodes. While Redis is away only this one is known to live, and all numbers are of it alone.
    pub nodes: usize,
    /// Open connections.
    pub connections: u64,
    /// Users with a connection, counted on each node: a user with connections to two nodes counts twice.
    pub users: u64,
    /// Groups with members, counted on each node: a group with members on two nodes counts twice.
    pub groups: u64,
    /// `up`, `down` or `embedded`, as this node sees it.
    pub redis: &'static str,
    /// Frames written to clients per second, of all kinds, over the last ten seconds.
    pub messages_per_second: u64,
}

impl Stats {
    fn of(own: NodeLoad, others: &[NodeRecord], redis: &'static str) -> Self {
        let sum = |own: u64, of: fn(&NodeRecord) -> u64| others.iter().map(of).fold(own, u64::saturating_add);
        Self {
            nodes: 1 + others.len(),
            connections: sum(own.connections, |node| node.connections),
            users: sum(own.users, |node| node.users),
            groups: sum(own.groups, |node| node.groups),
            redis,
            messages_per_second: sum(own.messages_per_second, |node| node.messages_per_second),
        }
    }
}

pub(super) async fn stats(_: ApiCaller, State(service): State<Arc<Service>>) -> Json<Stats> {
    let edge = &service.edge;
    let mut others = edge.router.nodes().await.unwrap_or_default();
    others.retain(|node| node.id != edge.settings.node_id);
    // Asked after the registry, so that an answer without the other nodes says why.
    let redis = edge.router.registration().redis.word();
    Json(Stats::of(edge.traffic.load(), &others, redis))
}
