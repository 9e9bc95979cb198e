//! The record this node writes under its lease.

use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::ClusterSettings;
use crate::{
    identity::Incarnation,
    routing::ports::{NodeRecord, NodeStatus},
};

/// Counts the open connections of this node.
pub type ConnectionCount = Arc<dyn Fn() -> u64 + Send + Sync>;

/// Facts of the node: most never change, the status and the count of connections do.
pub(super) struct RecordSource {
    settings: ClusterSettings,
    started_at: String,
    status: Mutex<NodeStatus>,
    connections: OnceLock<ConnectionCount>,
}

impl RecordSource {
    pub(super) fn new(settings: ClusterSettings) -> Self {
        Self {
            settings,
            started_at: now_text(),
            status: Mutex::new(NodeStatus::Active),
            connections: OnceLock::new(),
        }
    }

    /// Says who counts; before it a record says 0.
    pub(super) fn count_with(&self, connections: ConnectionCount) {
        // Set once, by the one who starts the cluster.
        let _ = self.connections.set(connections);
    }

    pub(super) fn set_status(&self, status: NodeStatus) {
        *self.status.lock() = status;
    }

    /// The record as of now.
    pub(super) fn record(&self, incarnation: Incarnation) -> NodeRecord {
        let settings = &self.settings;
        NodeRecord {
            id: settings.node.clone(),
            incarnation,
            pod_uid: settings.pod_uid.clone(),
            ip_address: settings.node_ip.clone(),
            port: settings.client_port,
            api_port: settings.api_port,
            status: *self.status.lock(),
            connections: self.connections.get().map_or(0, |count| count()),
            version: settings.version.clone(),
            zone: settings.zone.clone(),
            started_at: self.started_at.clone(),
            last_seen: now_text(),
        }
    }
}

/// Now, RFC 3339 in UTC with seconds.
fn now_text() -> String {
    let now = OffsetDateTime::now_utc();
    now.replace_nanosecond(0).unwrap_or(now).format(&Rfc3339).unwrap_or_default()
}
