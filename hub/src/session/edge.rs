//! What all connections of a node share.

use std::sync::Arc;

use tokio_util::task::TaskTracker;

use super::{
    address_seats::AddressSeats,
    drain::control::Drain,
    heartbeat::Heartbeat,
    lifecycle::{Lifecycle, Phase},
    seats::Seats,
    traffic::Traffic,
};
use crate::{
    auth::Authenticator,
    local::queue_budget::QueueBudget,
    observe::Metrics,
    routing::router::Router,
    settings::{Hot, Settings},
};

/// What all connections of a node share.
pub struct Edge {
    /// As validated.
    pub settings: Arc<Settings>,
    /// What may change while the node runs.
    pub hot: Arc<Hot>,
    /// Sends, kicks, answers questions.
    pub router: Arc<Router>,
    /// Verifies tokens; none in trusted mode.
    pub authenticator: Option<Arc<Authenticator>>,
    /// Every metric.
    pub metrics: Arc<Metrics>,
    /// Where the node is in its life.
    pub lifecycle: Lifecycle,
    /// Orders to send clients elsewhere.
    pub drain: Drain,
    /// Room for connections.
    pub seats: Arc<Seats>,
    /// What the node carries.
    pub traffic: Arc<Traffic>,
    /// Connections by address.
    pub address_seats: Arc<AddressSeats>,
    /// What may wait for all clients together.
    pub queue_budget: Arc<QueueBudget>,
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
        hot: Arc<Hot>,
        router: Arc<Router>,
        authenticator: Option<Arc<Authenticator>>,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        Arc::new(Self {
            seats: Seats::new(),
            traffic: Traffic::new(&router, Arc::clone(&metrics)),
            address_seats: AddressSeats::new(),
            queue_budget: QueueBudget::new(hot.now().limits.queue_memory),
            heartbeat: Heartbeat::new(settings.ping_interval),
            lifecycle: Lifecycle::default(),
            drain: Drain::default(),
            tasks: TaskTracker::new(),
            settings,
            hot,
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

    /// Whether new clients are taken.
    #[must_use]
    pub fn takes_clients(&self) -> bool {
        self.lifecycle.takes_clients(&self.router.registration())
    }
}
