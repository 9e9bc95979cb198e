//! How fast one client may send. Pure: the clock is passed in.

use std::time::{Duration, Instant};

/// Frames that may come at once, in multiples of the rate per second.
const BURST: u32 = 2;

/// A token bucket that holds two seconds' worth of frames.
#[derive(Debug, Clone)]
pub struct RateLimit {
    per_frame: Duration,
    burst: Duration,
    /// When the bucket is full again; each frame moves it one `per_frame` further.
    full_at: Instant,
}

impl RateLimit {
    /// `rate` frames per second, at least 1.
    #[must_use]
    pub fn new(rate: u32, now: Instant) -> Self {
        let per_frame = Duration::from_secs(1) / rate.max(1);
        Self { per_frame, burst: per_frame * rate.max(1) * BURST, full_at: now }
    }

    /// Whether one more frame is within the rate; if not, it counts for nothing.
    pub fn allows(&mut self, now: Instant) -> bool {
        let full_at = self.full_at.max(now) + self.per_frame;
        if full_at.saturating_duration_since(now) > self.burst {
            return false;
        }
        self.full_at = full_at;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_then_the_rate_holds() {
        let start = Instant::now();
        let mut limit = RateLimit::new(50, start);
        assert_eq!((0..500).filter(|_| limit.allows(start)).count(), 100);
        assert!(!limit.allows(start + Duration::from_millis(19)));
        assert!(limit.allows(start + Duration::from_millis(20)));
        assert!(!limit.allows(start + Duration::from_millis(20)));
        let later = start + Duration::from_secs(60);
        assert_eq!((0..500).filter(|_| limit.allows(later)).count(), 100);
    }

    #[test]
    fn a_steady_sender_at_the_rate_is_never_refused() {
        let start = Instant::now();
        let mut limit = RateLimit::new(7, start);
        assert!((0..1000u32).all(|n| limit.allows(start + Duration::from_secs(1) * n / 7)));
    }
}
