//! The names under which the metrics have what the cluster's side counts.

use std::sync::atomic::Ordering;

use crate::{
    cluster::BusCounters,
    observe::{ClusterCounts, Gauges, Metrics},
    routing::inbox_desk::InboxCounts,
};

/// All of them. `events` are those written and dropped, when events are on; `waits` the sends that waited for users on
/// the move, and those that were refused to.
pub(super) fn all(
    bus: &BusCounters,
    inboxes: &InboxCounts,
    events: Option<(u64, u64)>,
    forgotten: u64,
    waits: (u64, u64),
) -> ClusterCounts {
    let mut counts = of_the_bus(bus);
    if let Some((written, dropped)) = events {
        counts.push(("events_written", "Events written for the backend", written));
        counts.push(("events_dropped", "Events that found the queue to the log full", dropped));
    }
    let help = "Results of sends forgotten before their time, so that a repeat would be sent";
    counts.push(("idempotency_evictions", help, forgotten));
    counts.extend(of_inboxes(inboxes));
    counts.push(("moving_waits", "Sends that waited for users on the move", waits.0));
    let help = "Sends that did not wait for users on the move, because too many did";
    counts.push(("moving_waits_refused", help, waits.1));
    counts
}

/// What `/metrics` answers when everything that there is to count was counted: for the reference.
#[must_use]
pub fn every_metric() -> String {
    let counts = all(&BusCounters::default(), &InboxCounts::default(), Some((0, 0)), 0, (0, 0));
    let gauges = Gauges { redis_up: Some(true), ..Gauges::default() };
    Metrics::all_counted().encode(&gauges, &counts)
}

fn of_inboxes(counts: &InboxCounts) -> ClusterCounts {
    let c = counts;
    let named = [
        ("inbox_stored", "Messages stored", &c.stored),
        ("inbox_duplicates", "Repeats of messages that were stored before", &c.duplicates),
        ("inbox_trimmed", "Older stored messages that went for newer ones", &c.trimmed),
        ("inbox_refused_memory", "Stores refused because memory is short", &c.refused_memory),
        ("inbox_refused_registry", "Stores refused because Redis is away", &c.refused_registry),
        ("inbox_refused_request", "Stores refused: too large, or inboxes are off", &c.refused_request),
        ("inbox_unknown", "Stores of which nobody said whether they were carried out", &c.unknown),
        ("inbox_replays", "Replays begun: at connects, and for holes", &c.replays),
        ("inbox_replayed", "Stored messages sent by replays", &c.replayed),
        ("inbox_gaps", "Losses of stored messages that devices were told of", &c.gaps),
        (
            "inbox_page_errors",
            "Pages of replays that could not be read, and were tried again",
            &c.page_errors,
        ),
        ("inbox_acks_written", "Acknowledgements written", &c.acks),
        (
            "inbox_ack_errors",
            "Acknowledgements that could not be written, and were tried again",
            &c.ack_errors,
        ),
    ];
    named.into_iter().map(|(name, help, count)| (name, help, count.load(Ordering::Relaxed))).collect()
}

fn of_the_bus(counters: &BusCounters) -> ClusterCounts {
    let c = counters;
    vec![
        ("bus_batches_sent", "Batches published", c.batches_sent.get()),
        ("bus_envelopes_sent", "Envelopes published", c.envelopes_sent.get()),
        ("bus_sent_bytes", "Bytes published", c.bytes_sent.get()),
        ("bus_batches_received", "Batches of other nodes", c.batches_received.get()),
        ("bus_envelopes_received", "Envelopes of other nodes", c.envelopes_received.get()),
        ("bus_received_bytes", "Bytes of other nodes", c.bytes_received.get()),
        ("bus_gaps", "Batches missing between two that came", c.gaps.get()),
        ("bus_malformed", "Messages on a channel that are no batch", c.malformed.get()),
        ("bus_unknown_kinds", "Envelopes of a kind this release does not know", c.unknown_kinds.get()),
        (
            "bus_unregistered_drops",
            "Batches dropped while the lease was not held",
            c.dropped_unregistered.get(),
        ),
        ("bus_inbound_drops", "Envelopes refused because a shard's queue was full", c.dropped_inbound.get()),
        (
            "bus_outbound_drops",
            "Envelopes refused because a target's queue was full",
            c.dropped_outbound.get(),
        ),
        (
            "bus_outbound_expired",
            "Envelopes whose time ran out before they were sent",
            c.expired_outbound.get(),
        ),
        ("bus_publish_errors", "Envelopes in batches whose publish failed", c.publish_errors.get()),
        ("bus_no_receiver", "Envelopes published to a channel nobody listened on", c.no_receiver.get()),
        ("bus_reports_missed", "Reports that did not come in time", c.reports_missed.get()),
        ("bus_subscriptions", "Subscriptions built", c.subscriptions.get()),
        ("reaped_users", "Users whose entries of a dead node were swept", c.reaped_users.get()),
        ("reaped_nodes", "Dead incarnations removed", c.reaped_nodes.get()),
        ("heartbeat_errors", "Heartbeats that failed", c.heartbeat_errors.get()),
    ]
}
