//! What became of each message that a backend sent to clients while what carries them was replaced.

use std::{
    collections::BTreeMap,
    fmt::{self, Display},
    time::Duration,
};

use crate::{
    returning_clients::ReturningClients,
    steady_sends::{Sent, times},
    wait::{Look, eventually},
};

/// An answer may overtake its frame on the way to the client.
const ARRIVED: Duration = Duration::from_secs(10);

/// What the answers and the clients say together.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Messages sent live.
    pub live: usize,
    /// Messages to be stored.
    pub stored: usize,
    /// Answers to live sends by their status.
    pub live_statuses: BTreeMap<String, usize>,
    /// Answers to stored sends by their status.
    pub stored_statuses: BTreeMap<String, usize>,
    /// Called delivered, and no client has it.
    pub lost: Vec<String>,
    /// Called offline or failed at the first attempt, and a client has it.
    pub denied: Vec<String>,
    /// Live sends called neither delivered nor anything that was found wrong.
    pub undelivered: Vec<String>,
    /// Answered with an offset, and no client has it.
    pub stored_lost: Vec<String>,
    /// Not answered with an offset.
    pub not_stored: Vec<String>,
    /// Live messages that came to a client more often than once.
    pub doubled: usize,
    /// Stored messages that did so.
    pub stored_doubled: usize,
    /// Stored messages that came again, and that the client dropped by their offset.
    pub dropped_again: usize,
    /// Gaps in inboxes that clients were told of.
    pub gaps: usize,
    /// Sends repeated because there was no answer.
    pub repeated: usize,
    /// How long sends took.
    pub p50: Duration,
    /// Of a hundred sends one took longer.
    pub p99: Duration,
    /// The longest.
    pub longest: Duration,
}

impl Verdict {
    /// Waits until whatever was called delivered or stored has come, and judges; what does not come is in the verdict.
    pub async fn of(sends: &[Sent], clients: &ReturningClients) -> Self {
        let judged = eventually("all that was delivered has come", ARRIVED, async || {
            let verdict = Self::now(sends, clients);
            let missing = verdict.lost.len() + verdict.stored_lost.len();
            Ok(Look::when(missing == 0, verdict, missing))
        });
        judged.await.unwrap_or_else(|_| Self::now(sends, clients))
    }

    /// Checks what is promised while every node goes in turn, politely: nothing lost, nothing wrongly reported, all live
    /// sends delivered, all others stored, and nothing stored twice.
    ///
    /// # Panics
    /// When anything else was found, with it.
    pub fn keeps_every_promise(&self) {
        let none = Vec::<String>::new();
        assert!(self.live > 0 && self.stored > 0, "{self}");
        assert_eq!(self.lost, none, "called delivered and never received: {self}");
        assert_eq!(self.denied, none, "called undelivered and received: {self}");
        assert_eq!(self.stored_lost, none, "stored and never received: {self}");
        assert_eq!(self.not_stored, none, "not stored: {self}");
        assert_eq!(self.undelivered, none, "not delivered: {self}");
        assert_eq!((self.stored_doubled, self.dropped_again, self.gaps), (0, 0, 0), "{self}");
    }

    fn now(sends: &[Sent], clients: &ReturningClients) -> Self {
        let received = clients.received();
        let mut verdict = Self { dropped_again: clients.repeated(), gaps: clients.gaps(), ..Self::default() };
        for sent in sends {
            let status = sent.answer["status"].as_str().unwrap_or("?");
            let came = received.get(&sent.message).copied().unwrap_or(0);
            let said = || format!("{}: {}", sent.message, sent.answer);
            verdict.repeated += usize::from(sent.attempts > 1);
            if sent.stored {
                verdict.stored += 1;
                *verdict.stored_statuses.entry(status.to_owned()).or_default() += 1;
                verdict.stored_doubled += usize::from(came > 1);
                match (sent.answer["offset"].is_string(), came) {
                    (true, 0) => verdict.stored_lost.push(said()),
                    (true, _) => {}
                    (false, _) => verdict.not_stored.push(said()),
                }
            } else {
                verdict.live += 1;
                *verdict.live_statuses.entry(status.to_owned()).or_default() += 1;
                verdict.doubled += usize::from(came > 1);
                match status {
                    "delivered" if came == 0 => verdict.lost.push(said()),
                    "delivered" => {}
                    "offline" | "failed" if came > 0 && sent.attempts == 1 => verdict.denied.push(said()),
                    _ => verdict.undelivered.push(format!("{} after {:?}", said(), sent.took)),
                }
            }
        }
        (verdict.p50, verdict.p99, verdict.longest) = times(sends.iter());
        verdict
    }
}

impl Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} sent live {:?}, {} stored {:?}; lost {}, denied {}, doubled {}; stored: lost {}, refused {}, doubled {}, \
             dropped again {}, gaps {}; repeated {}; took p50 {:?} p99 {:?} longest {:?}",
            self.live,
            self.live_statuses,
            self.stored,
            self.stored_statuses,
            self.lost.len(),
            self.denied.len(),
            self.doubled,
            self.stored_lost.len(),
            self.not_stored.len(),
            self.stored_doubled,
            self.dropped_again,
            self.gaps,
            self.repeated,
            self.p50,
            self.p99,
            self.longest
        )
    }
}
