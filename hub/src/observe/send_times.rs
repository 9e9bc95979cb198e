//! Results of sends and how long they took: counted for every message, so without a lock and without sharing.

use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

use prometheus_client::{
    encoding::{EncodeMetric, MetricEncoder, NoLabelSet},
    metrics::MetricType,
};

use super::sharded_counts::ShardedCounts;
use crate::protocol::send_result::SendStatus;

/// Places for statuses; more than there are.
const STATUSES: usize = 16;
/// Upper bound of the first bucket; each next one has twice that.
const FIRST_BUCKET: Duration = Duration::from_micros(100);
/// Buckets with a bound: 0.1 ms to 13 s. One without follows.
const BUCKETS: usize = 18;
/// Index of the sum of all times, in nanoseconds.
const NANOS: usize = STATUSES + BUCKETS + 1;

/// Results of sends and how long they took.
#[derive(Debug, Default)]
pub(super) struct SendTimes {
    counts: ShardedCounts<{ NANOS + 1 }>,
    /// Words of the statuses that were counted.
    words: [OnceLock<&'static str>; STATUSES],
}

impl SendTimes {
    /// Counts `count` sends that ended with the same status after the same time.
    pub(super) fn add(&self, status: SendStatus, took: Duration, count: u64) {
        let place = status as usize;
        if let Some(word) = self.words.get(place) {
            word.get_or_init(|| status.as_str());
        }
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX).saturating_mul(count);
        self.counts.add([(place, count), (STATUSES + bucket(took), count), (NANOS, nanos)]);
    }
}

/// The first bucket whose bound is not below `took`.
fn bucket(took: Duration) -> usize {
    let bounds = took.as_nanos().div_ceil(FIRST_BUCKET.as_nanos().max(1)).max(1);
    let doublings = bounds.next_power_of_two().ilog2();
    usize::try_from(doublings).unwrap_or(BUCKETS).min(BUCKETS)
}

/// How long sends took, as a histogram.
#[derive(Debug)]
pub(super) struct SendSeconds(pub(super) Arc<SendTimes>);

impl EncodeMetric for SendSeconds {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        let counts = &self.0.counts;
        let bound = |n: usize| match n {
            BUCKETS => f64::INFINITY,
            // Far below the largest power that a float holds.
            _ => FIRST_BUCKET.as_secs_f64() * f64::from(1u32 << n),
        };
        let buckets: Vec<(f64, u64)> = (0..=BUCKETS).map(|n| (bound(n), counts.sum(STATUSES + n))).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        let seconds = Duration::from_nanos(counts.sum(NANOS)).as_secs_f64();
        encoder.encode_histogram::<NoLabelSet>(seconds, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

/// How many sends ended how.
#[derive(Debug)]
pub(super) struct SendsByStatus(pub(super) Arc<SendTimes>);

impl EncodeMetric for SendsByStatus {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        let words = self.0.words.iter().enumerate();
        for (place, word) in words.filter_map(|(place, word)| Some((place, *word.get()?))) {
            let labels = [("status", word)];
            let mut of_status = encoder.encode_family(&labels)?;
            of_status.encode_counter::<NoLabelSet, _, u64>(&self.0.counts.sum(place), None)?;
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Counter
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::{encoding::text::encode, registry::Registry};

    use super::*;

    #[test]
    fn a_time_falls_into_the_first_bucket_that_holds_it() {
        let us = Duration::from_micros;
        let cases = [
            (us(0), 0),
            (us(100), 0),
            (us(100) + Duration::from_nanos(1), 1),
            (us(200), 1),
            (us(201), 2),
            (us(400), 2),
            (us(100 << 17), 17),
            (us((100 << 17) + 1), 18),
            (Duration::MAX, 18),
        ];
        for (took, place) in cases {
            assert_eq!(bucket(took), place, "{took:?}");
        }
    }

    #[test]
    fn what_is_counted_is_written_as_prometheus_wants_it() {
        let times = Arc::new(SendTimes::default());
        times.add(SendStatus::Delivered, Duration::from_micros(150), 3);
        times.add(SendStatus::Offline, Duration::from_secs(60), 1);
        let mut registry = Registry::default();
        registry.register("sends", "Sends", SendsByStatus(Arc::clone(&times)));
        registry.register("send_duration_seconds", "Times", SendSeconds(times));
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for line in [
            "sends_total{status=\"delivered\"} 3",
            "sends_total{status=\"offline\"} 1",
            "send_duration_seconds_bucket{le=\"0.0001\"} 0",
            "send_duration_seconds_bucket{le=\"0.0002\"} 3",
            "send_duration_seconds_bucket{le=\"+Inf\"} 4",
            "send_duration_seconds_count 4",
            "send_duration_seconds_sum 60.00045",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
        assert!(!text.contains("status=\"failed\""));
    }
}
