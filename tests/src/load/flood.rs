//! As many messages as a hub takes, in calls with many, while their receivers keep up.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::{course::PATIENCE, doorbell::Doorbell, http_posts::HttpPosts, probes::Probes, swarm::Swarm};

/// Senders and receivers of a flood.
pub struct Flood {
    /// Calls with many messages, on some connections; they count their messages' statuses.
    pub posts: HttpPosts,
    /// The receivers.
    pub clients: Swarm,
    /// Messages timed beside the flood, if any.
    pub probes: Option<Probes>,
    /// Messages of a call.
    pub per_call: u64,
    /// Most messages that were sent and are not parsed yet. It bounds what waits in the hubs, as a backend does that
    /// heeds its results; without it a flood measures how fast messages are thrown away.
    pub window: u64,
}

impl Flood {
    /// Sends for `seconds`, then waits for what is on its way. Returns the number of messages, each of which a client has
    /// parsed, and each of which has the status that [`HttpPosts::counting`] looks for.
    ///
    /// # Errors
    /// When a frame is missing after a minute, or a message has another status.
    pub fn run(&mut self, requests: &[Vec<u8>], seconds: f64) -> Result<u64> {
        let mut signs = vec![self.posts.sign(), self.clients.sign()];
        signs.extend(self.probes.iter().flat_map(Probes::signs));
        let mut doorbell = Doorbell::new(signs)?;
        if let Some(probes) = &mut self.probes {
            probes.begin();
        }
        let (begin, before) = (Instant::now(), self.clients.parsed);
        let (mut sent, mut accepted) = (0, 0);
        loop {
            let elapsed = begin.elapsed();
            let more = elapsed.as_secs_f64() < seconds;
            let under_way = sent - (self.clients.parsed - before);
            let room = if more { self.window.saturating_sub(under_way) / self.per_call } else { 0 };
            let turn = self.posts.turn(requests, room)?;
            sent += turn.started * self.per_call;
            accepted += turn.words;
            self.clients.read_some(Duration::ZERO)?;
            let mut probing = 0;
            if let Some(probes) = &mut self.probes {
                probes.turn(more)?;
                probing = probes.under_way();
            }
            let parsed = self.clients.parsed - before;
            if !more && self.posts.outstanding() == 0 && parsed == sent && probing == 0 {
                break;
            }
            ensure!(elapsed < PATIENCE, "{parsed} of {sent} messages came");
            doorbell.wait(Duration::from_micros(200))?;
        }
        ensure!(accepted == sent, "{accepted} of {sent} messages have the status that was asked for");
        Ok(sent)
    }
}
