//! `GET /metrics`.

use std::{sync::Arc, time::SystemTime};

use axum::{extract::State, response::IntoResponse};
use http::header;

use super::service::Service;
use crate::{observe::Gauges, routing::ports::RedisState};

pub(super) async fn metrics(State(service): State<Arc<Service>>) -> impl IntoResponse {
    let edge = &service.edge;
    let registration = edge.router.registration();
    let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    let left = registration.lease_expires.filter(|_| registration.registered);
    let drain = edge.drain_progress();
    let gauges = Gauges {
        drain_remaining: drain.as_ref().map_or(0, |drain| count(drain.remaining)),
        drain_rate: drain.as_ref().map_or(0, |drain| drain.rate_per_second.unwrap_or(u32::MAX).into()),
        draining: drain.is_some(),
        connections: count(edge.router.local().len()),
        max_connections: count(edge.hot.now().max_connections),
        users: count(edge.router.local().users()),
        groups: count(edge.router.groups().roster().groups()),
        memberships: count(edge.router.groups().roster().memberships()),
        unsettled_groups: count(edge.router.groups().unsettled()),
        queued_frames: count(edge.queue_budget.frames()),
        queued_bytes: count(edge.queue_budget.bytes()),
        queue_memory_bytes: count(edge.queue_budget.limit()),
        // Nothing waits most of the time, and then nobody has to be asked.
        largest_queue_bytes: match edge.queue_budget.bytes() {
            0 => 0,
            _ => count(edge.router.local().largest_queue()),
        },
        unsettled: count(edge.router.registry().unsettled()),
        registered: registration.registered,
        redis_up: match registration.redis {
            RedisState::Embedded => None,
            RedisState::Up | RedisState::Refused(_) => Some(true),
            RedisState::Down(_) => Some(false),
        },
        lease_remaining_seconds: left
            .and_then(|expires| expires.duration_since(SystemTime::now()).ok())
            .map_or(0.0, |left| left.as_secs_f64()),
    };
    let text = edge.metrics.encode(&gauges, &(service.cluster_counts)());
    ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text)
}
