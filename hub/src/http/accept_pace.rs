//! How fast a listener accepts. Pure: the clock is passed in.

use std::time::{Duration, Instant};

/// Accepts that may come at once, as a share of those of a second: one in so many.
const BURST_SHARE: u32 = 10;

/// Spreads accepts evenly, but for bursts of a tenth of a second's worth.
#[derive(Debug, Clone)]
pub(super) struct AcceptPace {
    /// When all that was accepted is paid for.
    paid_at: Instant,
}

impl AcceptPace {
    /// Nothing accepted yet.
    pub(super) fn new(now: Instant) -> Self {
        Self { paid_at: now }
    }

    /// Counts one accept and says how long to wait before it. `rate`: accepts per second, at least 1; it may be another
    /// at each call.
    pub(super) fn next(&mut self, rate: u32, now: Instant) -> Duration {
        let rate = rate.max(1);
        let each = Duration::from_secs(1) / rate;
        let burst = each * (rate / BURST_SHARE).max(1);
        self.paid_at = self.paid_at.max(now) + each;
        self.paid_at.saturating_duration_since(now + burst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_is_spread_over_time() {
        let mut now = Instant::now();
        let start = now;
        let mut pace = AcceptPace::new(now);
        for _ in 0..1000 {
            now += pace.next(100, now);
        }
        let took = (now - start).as_millis();
        assert!((9_800..=10_000).contains(&took), "{took} ms for 1000 accepts at 100 per second");
    }

    #[test]
    fn whoever_comes_at_the_rate_waits_never() {
        let start = Instant::now();
        let mut pace = AcceptPace::new(start);
        let waits = (0..1000u32).map(|n| pace.next(1, start + Duration::from_secs(u64::from(n))));
        assert_eq!(waits.max(), Some(Duration::ZERO));
    }

    #[test]
    fn a_pause_saves_up_a_tenth_of_a_second_and_no_more() {
        let start = Instant::now();
        let mut pace = AcceptPace::new(start);
        let later = start + Duration::from_secs(60);
        let at_once = (0..5000).filter(|_| pace.next(1000, later).is_zero()).count();
        assert_eq!(at_once, 100);
    }
}
