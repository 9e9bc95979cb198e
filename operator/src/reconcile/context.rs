//! What every pass shares.

use std::sync::Arc;
use std::time::Duration;

use kube::Client;

use crate::hub_admin::port::HubAdmin;
use crate::observe::metrics::Metrics;

use super::cache::Caches;
use super::events::Events;
use super::memory::Memory;

/// Shared by all controllers of the process.
pub struct Shared {
    /// Client of the API server.
    pub client: Client,
    /// The hubs' admin API.
    pub hub_admin: Box<dyn HubAdmin>,
    /// Metrics.
    pub metrics: Arc<Metrics>,
    /// Events.
    pub events: Events,
    /// What is remembered between passes.
    pub memory: Memory,
    /// Defaults from the settings.
    pub defaults: Defaults,
}

/// Defaults from the settings.
#[derive(Debug, Clone)]
pub struct Defaults {
    /// Hub image for resources that name none.
    pub hub_image: String,
    /// Redis image for resources that name none.
    pub redis_image: String,
    /// Pause between looks at a quiet resource.
    pub resync: Duration,
    /// Whether cluster-scoped objects may be read.
    pub cluster_scope: bool,
}

/// What a pass sees: the shared part and the caches of its scope.
pub struct Context {
    /// Shared by all controllers.
    pub shared: Arc<Shared>,
    /// The watched objects.
    pub caches: Caches,
}
