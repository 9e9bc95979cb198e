//! A hub as the operator sees it: what it says of itself, and clients that are only counted.

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant, SystemTime},
};

use tokio_util::sync::CancellationToken;

/// How long a draining hub still takes clients; a real one takes 5 s by default.
pub(super) const SETTLE: Duration = Duration::from_millis(300);

/// A drain.
#[derive(Debug, Clone)]
pub struct FakeDrain {
    /// Its id.
    pub id: String,
    /// Connections closed per second.
    pub rate: f64,
    /// When it began.
    pub started: Instant,
    /// The same by the clock on the wall.
    pub started_at: SystemTime,
    /// After this time all connections are closed at once.
    pub deadline: Option<Duration>,
}

/// The hot settings as far as a hub of a test knows them.
#[derive(Debug, Clone, PartialEq)]
pub struct FakeSettings {
    /// Hash of the file.
    pub hash: String,
    /// Most connections.
    pub max_connections: f64,
}

/// One hub. A test may change it at any time.
#[derive(Debug)]
pub struct FakeHub {
    /// Node id, the name of its pod.
    pub name: String,
    /// Resource it belongs to.
    pub cluster: String,
    /// Which life of the node this is.
    pub incarnation: String,
    /// Clients, in parts while a drain closes them.
    pub connections: f64,
    /// Clients it takes at most.
    pub max_connections: f64,
    /// Whether its lease is held.
    pub registered: bool,
    /// What is wrong with Redis: a word, a colon, a sentence.
    pub redis_error: Option<String>,
    /// Hash of the hot settings that are applied.
    pub hot_hash: Option<String>,
    /// Why the file as it is now is not applied.
    pub hot_error: Option<String>,
    /// Answers nobody, though the process runs.
    pub silent: bool,
    /// Its node is gone, so that nobody answers and the lease has ended.
    pub lost: bool,
    /// Its drain.
    pub drain: Option<FakeDrain>,
    /// When it serves.
    pub(super) ready_at: Instant,
    /// Hot settings on their way and when they arrive.
    pub(super) coming: Option<(FakeSettings, Instant)>,
    pub(super) address: Ipv4Addr,
    pub(super) stop: CancellationToken,
}

impl FakeHub {
    /// Whether its start is over.
    #[must_use]
    pub fn has_started(&self) -> bool {
        Instant::now() >= self.ready_at
    }

    /// Whether it takes clients.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.has_started() && self.drain.is_none() && !self.lost
    }

    /// `active`, `draining` or `closed`.
    #[must_use]
    pub fn phase(&self) -> &'static str {
        match &self.drain {
            None => "active",
            Some(drain) if self.connections <= 0.0 && drain.started.elapsed() >= SETTLE => "closed",
            Some(_) => "draining",
        }
    }

    /// Closes what is due after `passed`; gives how many.
    pub(super) fn close_due(&mut self, passed: Duration) -> f64 {
        let Some(drain) = &self.drain else { return 0.0 };
        let since = drain.started.elapsed();
        let due = if drain.deadline.is_some_and(|deadline| since >= deadline) {
            self.connections
        } else if since >= SETTLE {
            drain.rate * passed.as_secs_f64()
        } else {
            0.0
        };
        let due = due.min(self.connections);
        self.connections -= due;
        due
    }

    /// Brings the newest settings to the node, up to `within` after they were first seen.
    pub(super) fn bring(&mut self, newest: &FakeSettings, within: Duration) {
        if self.hot_hash.as_deref() == Some(&newest.hash) {
            self.coming = None;
            return;
        }
        match &self.coming {
            Some((coming, at)) if coming == newest => {
                if Instant::now() >= *at {
                    self.apply(newest);
                }
            }
            _ => self.coming = Some((newest.clone(), Instant::now() + within.mul_f64(rand::random()))),
        }
    }

    /// Applies settings at once.
    pub(super) fn apply(&mut self, settings: &FakeSettings) {
        self.hot_hash = Some(settings.hash.clone());
        self.max_connections = settings.max_connections;
        self.coming = None;
    }
}
