//! Carries out drains and rebalances: the only one that sends clients away.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;

use super::{
    control::Orders,
    pace::{Pacer, Plan},
};
use crate::{local::idle_order::IdleOrder, session::edge::Edge};

/// Between two handfuls of connections. Short, because who stays waits for a whole handful: each close is some writes, two
/// questions to Redis, and soon an upgrade elsewhere.
const TICK: Duration = Duration::from_millis(5);
/// Between two looks when all were sent away and some are not gone.
const LOOK: Duration = Duration::from_millis(50);
/// How long an order by idleness is believed.
const ORDER_LIFE: Duration = Duration::from_secs(1);
/// More connections than are closed in that time are not put into order.
const LEAST_ORDERED: usize = 64;
/// Connections sent away before other tasks get their turn.
const MOST_AT_ONCE: usize = 256;

/// What is to be done now.
struct Job {
    /// Which order it belongs to.
    number: u64,
    reason: &'static str,
    plan: Plan,
    now: Duration,
    /// Connections that may be closed at most.
    most: usize,
    retry_after_max: Duration,
}

/// What is remembered between two steps of one order.
struct Progress {
    number: u64,
    pacer: Pacer,
    order: IdleOrder,
    looked: Instant,
    /// Connections that are due and not closed yet.
    owed: usize,
}

/// Carries out orders until `shutdown`.
pub async fn run(edge: Arc<Edge>, shutdown: CancellationToken) {
    let mut progress = None;
    loop {
        let pause = edge.drain_step(&mut progress);
        let rest = async {
            match pause {
                Some(Duration::ZERO) => tokio::task::yield_now().await,
                Some(pause) => tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = edge.drain.changed.notified() => {}
                },
                None => edge.drain.changed.notified().await,
            }
        };
        if shutdown.run_until_cancelled(rest).await.is_none() {
            return;
        }
    }
}

impl Edge {
    /// One handful of connections. Returns how long to rest, or none for as long as there is no new order.
    fn drain_step(&self, progress: &mut Option<Progress>) -> Option<Duration> {
        let job = match self.next_job(&mut self.drain.orders.lock()) {
            Ok(job) => job,
            Err(pause) => {
                *progress = None;
                return pause;
            }
        };
        let progress = match progress {
            Some(progress) if progress.number == job.number => progress,
            other => other.insert(Progress {
                number: job.number,
                pacer: Pacer::starting(job.now),
                order: IdleOrder::default(),
                looked: Instant::now(),
                owed: 0,
            }),
        };
        if progress.order.is_empty() || progress.looked.elapsed() >= ORDER_LIFE {
            let rate = job.plan.rate(job.now, self.router.local().len());
            // Capped before it becomes a number; a rate is not negative.
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "see above")]
            let of_a_life = (rate * ORDER_LIFE.as_secs_f64()).min(1e9) as usize;
            let most = of_a_life.saturating_add(progress.owed).max(LEAST_ORDERED).min(job.most);
            progress.order = IdleOrder::of(self.router.local(), most);
            progress.looked = Instant::now();
            progress.owed = progress.owed.min(progress.order.open());
        }
        let open = progress.order.open().min(job.most);
        let rate = job.plan.rate(job.now, open);
        progress.owed += progress.pacer.due(job.now, rate, open.saturating_sub(progress.owed));
        let (mut closed, most) = (0, progress.owed.min(MOST_AT_ONCE));
        while closed < most
            && let Some(connection) = progress.order.take()
        {
            let hint = job.retry_after_max.mul_f64(rand::random());
            if self.router.send_away(&connection, job.reason, hint) {
                closed += 1;
                self.metrics.sent_away(job.reason);
            }
        }
        progress.owed -= closed;
        self.account(job.number, closed);
        Some(match (progress.owed, open) {
            (0, 0) => LOOK,
            (0, _) => TICK,
            _ => Duration::ZERO,
        })
    }

    /// What is to be done now, or how long there is nothing to do.
    fn next_job(&self, orders: &mut Orders) -> Result<Job, Option<Duration>> {
        let usual = self.hot.now().drain;
        if let Some(order) = &orders.drain {
            let (now, plan) = (order.now(), order.plan(&usual));
            if self.lifecycle.is_settling() {
                if now < plan.settled_at() {
                    return Err(Some(plan.settled_at() - now));
                }
                self.lifecycle.refuse_clients();
            } else if self.seats.taken() == 0 {
                // Nobody can have taken a seat since the last step, when clients were refused already.
                if self.lifecycle.close() {
                    tracing::info!(closed = order.closed, "drained, the last connection is gone");
                }
                return Err(None);
            }
            return Ok(Job {
                number: orders.number,
                reason: "drain",
                plan,
                now,
                most: usize::MAX,
                retry_after_max: order.retry_after_max(&usual),
            });
        }
        match &orders.rebalance {
            Some(order) if order.left > 0 && !self.router.local().is_empty() => Ok(Job {
                number: orders.number,
                reason: "rebalance",
                plan: order.plan(&usual),
                now: order.started.elapsed(),
                most: order.left,
                retry_after_max: usual.retry_after_max,
            }),
            _ => {
                orders.rebalance = None;
                Err(None)
            }
        }
    }

    fn account(&self, number: u64, closed: usize) {
        let mut orders = self.drain.orders.lock();
        if orders.number != number {
            return;
        }
        if let Some(order) = &mut orders.drain {
            order.closed += u64::try_from(closed).unwrap_or(u64::MAX);
        } else if let Some(order) = &mut orders.rebalance {
            order.left = order.left.saturating_sub(closed);
        }
    }
}
