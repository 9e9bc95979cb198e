//! What all connections of a node share.

use std::sync::Arc;

use tokio_util::task::TaskTracker;

use super::{
    heartbeat::Heartbeat,
    lifecycle::{Lifecycle, Phase},
    seats::Seats,
};
use crate::{auth::Authenticator, observe::Metrics, routing::router::Router, settings::Settings};

/// What all connections of a node share.
pub struct Edge {
    /// As validated.
    pub settings: Arc<Settings>,
    /// Sends, kicks, answers questions.
    pub router: Arc<Router>,
    /// Verifies tokens; none in trusted mode.
    pub authenticator: Option<Arc<Authenticator>>,
    /// Every metric.
    pub metrics: Arc<Metrics>,
    /// Where the node is in its life.
    pub lifecycle: Lifecycle,
    /// Room for connections.
    pub seats: Arc<Seats>,
    /// Pings and silence.
    pub heartbeat: Arc<Heartbeat>,
    /// Connections, and sends of clients that may outlive them.
    pub tasks: TaskTracker,
}

impl Edge {
    /// An edge with no connections.
    #[must_use]
    pub fn new(
        settings: Arc<Settings>,
        router: Arc<Router>,
        authenticator: Option<Arc<Authenticator>>,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        Arc::new(Self {
            seats: Seats::new(settings.max_connections),
            heartbeat: Heartbeat::new(settings.ping_interval),
            lifecycle: Lifecycle::default(),
            tasks: TaskTracker::new(),
            settings,
            router,
            authenticator,
            metrics,
        })
    }

    /// Where the node is in its life.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.lifecycle.phase(&self.router.registration())
    }
}
