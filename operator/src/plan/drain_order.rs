//! How one hub is told to move its clients, and whether it has done so.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use crate::observed::hub::{DrainReport, HubPhase, HubReport};
use crate::observed::pod::HubPod;
use crate::observed::world::{Standing, World};

use super::census::{FAULT_AFTER, elapsed};
use super::wish::DrainWish;

/// Drains of the operator are called so; all others are somebody else's.
pub const OWN: &str = "wsc-operator/";

/// Connections per second where nothing is paced; the most a hub takes.
const UNPACED: u32 = 100_000;

/// Where nothing is paced clients come back after a random time up to this.
const UNPACED_HINT: Duration = Duration::from_secs(2);

/// The body of `POST /admin/drain`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DrainOrder {
    /// `wsc-operator/<operation>`.
    pub id: String,
    /// Node that is meant.
    pub node_id: String,
    /// Life of the node that is meant; another one refuses.
    pub incarnation: String,
    /// Connections closed per second, at least 1.
    pub rate: u32,
    /// Time from the start of the drain until the last connection is to be gone.
    pub deadline: Duration,
    /// Clients come back after a random time up to this.
    pub retry_after_max: Duration,
}

/// How far a pod that is to go is with its clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Departure {
    /// It holds no clients that could be moved: it may go at once.
    Free,
    /// The operator's drain is over.
    Drained,
    /// The operator's drain took too long: what is left goes with the pod's grace.
    Overdue,
    /// The operator's drain is under way.
    Moving {
        /// Connections left.
        remaining: i64,
    },
    /// A drain must be begun, or told other parameters; `id` is that of the drain under way.
    Due {
        /// Drain under way.
        id: Option<String>,
    },
    /// Somebody else drains it.
    Foreign {
        /// Id of that drain.
        id: String,
        /// Whether the last connection is gone, or the time of a drain over.
        over: bool,
    },
    /// It runs and does not answer; that may pass.
    Silent,
}

/// How far a pod is. It must not be terminating.
#[must_use]
pub fn departure(pod: &HubPod, world: &World, drain: &DrainWish, now: Timestamp) -> Departure {
    if !pod.running || pod.ip.is_none() {
        return Departure::Free;
    }
    let view = world.hubs.get(&pod.uid);
    let Some(report) = view.and_then(|view| view.report()) else {
        let since = view.and_then(|view| view.absent_since);
        let lasting = since.is_some_and(|since| elapsed(now, since) >= FAULT_AFTER);
        return if lasting { Departure::Free } else { Departure::Silent };
    };
    let closed = report.phase == HubPhase::Closed;
    match &report.drain {
        Some(current) if is_own(current) => own(current, closed, drain, now),
        Some(current) => {
            Departure::Foreign { id: current.id.clone(), over: closed || overdue(current, drain, now) }
        }
        None if matches!(report.phase, HubPhase::Draining | HubPhase::Closed) => {
            Departure::Foreign { id: "an unknown drain".to_owned(), over: closed }
        }
        None if report.connections == 0 && world.standing(pod) != Standing::Active => Departure::Free,
        None => Departure::Due { id: None },
    }
}

fn own(current: &DrainReport, closed: bool, drain: &DrainWish, now: Timestamp) -> Departure {
    if closed {
        Departure::Drained
    } else if overdue(current, drain, now) {
        Departure::Overdue
    } else if is_outdated(current, drain) {
        Departure::Due { id: Some(current.id.clone()) }
    } else {
        Departure::Moving { remaining: current.remaining }
    }
}

/// Whether the operator began a drain.
#[must_use]
pub fn is_own(drain: &DrainReport) -> bool {
    drain.id.starts_with(OWN)
}

/// The operator's drain of a pod, if there is one.
#[must_use]
pub fn own_drain<'a>(pod: &HubPod, world: &'a World) -> Option<&'a HubReport> {
    let report = world.hubs.get(&pod.uid)?.report()?;
    report.drain.as_ref().is_some_and(is_own).then_some(report)
}

/// Time is taken from the hub's own start of the drain, so that it survives restarts of the operator.
fn overdue(current: &DrainReport, drain: &DrainWish, now: Timestamp) -> bool {
    current.started_at.is_some_and(|started| elapsed(now, started) >= drain.timeout)
}

/// Whether the spec asks for a faster drain, or another deadline, than the hub was told. A drain without pace has a
/// deadline of its own and is over anyway.
fn is_outdated(current: &DrainReport, drain: &DrainWish) -> bool {
    let (Some(started), Some(deadline)) = (current.started_at, current.deadline) else {
        return false;
    };
    let told = elapsed(deadline, started);
    if told <= UNPACED_DEADLINE {
        return false;
    }
    let slower = current.rate_per_second.is_some_and(|rate| rate > 0 && rate < drain.rate);
    slower || told.abs_diff(drain.timeout) > Duration::from_secs(1)
}

/// Nobody is left to send clients to, so nothing is gained by waiting.
const UNPACED_DEADLINE: Duration = Duration::from_millis(1);

/// What a hub is told. `paced` is false where no other node could take the clients.
#[must_use]
pub fn order(
    pod: &HubPod,
    world: &World,
    operation: &str,
    under_way: Option<String>,
    drain: &DrainWish,
    paced: bool,
) -> DrainOrder {
    let report = world.hubs.get(&pod.uid).and_then(|view| view.report());
    let node_id = report.map(|report| report.node_id.clone()).filter(|id| !id.is_empty());
    DrainOrder {
        // A new id would start the clock of a drain under way again.
        id: under_way.unwrap_or_else(|| format!("{OWN}{operation}")),
        node_id: node_id.unwrap_or_else(|| pod.name.clone()),
        incarnation: report.map(|report| report.incarnation.clone()).unwrap_or_default(),
        rate: if paced { drain.rate } else { UNPACED },
        deadline: if paced { drain.timeout } else { UNPACED_DEADLINE },
        retry_after_max: if paced { drain.retry_after_max } else { UNPACED_HINT },
    }
}
