//! The sweep over all connections: pings, silence, tokens that end. No connection has a timer of its own.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::pulse::{Due, Pulse};
use crate::{
    auth::TOKEN_LEEWAY,
    identity::ConnectionId,
    local::connection::Connection,
    protocol::{close_reason::CloseReason, millis::whole_millis, server_frame},
};

/// Parts that are swept one after another, so that no sweep holds a lock for long.
const SHARDS: usize = 16;
/// How long before its end a token is said to expire.
const TOKEN_WARNING: Duration = Duration::from_secs(30);
/// A whole round takes no longer, so that a token's end is late by at most this.
const LONGEST_ROUND: Duration = Duration::from_secs(1);

type Shard = Mutex<HashMap<ConnectionId, Arc<Pulse>>>;

/// The pulses of all connections of a node.
#[derive(Debug)]
pub struct Heartbeat {
    started: Instant,
    ping_interval: Duration,
    next: AtomicUsize,
    shards: Box<[Shard]>,
}

/// A pulse's place in the sweep; dropping it takes the pulse out.
#[derive(Debug)]
pub struct Watched {
    heartbeat: Arc<Heartbeat>,
    shard: usize,
    pulse: Arc<Pulse>,
}

impl Watched {
    /// The pulse.
    #[must_use]
    pub fn pulse(&self) -> &Arc<Pulse> {
        &self.pulse
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.heartbeat.shards[self.shard].lock().remove(&self.pulse.connection.id);
    }
}

impl Heartbeat {
    /// A sweep that pings each connection once per `ping_interval`.
    #[must_use]
    pub fn new(ping_interval: Duration) -> Arc<Self> {
        Arc::new(Self {
            started: Instant::now(),
            ping_interval,
            next: AtomicUsize::new(0),
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
        })
    }

    fn now(&self) -> u64 {
        whole_millis(self.started.elapsed())
    }

    /// Watches a connection; `token_expires` is the token's `exp`.
    #[must_use]
    pub fn watch(
        self: &Arc<Self>,
        connection: Arc<Connection>,
        token_expires: Option<SystemTime>,
    ) -> Watched {
        let now = self.now();
        connection.activity.begin(now);
        let token_ends = token_expires.map(|exp| self.token_ends(exp));
        let next_ping = now.saturating_add(whole_millis(self.ping_interval));
        let pulse = Arc::new(Pulse::new(connection, next_ping, token_ends));
        let shard = self.next.fetch_add(1, Ordering::Relaxed) % SHARDS;
        self.shards[shard].lock().insert(pulse.connection.id, Arc::clone(&pulse));
        Watched { heartbeat: Arc::clone(self), shard, pulse }
    }

    /// Puts the `exp` of a new token in force.
    pub fn renew(&self, pulse: &Pulse, token_expires: SystemTime) {
        pulse.renew(self.token_ends(token_expires));
    }

    fn token_ends(&self, token_expires: SystemTime) -> u64 {
        let left = (token_expires + TOKEN_LEEWAY).duration_since(SystemTime::now()).unwrap_or_default();
        self.now().saturating_add(whole_millis(left))
    }

    /// Sweeps until `shutdown`.
    pub async fn run(self: Arc<Self>, shutdown: CancellationToken) {
        let round = (self.ping_interval / 8).clamp(Duration::from_millis(16), LONGEST_ROUND);
        let mut ticks = tokio::time::interval(round / 16);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut swept = Vec::new();
        let mut shard = 0;
        while shutdown.run_until_cancelled(ticks.tick()).await.is_some() {
            swept.extend(self.shards[shard].lock().values().cloned());
            let now = self.now();
            swept.drain(..).for_each(|pulse| self.act(&pulse, now));
            shard = (shard + 1) % SHARDS;
        }
    }

    fn act(&self, pulse: &Pulse, now: u64) {
        let queue = &pulse.connection.queue;
        pulse.connection.activity.sweep(now);
        match pulse.check(now, whole_millis(self.ping_interval), whole_millis(TOKEN_WARNING)) {
            Due::Nothing | Due::Ping => {}
            Due::TokenExpiring(left) => {
                // A queue that is full or closing needs no warning.
                let _ = queue.push(server_frame::auth_expiring(Duration::from_millis(left)), None);
            }
            Due::TokenExpired => {
                queue.close(CloseReason::TokenExpired);
            }
            Due::Silent => {
                queue.close(CloseReason::NoHeartbeat);
            }
        }
    }
}
