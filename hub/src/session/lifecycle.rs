//! Where this node is in its life, as clients, probes and the operator see it.

use std::sync::atomic::{AtomicU8, Ordering};

use crate::routing::ports::Registration;

const SERVING: u8 = 0;
const SETTLING: u8 = 1;
const REFUSING: u8 = 2;
const CLOSED: u8 = 3;

/// Where a node is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Not registered yet: takes no clients.
    Starting,
    /// Serves clients.
    Active,
    /// Sends its clients elsewhere; takes new ones only until others have noticed.
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

/// The part of a node's life that its drain decides.
#[derive(Debug, Default)]
pub struct Lifecycle(AtomicU8);

impl Lifecycle {
    /// The node is to be left. New clients are taken until [`Lifecycle::refuse_clients`].
    pub fn begin_draining(&self) {
        self.step(SERVING, SETTLING);
    }

    /// From now on new clients are refused.
    pub fn refuse_clients(&self) {
        self.step(SETTLING, REFUSING);
    }

    /// The last client is gone; returns whether that is new. There is no way back.
    pub fn close(&self) -> bool {
        self.0.swap(CLOSED, Ordering::SeqCst) != CLOSED
    }

    /// The node stays after all; returns whether it was not too late.
    pub fn serve_again(&self) -> bool {
        self.0
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |now| (now != CLOSED).then_some(SERVING))
            .is_ok()
    }

    /// Whether the node is not to be left.
    #[must_use]
    pub fn is_serving(&self) -> bool {
        self.0.load(Ordering::SeqCst) == SERVING
    }

    /// Whether the node is to be left but still takes clients.
    #[must_use]
    pub fn is_settling(&self) -> bool {
        self.0.load(Ordering::SeqCst) == SETTLING
    }

    fn step(&self, from: u8, to: u8) {
        // Another state is further on, or was taken back.
        let _ = self.0.compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst);
    }

    /// The phase. A node that was registered once stays active while the registry is away.
    #[must_use]
    pub fn phase(&self, registration: &Registration) -> Phase {
        match self.0.load(Ordering::SeqCst) {
            CLOSED => Phase::Closed,
            SETTLING | REFUSING => Phase::Draining,
            _ if registration.superseded => Phase::Draining,
            _ if !registration.ever_registered => Phase::Starting,
            _ => Phase::Active,
        }
    }

    /// Whether new clients are taken.
    #[must_use]
    pub fn takes_clients(&self, registration: &Registration) -> bool {
        let may = matches!(self.0.load(Ordering::SeqCst), SERVING | SETTLING);
        may && registration.ever_registered && !registration.superseded
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
    fn a_node_goes_from_starting_to_closed() {
        let lifecycle = Lifecycle::default();
        let (new, well) = (registration(false, false), registration(true, true));
        assert_eq!((lifecycle.phase(&new), lifecycle.takes_clients(&new)), (Phase::Starting, false));
        assert_eq!((lifecycle.phase(&well), lifecycle.takes_clients(&well)), (Phase::Active, true));
        assert_eq!(lifecycle.phase(&registration(false, true)), Phase::Active);
        let superseded = Registration { superseded: true, ..registration(false, true) };
        assert_eq!(
            (lifecycle.phase(&superseded), lifecycle.takes_clients(&superseded)),
            (Phase::Draining, false)
        );
        lifecycle.begin_draining();
        assert_eq!((lifecycle.phase(&well), lifecycle.takes_clients(&well)), (Phase::Draining, true));
        assert!(lifecycle.is_settling() && !lifecycle.is_serving() && !lifecycle.takes_clients(&superseded));
        lifecycle.refuse_clients();
        assert_eq!((lifecycle.phase(&well), lifecycle.takes_clients(&well)), (Phase::Draining, false));
        lifecycle.begin_draining();
        assert!(!lifecycle.is_settling(), "never settles again");
        assert!(lifecycle.close() && !lifecycle.close());
        assert_eq!((lifecycle.phase(&well), lifecycle.takes_clients(&well)), (Phase::Closed, false));
    }

    #[test]
    fn a_drain_can_be_taken_back_until_the_last_client_is_gone() {
        let (lifecycle, well) = (Lifecycle::default(), registration(true, true));
        for refused in [false, true] {
            lifecycle.begin_draining();
            if refused {
                lifecycle.refuse_clients();
            }
            assert!(lifecycle.serve_again());
            assert!(lifecycle.is_serving() && lifecycle.takes_clients(&well));
            assert_eq!(lifecycle.phase(&well), Phase::Active);
        }
        lifecycle.refuse_clients();
        assert!(lifecycle.is_serving(), "a step that comes too late changes nothing");
        lifecycle.close();
        assert!(!lifecycle.serve_again());
        assert_eq!(lifecycle.phase(&well), Phase::Closed);
    }
}
