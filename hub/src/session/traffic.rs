//! How much a node carries now.

use std::{
    collections::VecDeque,
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::{
    local::connection_table::ConnectionTable,
    observe::Metrics,
    protocol::millis::whole_millis,
    routing::{group_registry::GroupRegistry, ports::NodeLoad, router::Router},
};

/// Time between two readings of the counter.
const EVERY: Duration = Duration::from_secs(1);
/// Readings that are kept: the rate is that of the last ten seconds.
const READINGS: usize = 11;

/// How much a node carries now.
pub struct Traffic {
    local: Arc<ConnectionTable>,
    /// Weak, since the directory that these are kept in asks for the load.
    groups: Weak<GroupRegistry>,
    metrics: Arc<Metrics>,
    readings: Mutex<Readings>,
}

impl Traffic {
    /// Of a node that has written nothing yet.
    #[must_use]
    pub fn new(router: &Router, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self {
            local: Arc::clone(router.local()),
            groups: Arc::downgrade(router.groups()),
            metrics,
            readings: Mutex::default(),
        })
    }

    /// What the node carries now; the rate is renewed once per second while [`Traffic::run`] runs.
    #[must_use]
    pub fn load(&self) -> NodeLoad {
        let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        NodeLoad {
            connections: count(self.local.len()),
            users: count(self.local.users()),
            groups: self.groups.upgrade().map_or(0, |groups| count(groups.roster().groups())),
            messages_per_second: self.readings.lock().per_second(),
        }
    }

    /// Reads the counter once per second until `shutdown`.
    pub async fn run(self: Arc<Self>, shutdown: CancellationToken) {
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while shutdown.run_until_cancelled(ticks.tick()).await.is_some() {
            self.readings.lock().add(Instant::now(), self.metrics.frames_out.get());
        }
    }
}

/// The last readings of a counter that only rises.
#[derive(Debug, Default)]
struct Readings(VecDeque<(Instant, u64)>);

impl Readings {
    fn add(&mut self, at: Instant, total: u64) {
        if self.0.len() == READINGS {
            self.0.pop_front();
        }
        self.0.push_back((at, total));
    }

    /// Rounded to the nearest; 0 until there are two readings.
    fn per_second(&self) -> u64 {
        let (Some((first_at, first)), Some((last_at, last))) = (self.0.front(), self.0.back()) else {
            return 0;
        };
        let millis = whole_millis(*last_at - *first_at);
        let thousandfold = last.saturating_sub(*first).saturating_mul(1000);
        (thousandfold.saturating_add(millis / 2)).checked_div(millis).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_of_the_last_ten_seconds() {
        let start = Instant::now();
        let mut readings = Readings::default();
        assert_eq!(readings.per_second(), 0);
        readings.add(start, 7);
        assert_eq!(readings.per_second(), 0);
        for second in 1..=10 {
            readings.add(start + Duration::from_secs(second), 7 + second * 100);
        }
        assert_eq!(readings.per_second(), 100);
        for second in 11..=30 {
            readings.add(start + Duration::from_secs(second), 1007 + 3);
        }
        assert_eq!((readings.per_second(), readings.0.len()), (0, READINGS));
    }

    #[test]
    fn the_rate_is_rounded() {
        let start = Instant::now();
        for (frames, rate) in [(14, 1), (15, 2), (16, 2)] {
            let readings = Readings([(start, 0), (start + Duration::from_secs(10), frames)].into());
            assert_eq!(readings.per_second(), rate, "{frames}");
        }
    }
}
