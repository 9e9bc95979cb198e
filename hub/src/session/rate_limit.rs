//! How fast one client may send. Pure: the clock is passed in.

use std::time::{Duration, Instant};

/// Frames that may come at once, in multiples of the rate per second.
const BURST: u32 = 2;

/// A token bucket that holds two seconds' worth of frames.
#[derive(Debug, Clone)]
pub struct RateLimit {
    /// When the bucket is full again; each frame moves it one frame's time further.
    full_at: Instant,
}

impl RateLimit {
    /// A full bucket.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self { full_at: now }
    }

    /// Whether one more frame is within `rate` frames per second, at least 1; if not, it counts for nothing. The rate
    /// may be another at each call.
    pub fn allows(&mut self, rate: u32, now: Instant) -> bool {
        let per_frame = Duration::from_secs(1) / rate.max(1);
        let burst = per_frame * rate.max(1) * BURST;
        let full_at = self.full_at.max(now) + per_frame;
        if full_at.saturating_duration_since(now) > burst {
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
        let mut limit = RateLimit::new(start);
        assert_eq!((0..500).filter(|_| limit.allows(50, start)).count(), 100);
        assert!(!limit.allows(50, start + Duration::from_millis(19)));
        assert!(limit.allows(50, start + Duration::from_millis(20)));
        assert!(!limit.allows(50, start + Duration::from_millis(20)));
        let later = start + Duration::from_secs(60);
        assert_eq!((0..500).filter(|_| limit.allows(50, later)).count(), 100);
        assert!(!limit.allows(5, later));
        assert_eq!((0..500).filter(|_| limit.allows(5, later + Duration::from_secs(60))).count(), 10);
    }

    #[test]
    fn a_steady_sender_at_the_rate_is_never_refused() {
        let start = Instant::now();
        let mut limit = RateLimit::new(start);
        assert!((0..1000u32).all(|n| limit.allows(7, start + Duration::from_secs(1) * n / 7)));
    }
}
