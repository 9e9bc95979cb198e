//! What the cluster counts, for whoever exposes metrics.

use std::sync::atomic::{AtomicU64, Ordering};

/// One number that only rises.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`.
    pub(super) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Adds the number of items in something.
    pub(super) fn add_len(&self, n: usize) {
        self.add(u64::try_from(n).unwrap_or(u64::MAX));
    }

    /// The present value.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counters of the bus, the directory and the reaper; each counts from the start of the process.
#[derive(Debug, Default)]
pub struct BusCounters {
    /// Batches published.
    pub batches_sent: Counter,
    /// Envelopes in them.
    pub envelopes_sent: Counter,
    /// Bytes in them.
    pub bytes_sent: Counter,
    /// Batches of other nodes that were read and not dropped.
    pub batches_received: Counter,
    /// Envelopes in them.
    pub envelopes_received: Counter,
    /// Bytes in them.
    pub bytes_received: Counter,
    /// Batches missing between two that came, by their sequences.
    pub gaps: Counter,
    /// Messages on a channel that are no batch.
    pub malformed: Counter,
    /// Envelopes of a kind this release does not know.
    pub unknown_kinds: Counter,
    /// Batches dropped because the own lease was not held when they came.
    pub dropped_unregistered: Counter,
    /// Envelopes refused or dropped because a shard's queue was full.
    pub dropped_inbound: Counter,
    /// Envelopes refused because the queue to their target was full.
    pub dropped_outbound: Counter,
    /// Envelopes whose time ran out before they were sent.
    pub expired_outbound: Counter,
    /// Envelopes in batches whose publish failed.
    pub publish_errors: Counter,
    /// Envelopes published to a channel nobody listened on.
    pub no_receiver: Counter,
    /// Requests whose report did not come in time.
    pub reports_missed: Counter,
    /// Subscriptions built, the first included.
    pub subscriptions: Counter,
    /// Users whose entries of a dead incarnation were swept.
    pub reaped_users: Counter,
    /// Dead incarnations removed.
    pub reaped_nodes: Counter,
    /// Heartbeats that failed.
    pub heartbeat_errors: Counter,
}
