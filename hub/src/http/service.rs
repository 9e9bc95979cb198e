//! What the routes of a node share.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::{auth::ApiKeys, observe::ClusterCounts, session::edge::Edge};

/// Reads what the cluster's side counts.
pub type ReadClusterCounts = Arc<dyn Fn() -> ClusterCounts + Send + Sync>;

/// What the routes of a node share.
pub struct Service {
    /// Connections and what a backend asks of them.
    pub edge: Arc<Edge>,
    /// Who may use the API.
    pub api_keys: Arc<ApiKeys>,
    /// What the cluster's side counts.
    pub cluster_counts: ReadClusterCounts,
    /// Seats of those who read events.
    pub event_readers: Arc<Semaphore>,
    /// Answers without an end end when this is cancelled.
    pub stopping: CancellationToken,
}
