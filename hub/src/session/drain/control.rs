//! Orders to drain or to rebalance, and what has become of them.

use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::Notify;

use super::pace::Plan;
use crate::{
    identity::NodeInstance,
    protocol::drain_request::{DrainRequest, RebalanceRequest},
    routing::{ports::NodeStatus, router::rfc3339},
    session::{edge::Edge, lifecycle::Phase},
    settings::DrainSettings,
};

/// Longest wait for the registry to note the node's status; the next heartbeat says it otherwise.
const NOTE: Duration = Duration::from_secs(1);
/// The id of the drain of a node that ends and was not draining.
const ENDING: &str = "shutdown";

/// Orders to drain or to rebalance.
#[derive(Debug, Default)]
pub struct Drain {
    pub(super) orders: Mutex<Orders>,
    pub(super) changed: Notify,
    /// The registry hears of one status at a time, the last one last.
    noting: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
pub(super) struct Orders {
    pub(super) drain: Option<DrainOrder>,
    pub(super) rebalance: Option<RebalanceOrder>,
    /// Rises with each order that begins anew.
    pub(super) number: u64,
}

/// A drain that was begun. It stays after the last connection is gone.
#[derive(Debug)]
pub(super) struct DrainOrder {
    id: String,
    started: Instant,
    started_at: SystemTime,
    settle: Duration,
    rate: Option<u32>,
    /// Since `started`.
    deadline: Option<Duration>,
    retry_after_max: Option<Duration>,
    /// Nobody is left to send clients to, or no time.
    at_once: bool,
    /// The process ends after it: nobody takes it back.
    ending: bool,
    /// Connections sent away.
    pub(super) closed: u64,
}

/// Some connections are to go.
#[derive(Debug)]
pub(super) struct RebalanceOrder {
    pub(super) started: Instant,
    pub(super) left: usize,
    rate: Option<u32>,
}

/// What has become of a drain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct DrainProgress {
    /// The caller's name for it.
    pub id: String,
    /// When the drain of this id began, RFC 3339.
    pub started_at: String,
    /// When all connections are to be gone, RFC 3339; absent without a deadline.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline: Option<String>,
    /// Connections that are not gone, those that are being made or closed included.
    pub remaining: usize,
    /// Connections that were sent away.
    pub closed: u64,
    /// Connections closed per second now: 0 while it settles, absent when all go at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_per_second: Option<u32>,
}

/// Why an order is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DrainRefused {
    /// Somebody else is meant.
    #[error("this node is {found}, expected was {expected}")]
    OtherNode {
        /// As asked.
        expected: NodeInstance,
        /// As it is.
        found: NodeInstance,
    },
    /// The process ends.
    #[error("the node was told to end, its drain cannot be changed any more")]
    Ending,
    /// Too late.
    #[error("the last connection is gone, the drain cannot be taken back; end the process")]
    Closed,
    /// All connections go anyway, or none may come yet.
    #[error("only an active node can be rebalanced")]
    NotActive,
}

impl DrainOrder {
    /// Of a node that has not been draining. `settle` is how long clients are still taken.
    fn new(id: &str, settle: Duration) -> Self {
        Self {
            id: id.to_owned(),
            started: Instant::now(),
            started_at: SystemTime::now(),
            settle,
            rate: None,
            deadline: None,
            retry_after_max: None,
            at_once: false,
            ending: false,
            closed: 0,
        }
    }

    /// How long clients are still taken from now on.
    fn left_to_settle(&self, usual: &DrainSettings) -> Duration {
        self.plan(usual).settled_at().saturating_sub(self.now())
    }

    pub(super) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    pub(super) fn plan(&self, usual: &DrainSettings) -> Plan {
        let rate = f64::from(self.rate.unwrap_or(usual.rate_per_second));
        match self.at_once {
            true => Plan { settle: Duration::ZERO, rate: f64::INFINITY, deadline: self.deadline },
            false => Plan { settle: self.settle, rate, deadline: self.deadline },
        }
    }

    pub(super) fn retry_after_max(&self, usual: &DrainSettings) -> Duration {
        self.retry_after_max.unwrap_or(usual.retry_after_max)
    }
}

impl RebalanceOrder {
    pub(super) fn plan(&self, usual: &DrainSettings) -> Plan {
        let rate = f64::from(self.rate.unwrap_or(usual.rate_per_second));
        Plan { settle: Duration::ZERO, rate, deadline: None }
    }
}

