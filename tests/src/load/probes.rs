//! Messages sent at fixed times beside other load, each timed until its receiver has parsed it.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use rustix::fd::OwnedFd;

use super::{course::body, http_posts::HttpPosts, latencies::Latencies, measured_hub::KEY, swarm::Swarm};

/// Connections of the sender. With one alone a slow answer would hold up the probes after it.
const CONNECTIONS: usize = 16;

/// One receiver, and a sender that sends to it at fixed times. A probe's time begins when it was due, so that a hub which
/// stops for a while is not asked less often and looks better for it.
pub struct Probes {
    posts: HttpPosts,
    client: Swarm,
    request: Vec<Vec<u8>>,
    every: Duration,
    next: Instant,
    /// When those were due that have not arrived. They arrive in order; where two change places, so do their times.
    under_way: VecDeque<Instant>,
    /// What was measured since the last look.
    pub latencies: Latencies,
}

impl Probes {
    /// A receiver at one hub and a sender at the same or another one.
    ///
    /// # Errors
    /// When a connection is refused.
    pub fn connect(client: SocketAddr, api: SocketAddr, every: Duration) -> Result<Self> {
        Self::connect_as("probe", client, api, every)
    }

    /// The same with a receiver of one's own name.
    ///
    /// # Errors
    /// When a connection is refused.
    pub fn connect_as(user: &str, client: SocketAddr, api: SocketAddr, every: Duration) -> Result<Self> {
        let mut swarm = Swarm::new()?;
        swarm.connect(client, user)?;
        Ok(Self {
            posts: HttpPosts::connect(api, CONNECTIONS)?,
            client: swarm,
            request: vec![HttpPosts::request(&format!("/v1/users/{user}/messages"), KEY, &body("none"))],
            every,
            next: Instant::now(),
            under_way: VecDeque::new(),
            latencies: Latencies::default(),
        })
    }

    /// What there is to wait for.
    #[must_use]
    pub fn signs(&self) -> [&OwnedFd; 2] {
        [self.posts.sign(), self.client.sign()]
    }

    /// Begins anew: the first probe is due now, and what was measured before is forgotten.
    pub fn begin(&mut self) {
        self.next = Instant::now();
        self.latencies = Latencies::default();
    }

    /// When the next one is due.
    #[must_use]
    pub fn due(&self) -> Instant {
        self.next
    }

    /// Takes what has arrived; sends the one that is due, if `more` are wanted.
    ///
    /// # Errors
    /// When a hub ends a connection or refuses.
    pub fn turn(&mut self, more: bool) -> Result<()> {
        let before = self.client.parsed;
        self.client.read_some(Duration::ZERO)?;
        let now = Instant::now();
        for _ in before..self.client.parsed {
            let due = self.under_way.pop_front().context("more frames than were sent")?;
            self.latencies.add(now - due);
        }
        let room = u64::from(more && self.next <= now);
        if self.posts.turn(&self.request, room)?.started > 0 {
            self.under_way.push_back(self.next);
            self.next += self.every;
        }
        Ok(())
    }

    /// How many have not arrived.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.under_way.len()
    }
}
