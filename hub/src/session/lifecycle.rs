//! Where this node is in its life, as clients, probes and the operator see it.

use std::sync::atomic::{AtomicU8, Ordering};

use crate::routing::ports::Registration;

const SERVING: u8 = 0;
const DRAINING: u8 = 1;
const CLOSED: u8 = 2;

/// Where a node is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Not registered yet: takes no clients.
    Starting,
    /// Serves clients.
    Active,
    /// Takes no new clients and sends the others elsewhere.
    Draining,
    /// The last client is gone.
    Closed,
}

impl Phase {
    /// The word in `/admin/status`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Active => "active",
            Self::Draining => "draining",
            Self::Closed => "closed",
        }
    }
}

/// The part of a node's life that only goes forward.
#[derive(Debug, Default)]
pub struct Lifecycle(AtomicU8);

impl Lifecycle {
    /// From now on new clients are refused. Never goes back.
    pub fn begin_draining(&self) {
        self.0.fetch_max(DRAINING, Ordering::AcqRel);
    }

    /// The last client is gone. Never goes back.
    pub fn close(&self) {
        self.0.fetch_max(CLOSED, Ordering::AcqRel);
    }

    /// The phase. A node that was registered once stays active while the registry is away.
    #[must_use]
    pub fn phase(&self, registration: &Registration) -> Phase {
        match self.0.load(Ordering::Acquire) {
            CLOSED => Phase::Closed,
            DRAINING => Phase::Draining,
            SERVING if registration.superseded => Phase::Draining,
            _ if !registration.ever_registered => Phase::Starting,
            _ => Phase::Active,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        identity::{Incarnation, NodeId, NodeInstance},
        routing::ports::RedisState,
    };

    fn registration(registered: bool, ever_registered: bool) -> Registration {
        Registration {
            instance: NodeInstance {
                node: NodeId::new("n").unwrap(),
                incarnation: Incarnation::first("a").unwrap(),
            },
            registered,
            ever_registered,
            epoch: 0,
            hearing: 1,
            redis: RedisState::Up,
            lease_expires: None,
            superseded: false,
        }
    }

    #[test]
    fn a_node_goes_from_starting_to_closed_and_never_back() {
        let lifecycle = Lifecycle::default();
        assert_eq!(lifecycle.phase(&registration(false, false)), Phase::Starting);
        assert_eq!(lifecycle.phase(&registration(true, true)), Phase::Active);
        assert_eq!(lifecycle.phase(&registration(false, true)), Phase::Active);
        let superseded = Registration { superseded: true, ..registration(false, true) };
        assert_eq!(lifecycle.phase(&superseded), Phase::Draining);
        lifecycle.begin_draining();
        assert_eq!(lifecycle.phase(&registration(true, true)), Phase::Draining);
        lifecycle.close();
        lifecycle.begin_draining();
        assert_eq!(lifecycle.phase(&registration(true, true)), Phase::Closed);
    }
}