impl Edge {
    /// Begins to send all clients elsewhere. The same id again changes the parameters and not the clock; another id
    /// replaces the order, and what was settled stays so. The registry is told before this returns, if it answers
    /// within a second.
    ///
    /// # Errors
    /// [`DrainRefused`]: nothing was changed.
    pub async fn begin_drain(&self, request: &DrainRequest) -> Result<DrainProgress, DrainRefused> {
        if let Some(expect) = &request.expect {
            let found = self.router.registration().instance;
            let expected =
                NodeInstance { node: expect.node.clone(), incarnation: expect.incarnation.clone() };
            if expected != found {
                return Err(DrainRefused::OtherNode { expected, found });
            }
        }
        let usual = self.hot.now().drain;
        let progress = {
            let mut orders = self.drain.orders.lock();
            let order = self.begin(&mut orders, &request.id, &usual);
            if order.ending {
                return Err(DrainRefused::Ending);
            }
            if order.id != request.id {
                let next = DrainOrder::new(&request.id, order.left_to_settle(&usual));
                *order = DrainOrder { closed: order.closed, ..next };
            }
            (order.rate, order.deadline) = (request.rate_per_second, request.deadline);
            order.retry_after_max = request.retry_after_max;
            self.progress_of(order, &usual)
        };
        tracing::info!(id = request.id, connections = progress.remaining, "draining");
        self.drain.changed.notify_one();
        self.note_status().await;
        Ok(progress)
    }

    /// Sends all clients elsewhere before the process ends, within `time`: continues a drain that was begun, faster if
    /// need be. `at_once`: without pacing, because there is nowhere else to go.
    pub(crate) async fn drain_to_end(&self, time: Duration, at_once: bool) {
        let usual = self.hot.now().drain;
        {
            let mut orders = self.drain.orders.lock();
            let order = self.begin(&mut orders, ENDING, &usual);
            let end = order.now() + time;
            order.deadline = Some(order.deadline.map_or(end, |deadline| deadline.min(end)));
            order.ending = true;
            order.at_once |= at_once;
        }
        self.drain.changed.notify_one();
        self.note_status().await;
    }

    /// The order that is carried out, a new one if there is none.
    fn begin<'a>(&self, orders: &'a mut Orders, id: &str, usual: &DrainSettings) -> &'a mut DrainOrder {
        if orders.drain.is_none() {
            orders.rebalance = None;
            orders.number += 1;
            self.lifecycle.begin_draining();
        }
        orders.drain.get_or_insert_with(|| DrainOrder::new(id, usual.settle))
    }

    /// Takes a drain back: clients are taken again and nobody is sent away any more. Nothing to do is fine.
    ///
    /// # Errors
    /// [`DrainRefused`] when the last connection is gone or the process ends.
    pub async fn cancel_drain(&self) -> Result<(), DrainRefused> {
        {
            let mut orders = self.drain.orders.lock();
            let Some(order) = &orders.drain else { return Ok(()) };
            if order.ending {
                return Err(DrainRefused::Ending);
            }
            if !self.lifecycle.serve_again() {
                return Err(DrainRefused::Closed);
            }
            tracing::info!(id = order.id, connections = self.seats.taken(), "the drain was taken back");
            orders.drain = None;
            orders.number += 1;
        }
        self.drain.changed.notify_one();
        self.note_status().await;
        Ok(())
    }

    /// Begins to send the most idle clients elsewhere; an earlier order of this kind is replaced. Returns how many there
    /// will be.
    ///
    /// # Errors
    /// [`DrainRefused::NotActive`].
    pub fn rebalance(&self, request: &RebalanceRequest) -> Result<usize, DrainRefused> {
        let mut orders = self.drain.orders.lock();
        if orders.drain.is_some() || self.phase() != Phase::Active {
            return Err(DrainRefused::NotActive);
        }
        let left = request.close.min(self.router.local().len());
        orders.rebalance =
            Some(RebalanceOrder { started: Instant::now(), left, rate: request.rate_per_second });
        orders.number += 1;
        drop(orders);
        tracing::info!(connections = left, "sending the most idle clients elsewhere");
        self.drain.changed.notify_one();
        Ok(left)
    }

    /// What has become of the drain, if there is one.
    #[must_use]
    pub fn drain_progress(&self) -> Option<DrainProgress> {
        let usual = self.hot.now().drain;
        let orders = self.drain.orders.lock();
        Some(self.progress_of(orders.drain.as_ref()?, &usual))
    }

    fn progress_of(&self, order: &DrainOrder, usual: &DrainSettings) -> DrainProgress {
        let remaining = self.seats.taken();
        let rate = order.plan(usual).rate(order.now(), remaining);
        // What is not finite has no number; the rest is capped far above any rate.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "see above")]
        let rate_per_second = rate.is_finite().then(|| rate.min(1e9).ceil() as u32);
        DrainProgress {
            id: order.id.clone(),
            started_at: rfc3339(order.started_at),
            deadline: order.deadline.map(|deadline| rfc3339(order.started_at + deadline)),
            remaining,
            closed: order.closed,
            rate_per_second,
        }
    }

    /// Tells the registry where the node is in its life.
    async fn note_status(&self) {
        let _turn = self.drain.noting.lock().await;
        let status = match self.lifecycle.is_serving() {
            true => NodeStatus::Active,
            false => NodeStatus::Draining,
        };
        if !matches!(tokio::time::timeout(NOTE, self.router.set_status(status)).await, Ok(Ok(()))) {
            tracing::warn!(?status, "the registry could not be told of the node's status now");
        }
    }
}
