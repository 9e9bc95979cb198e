//! Every metric of the operator. Names begin with `wsc_operator_`; labels are bounded.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Write {
    verb: &'static str,
    kind: String,
}

/// How a reconcile pass ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PassResult {
    /// It went through.
    Ok,
    /// It failed and is tried again with back-off.
    Error,
    /// A newer version of the resource made it void; it is tried again at once.
    Conflict,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Result {
    result: &'static str,
}

/// The metrics. Cloning shares them.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    passes: Family<Result, Counter>,
    seconds: Histogram,
    leader: Gauge,
    applied: Family<Kind, Counter>,
    writes: Family<Write, Counter>,
    hub_calls: Family<Result, Counter>,
    clusters: Gauge,
    started: Gauge<f64, AtomicU64>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("wsc_operator");
        let metrics = Self {
            passes: Family::default(),
            seconds: Histogram::new(exponential_buckets(0.005, 2.0, 14)),
            leader: Gauge::default(),
            applied: Family::default(),
            writes: Family::default(),
            hub_calls: Family::default(),
            clusters: Gauge::default(),
            started: Gauge::default(),
            registry: Registry::default(),
        };
        // There from the start: a rate is blind to the first count of a series that did not exist before it.
        for result in ["ok", "error", "conflict"] {
            drop(metrics.passes.get_or_create(&Result { result }));
        }
        for result in ["ok", "error"] {
            drop(metrics.hub_calls.get_or_create(&Result { result }));
        }
        registry.register(
            "reconciles",
            "Reconcile passes by result: ok, error, conflict",
            metrics.passes.clone(),
        );
        registry.register(
            "reconcile_duration_seconds",
            "Time of one reconcile pass",
            metrics.seconds.clone(),
        );
        registry.register(
            "leader",
            "1 while this replica acts, 0 while it stands by",
            metrics.leader.clone(),
        );
        registry.register(
            "objects_applied",
            "Child objects applied because they were missing, changed or edited, by kind",
            metrics.applied.clone(),
        );
        registry.register(
            "writes",
            "Requests to the API server that change something, by verb and kind",
            metrics.writes.clone(),
        );
        registry.register(
            "hub_admin_requests",
            "Requests to the hubs' admin API by result: ok, error",
            metrics.hub_calls.clone(),
        );
        registry.register("clusters", "WscCluster resources looked after", metrics.clusters.clone());
        registry.register(
            "start_time_seconds",
            "Start of the process, seconds since 1970",
            metrics.started.clone(),
        );
        metrics.started.set(k8s_openapi::jiff::Timestamp::now().as_second() as f64);
        Self { registry, ..metrics }
    }
}

impl Metrics {
    /// With every kind of thing counted once, so that every name and label is in the text: for the reference.
    #[must_use]
    pub fn all_counted() -> Self {
        let metrics = Self::default();
        metrics.pass(PassResult::Ok, Duration::ZERO);
        metrics.applied("Service");
        metrics.hub_call(true);
        metrics
    }

    /// Counts one reconcile pass and its duration.
    pub fn pass(&self, result: PassResult, took: Duration) {
        let result = match result {
            PassResult::Ok => "ok",
            PassResult::Error => "error",
            PassResult::Conflict => "conflict",
        };
        self.passes.get_or_create(&Result { result }).inc();
        self.seconds.observe(took.as_secs_f64());
    }

    /// Says whether this replica acts.
    pub fn leading(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// Counts one applied child.
    pub fn applied(&self, kind: &str) {
        self.applied.get_or_create(&Kind { kind: kind.into() }).inc();
        self.wrote("apply", kind);
    }

    /// Counts one writing request.
    pub fn wrote(&self, verb: &'static str, kind: &str) {
        let kind = kind.to_owned();
        self.writes.get_or_create(&Write { verb, kind }).inc();
    }

    /// Counts one request to a hub.
    pub fn hub_call(&self, ok: bool) {
        let result = if ok { "ok" } else { "error" };
        self.hub_calls.get_or_create(&Result { result }).inc();
    }

    /// Says how many resources are looked after.
    pub fn clusters(&self, count: usize) {
        self.clusters.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// All metrics in the OpenMetrics text format.
    ///
    /// # Errors
    /// When a value cannot be formatted.
    pub fn text(&self) -> std::result::Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Metrics, PassResult};

    #[test]
    fn what_is_counted_is_in_the_text() {
        let metrics = Metrics::default();
        metrics.pass(PassResult::Ok, Duration::from_millis(20));
        metrics.applied("Service");
        metrics.leading(true);
        let text = metrics.text().unwrap();
        for line in [
            "wsc_operator_reconciles_total{result=\"ok\"} 1",
            "wsc_operator_reconciles_total{result=\"error\"} 0",
            "wsc_operator_hub_admin_requests_total{result=\"error\"} 0",
            "wsc_operator_reconcile_duration_seconds_count 1",
            "wsc_operator_objects_applied_total{kind=\"Service\"} 1",
            "wsc_operator_writes_total{verb=\"apply\",kind=\"Service\"} 1",
            "wsc_operator_leader 1",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
    }
}
