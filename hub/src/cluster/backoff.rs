//! Pauses between attempts.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(250);
/// With a connect and the jitter of the first heartbeat it stays below the 5 s after which all must be registered again.
const LONGEST: Duration = Duration::from_secs(3);

/// Pauses that double from 0.25 s to 3 s, each shortened at random by up to half, so that nodes do not come back
/// all at once.
#[derive(Debug, Clone)]
pub(super) struct Backoff {
    next: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { next: FIRST }
    }
}

impl Backoff {
    /// The pause to make now.
    pub(super) fn pause(&mut self) -> Duration {
        let full = self.next;
        self.next = (full * 2).min(LONGEST);
        full.mul_f64(rand::random_range(0.5..=1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_three_seconds_and_keep_half() {
        let mut backoff = Backoff::default();
        for full in [250, 500, 1000, 2000, 3000, 3000] {
            let pause = backoff.pause();
            assert!(
                pause <= Duration::from_millis(full) && pause >= Duration::from_millis(full / 2),
                "{pause:?}"
            );
        }
    }
}
