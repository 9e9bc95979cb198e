//! How long things took, each of them.

use std::time::Duration;

/// Times that were measured, each of one thing.
#[derive(Debug, Default, Clone)]
pub struct Latencies(Vec<Duration>);

impl Latencies {
    /// One more.
    pub fn add(&mut self, took: Duration) {
        self.0.push(took);
    }

    /// All of another one's.
    pub fn extend(&mut self, other: &Self) {
        self.0.extend_from_slice(&other.0);
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The time within which this part of all lies; `part` is from 0 to 1. Zero when there are none.
    #[must_use]
    pub fn within(&self, part: f64) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        // Far below the largest number that a float holds exactly, and never negative.
        let place = ((sorted.len() as f64 * part).ceil() as usize).clamp(1, sorted.len().max(1));
        sorted.get(place - 1).copied().unwrap_or_default()
    }

    /// The same in milliseconds.
    #[must_use]
    pub fn millis_within(&self, part: f64) -> f64 {
        self.within(part).as_secs_f64() * 1e3
    }

    /// A line of a table under [`HEAD`].
    #[must_use]
    pub fn line(&self, name: &str) -> String {
        let ms = |part| self.millis_within(part);
        format!(
            "| {name} | {:.3} ms | {:.3} ms | {:.3} ms | {:.3} ms | {} |",
            ms(0.5),
            ms(0.9),
            ms(0.99),
            ms(1.0),
            self.len()
        )
    }
}

/// The head of a table of [`Latencies::line`]s.
pub const HEAD: &str = "| what | p50 | p90 | p99 | largest | counted |\n|---|---|---|---|---|---|";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_the_smallest_time_that_enough_lie_within() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.within(0.5), Duration::ZERO);
        for ms in (1..=100).rev() {
            latencies.add(Duration::from_millis(ms));
        }
        for (part, ms) in [(0.0, 1), (0.5, 50), (0.99, 99), (0.991, 100), (1.0, 100)] {
            assert_eq!(latencies.within(part), Duration::from_millis(ms), "{part}");
        }
    }
}
