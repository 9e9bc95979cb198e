//! The record this node writes under its lease.

use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::ClusterSettings;
use crate::{
    identity::Incarnation,
    routing::ports::{NodeLoad, NodeRecord, NodeStatus},
};

/// Says what this node carries.
pub type LoadSource = Arc<dyn Fn() -> NodeLoad + Send + Sync>;

/// Facts of the node: most never change, the status and the load do.
pub(super) struct RecordSource {
    settings: ClusterSettings,
    started_at: String,
    status: Mutex<NodeStatus>,
    load: OnceLock<LoadSource>,
}

impl RecordSource {
    pub(super) fn new(settings: ClusterSettings) -> Self {
        Self {
            settings,
            started_at: now_text(),
            status: Mutex::new(NodeStatus::Active),
            load: OnceLock::new(),
        }
    }

    /// Says who knows the load; before it a record says 0.
    pub(super) fn load_from(&self, load: LoadSource) {
        // Set once, by the one who starts the cluster.
        let _ = self.load.set(load);
    }

    pub(super) fn set_status(&self, status: NodeStatus) {
        *self.status.lock() = status;
    }

    /// The record as of now.
    pub(super) fn record(&self, incarnation: Incarnation) -> NodeRecord {
        let settings = &self.settings;
        let load = self.load.get().map_or_else(NodeLoad::default, |load| load());
        NodeRecord {
            id: settings.node.clone(),
            incarnation,
            pod_uid: settings.pod_uid.clone(),
            ip_address: settings.node_ip.clone(),
            port: settings.client_port,
            api_port: settings.api_port,
            status: *self.status.lock(),
            connections: load.connections,
            users: load.users,
            groups: load.groups,
            messages_per_second: load.messages_per_second,
            version: settings.version.clone(),
            zone: settings.zone.clone(),
            started_at: self.started_at.clone(),
            last_seen: now_text(),
            asserted: None,
        }
    }
}

/// Now, RFC 3339 in UTC with seconds.
fn now_text() -> String {
    let now = OffsetDateTime::now_utc();
    now.replace_nanosecond(0).unwrap_or(now).format(&Rfc3339).unwrap_or_default()
}
