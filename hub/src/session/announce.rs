//! Tells the backend about connections, where it asked for events.

use std::time::SystemTime;

use super::{edge::Edge, end::End};
use crate::{local::connection::Connection, protocol::event::Event, routing::router::rfc3339};

impl Edge {
    /// A connection is about to be welcomed.
    pub(super) fn announce_connected(&self, connection: &Connection) {
        if let Some(events) = self.router.events() {
            let at = rfc3339(SystemTime::now());
            events.emit(&Event::connected(&connection.user, connection.id, &self.settings.node_id, at));
        }
    }

    /// A connection that was welcomed has ended.
    pub(super) fn announce_disconnected(&self, connection: &Connection, end: &End) {
        if let Some(events) = self.router.events() {
            let (at, (_, reason)) = (rfc3339(SystemTime::now()), end.label());
            let node = &self.settings.node_id;
            events.emit(&Event::disconnected(&connection.user, connection.id, node, at, reason));
        }
    }
}
