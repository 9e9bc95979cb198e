//! Every metric of the hub. Names follow `wsc_<noun>_<unit>[_total]`; labels are bounded and never name a user.

use std::{fmt::Write as _, sync::Arc, time::Duration};

use parking_lot::Mutex;
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{
        counter::Counter,
        family::Family,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

use super::send_times::{SendSeconds, SendTimes, SendsByStatus};

use crate::protocol::send_result::{BroadcastStatus, SendStatus};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CloseLabels {
    code: u16,
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CauseLabel {
    cause: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StatusLabel {
    status: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CodeLabel {
    code: &'static str,
}

/// What is true at the moment of a scrape.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Gauges {
    /// Open connections.
    pub connections: u64,
    /// Most connections that are taken.
    pub max_connections: u64,
    /// Users with at least one connection.
    pub users: u64,
    /// Groups with at least one member here.
    pub groups: u64,
    /// Memberships of connections in groups.
    pub memberships: u64,
    /// Groups whose directory entry is not known to be true.
    pub unsettled_groups: u64,
    /// Frames that wait for clients.
    pub queued_frames: u64,
    /// Payload bytes that wait for clients.
    pub queued_bytes: u64,
    /// Bytes that may wait for clients.
    pub queue_memory_bytes: u64,
    /// Bytes that wait for the client with the most.
    pub largest_queue_bytes: u64,
    /// Connections whose directory entry is not known to be true.
    pub unsettled: u64,
    /// Whether the node sends its clients elsewhere.
    pub draining: bool,
    /// Connections that a drain has left.
    pub drain_remaining: u64,
    /// Connections that a drain closes per second now.
    pub drain_rate: u64,
    /// Whether the lease is held.
    pub registered: bool,
    /// Whether Redis answers; none when the node is alone by design.
    pub redis_up: Option<bool>,
    /// Seconds until the lease runs out; 0 when it is not held.
    pub lease_remaining_seconds: f64,
}

/// Counts that the cluster's side keeps: name without `wsc_` and `_total`, help, value.
pub type ClusterCounts = Vec<(&'static str, &'static str, u64)>;

/// Every metric of the hub.
pub struct Metrics {
    registry: Mutex<Registry>,
    /// Connections welcomed since the start.
    pub opened: Counter,
    closes: Family<CloseLabels, Counter>,
    refusals: Family<CodeLabel, Counter>,
    /// Frames from clients.
    pub frames_in: Counter,
    /// Payload bytes from clients.
    pub bytes_in: Counter,
    /// Frames to clients.
    pub frames_out: Counter,
    /// Payload bytes to clients.
    pub bytes_out: Counter,
    frames_dropped: Family<CauseLabel, Counter>,
    bad_frames: Family<CodeLabel, Counter>,
    accepts_delayed: Family<CauseLabel, Counter>,
    http_failures: Family<CauseLabel, Counter>,
    /// Versions of the file of hot settings that were found bad.
    pub hot_settings_refused: Counter,
    sends: Arc<SendTimes>,
    broadcasts: Family<StatusLabel, Counter>,
    group_sends: Family<StatusLabel, Counter>,
    backend_messages: Family<StatusLabel, Counter>,
    /// Connections closed by kicks that this node was asked for.
    pub kicked: Counter,
    replay_seconds: Histogram,
    sent_away: Family<CauseLabel, Counter>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All at zero.
    #[must_use]
    pub fn new() -> Self {
        let metrics = Self {
            registry: Mutex::new(Registry::with_prefix("wsc")),
            opened: Counter::default(),
            closes: Family::default(),
            refusals: Family::default(),
            frames_in: Counter::default(),
            bytes_in: Counter::default(),
            frames_out: Counter::default(),
            bytes_out: Counter::default(),
            frames_dropped: Family::default(),
            bad_frames: Family::default(),
            accepts_delayed: Family::default(),
            http_failures: Family::default(),
            hot_settings_refused: Counter::default(),
            sends: Arc::default(),
            broadcasts: Family::default(),
            group_sends: Family::default(),
            backend_messages: Family::default(),
            kicked: Counter::default(),
            sent_away: Family::default(),
            // 0.1 ms to 13 s.
            replay_seconds: Histogram::new(exponential_buckets(0.0001, 2.0, 18)),
        };
        let mut registry = metrics.registry.lock();
        let m = &metrics;
        registry.register("connections_opened", "Connections welcomed", m.opened.clone());
        registry.register("closes", "Connections ended, by close code and reason", m.closes.clone());
        registry.register("handshake_refusals", "Upgrades refused, by error code", m.refusals.clone());
        registry.register("frames_received", "Frames from clients", m.frames_in.clone());
        registry.register("received_bytes", "Payload from clients", m.bytes_in.clone());
        registry.register("frames_sent", "Frames to clients", m.frames_out.clone());
        registry.register("sent_bytes", "Payload to clients", m.bytes_out.clone());
        registry.register(
            "frames_dropped",
            "Frames queued but never written, by cause: slow, budget (of the node), closed",
            m.frames_dropped.clone(),
        );
        registry.register(
            "bad_frames",
            "Client frames answered with an error, by code",
            m.bad_frames.clone(),
        );
        registry.register(
            "accepts_delayed",
            "Accepts that waited, by cause: rate, or sockets (4096 before upgrade)",
            m.accepts_delayed.clone(),
        );
        registry.register(
            "http_failures",
            "Sockets ended by a bound of HTTP, by cause: header_timeout, header_too_large, malformed, write_timeout",
            m.http_failures.clone(),
        );
        registry.register(
            "hot_settings_refusals",
            "Versions of the file of hot settings that were found bad",
            m.hot_settings_refused.clone(),
        );
        let by_status = SendsByStatus(Arc::clone(&m.sends));
        registry.register("sends", "Messages to one user, by result", by_status);
        registry.register("broadcasts", "Broadcasts, by result", m.broadcasts.clone());
        registry.register("group_sends", "Messages to groups, by result", m.group_sends.clone());
        registry.register(
            "backend_messages",
            "Messages of clients to @backend that were taken, by result or error code",
            m.backend_messages.clone(),
        );
        registry.register(
            "kicked_connections",
            "Connections closed by kicks asked of this node",
            m.kicked.clone(),
        );
        registry.register(
            "sent_away_connections",
            "Connections that were asked to connect elsewhere, by cause: drain, rebalance",
            m.sent_away.clone(),
        );
        registry.register(
            "send_duration_seconds",
            "From acceptance to answer of a send",
            SendSeconds(Arc::clone(&m.sends)),
        );
        registry.register("inbox_replay_seconds", "From a connect to resume_done", m.replay_seconds.clone());
        drop(registry);
        metrics
    }

    /// With every kind of thing counted once, so that every name and label is in the text: for the reference.
    #[must_use]
    pub fn all_counted() -> Self {
        let metrics = Self::new();
        metrics.closed(1012, "drain");
        metrics.refused("unauthorized");
        metrics.dropped("slow", 1);
        metrics.bad_frame("bad_frame");
        metrics.accepts_delayed("rate");
        metrics.http_failed("header_timeout");
        metrics.sent(SendStatus::Delivered, Duration::ZERO);
        metrics.broadcast(BroadcastStatus::Complete);
        metrics.group_send(BroadcastStatus::Complete);
        metrics.backend_message("accepted");
        metrics.sent_away("drain");
        metrics.replayed(Duration::ZERO);
        metrics
    }

    /// A connection ended. Codes that clients may choose freely are given as one; 1006, which is never sent, stands for
    /// an end without a close frame (RFC 6455 section 7.4.1).
    pub fn closed(&self, code: u16, reason: &'static str) {
        self.closes.get_or_create(&CloseLabels { code, reason }).inc();
    }

    /// Frames that were queued are not written: `slow` the client's queue was over its bounds, `budget` the node's
    /// queues were over their common one, `closed` the connection ended before.
    pub fn dropped(&self, cause: &'static str, frames: usize) {
        if frames > 0 {
            let frames = u64::try_from(frames).unwrap_or(u64::MAX);
            self.frames_dropped.get_or_create(&CauseLabel { cause }).inc_by(frames);
        }
    }

    /// A client was asked to connect elsewhere: by a `drain` or a `rebalance`.
    pub fn sent_away(&self, cause: &'static str) {
        self.sent_away.get_or_create(&CauseLabel { cause }).inc();
    }

    /// A listener waited before it accepted: for the `rate`, or for room for one of its `sockets`.
    pub fn accepts_delayed(&self, cause: &'static str) {
        self.accepts_delayed.get_or_create(&CauseLabel { cause }).inc();
    }

    /// A bound of HTTP ended a socket.
    pub fn http_failed(&self, cause: &'static str) {
        self.http_failures.get_or_create(&CauseLabel { cause }).inc();
    }

    /// An upgrade was refused; `code` is the error's word.
    pub fn refused(&self, code: &'static str) {
        self.refusals.get_or_create(&CodeLabel { code }).inc();
    }

    /// A client frame was answered with an error; `code` is the error's word.
    pub fn bad_frame(&self, code: &'static str) {
        self.bad_frames.get_or_create(&CodeLabel { code }).inc();
    }

    /// A send was answered.
    pub fn sent(&self, status: SendStatus, took: Duration) {
        self.sends.add(status, took, 1);
    }

    /// `count` sends of one call were answered alike.
    pub fn sent_many(&self, status: SendStatus, took: Duration, count: usize) {
        self.sends.add(status, took, u64::try_from(count).unwrap_or(u64::MAX));
    }

    /// A device has got all that it had missed, so long after its connect.
    pub fn replayed(&self, took: Duration) {
        self.replay_seconds.observe(took.as_secs_f64());
    }

    /// A broadcast was answered.
    pub fn broadcast(&self, status: BroadcastStatus) {
        self.broadcasts.get_or_create(&StatusLabel { status: status.as_str() }).inc();
    }

    /// A message to a group was answered.
    pub fn group_send(&self, status: BroadcastStatus) {
        self.group_sends.get_or_create(&StatusLabel { status: status.as_str() }).inc();
    }

    /// A message to `@backend` was answered; `status` is the result's word or the error's.
    pub fn backend_message(&self, status: &'static str) {
        self.backend_messages.get_or_create(&StatusLabel { status }).inc();
    }

    /// All metrics in the OpenMetrics text format.
    #[must_use]
    pub fn encode(&self, gauges: &Gauges, cluster: &ClusterCounts) -> String {
        let mut text = String::with_capacity(8 * 1024);
        gauge(&mut text, "connections", "Open connections", gauges.connections);
        gauge(&mut text, "max_connections", "Most connections that are taken", gauges.max_connections);
        gauge(&mut text, "users", "Users with at least one connection", gauges.users);
        gauge(&mut text, "groups", "Groups with at least one member here", gauges.groups);
        gauge(&mut text, "group_memberships", "Connections in groups, summed", gauges.memberships);
        gauge(
            &mut text,
            "unsettled_groups",
            "Groups to be written to the registry again",
            gauges.unsettled_groups,
        );
        gauge(&mut text, "queued_frames", "Frames that wait for clients", gauges.queued_frames);
        gauge(&mut text, "queued_bytes", "Payload bytes that wait for clients", gauges.queued_bytes);
        gauge(
            &mut text,
            "queue_memory_bytes",
            "Payload bytes that may wait for clients",
            gauges.queue_memory_bytes,
        );
        gauge(
            &mut text,
            "largest_queue_bytes",
            "Payload bytes that wait for the client with the most",
            gauges.largest_queue_bytes,
        );
        gauge(
            &mut text,
            "unsettled_connections",
            "Connections to be written to the registry again",
            gauges.unsettled,
        );
        gauge(
            &mut text,
            "draining",
            "Whether the node sends its clients elsewhere",
            u8::from(gauges.draining),
        );
        gauge(
            &mut text,
            "drain_remaining_connections",
            "Connections that the drain has left",
            gauges.drain_remaining,
        );
        gauge(
            &mut text,
            "drain_rate_connections_per_second",
            "Connections that the drain closes per second now",
            gauges.drain_rate,
        );
        gauge(&mut text, "registered", "Whether the lease is held", u8::from(gauges.registered));
        if let Some(up) = gauges.redis_up {
            gauge(&mut text, "redis_up", "Whether Redis answers", u8::from(up));
        }
        gauge(
            &mut text,
            "lease_remaining_seconds",
            "Until the lease runs out",
            gauges.lease_remaining_seconds,
        );
        for (name, help, value) in cluster {
            // Writing to a String cannot fail.
            let _ = write!(
                text,
                "# HELP wsc_{name} {help}.\n# TYPE wsc_{name} counter\nwsc_{name}_total {value}\n"
            );
        }
        let version = env!("CARGO_PKG_VERSION");
        let _ = write!(text, "# HELP wsc_build_info The release.\n# TYPE wsc_build_info gauge\n");
        let _ = writeln!(text, "wsc_build_info{{version=\"{version}\"}} 1");
        // Ends with the `# EOF` that the format asks for.
        let _ = encode(&mut text, &self.registry.lock());
        text
    }
}

fn gauge(text: &mut String, name: &str, help: &str, value: impl std::fmt::Display) {
    // Writing to a String cannot fail.
    let _ = write!(text, "# HELP wsc_{name} {help}.\n# TYPE wsc_{name} gauge\nwsc_{name} {value}\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scrape_has_gauges_counters_and_one_end() {
        let metrics = Metrics::new();
        metrics.opened.inc();
        metrics.closed(4004, "too_slow");
        metrics.dropped("slow", 3);
        metrics.sent(SendStatus::Delivered, Duration::from_millis(3));
        let gauges = Gauges { connections: 7, redis_up: Some(true), ..Gauges::default() };
        let text = metrics.encode(&gauges, &vec![("bus_batches_sent", "Batches published", 5)]);
        for line in [
            "wsc_connections 7",
            "wsc_redis_up 1",
            "wsc_bus_batches_sent_total 5",
            "wsc_connections_opened_total 1",
            "wsc_closes_total{code=\"4004\",reason=\"too_slow\"} 1",
            "wsc_frames_dropped_total{cause=\"slow\"} 3",
            "wsc_sends_total{status=\"delivered\"} 1",
            "wsc_send_duration_seconds_count 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
        assert_eq!(text.matches("# EOF").count(), 1);
        assert!(text.ends_with("# EOF\n"));
    }
}
