//! When a connection was last used by people, so that a drain can close the idle ones first.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// When a connection was last used: a frame of its client other than a ping, or a message for its user or one of its
/// groups. Pings and broadcasts say nothing about who is in the middle of something.
///
/// Whoever uses it only sets a mark; a sweep turns marks into times. So a use costs no clock, and a time is exact to
/// one round of the sweep, at most a second.
#[derive(Debug, Default)]
pub struct Activity {
    used: AtomicBool,
    last: AtomicU64,
}

impl Activity {
    /// The connection is being used.
    pub fn touch(&self) {
        // Most marks are there already: then the line stays shared between cores.
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
    }

    /// Begins, as if used at `now`, in milliseconds of the sweep's clock.
    pub fn begin(&self, now: u64) {
        self.last.store(now, Ordering::Relaxed);
    }

    /// The sweep comes by at `now`.
    pub fn sweep(&self, now: u64) {
        if self.used.load(Ordering::Relaxed) && self.used.swap(false, Ordering::Relaxed) {
            self.last.store(now, Ordering::Relaxed);
        }
    }

    /// When it was last used; those that are in use now come last.
    #[must_use]
    pub fn last_used(&self) -> u64 {
        if self.used.load(Ordering::Relaxed) { u64::MAX } else { self.last.load(Ordering::Relaxed) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_the_last_use_is_that_of_the_sweep_after_it() {
        let activity = Activity::default();
        activity.begin(5);
        activity.sweep(10);
        assert_eq!(activity.last_used(), 5);
        activity.touch();
        activity.touch();
        assert_eq!(activity.last_used(), u64::MAX);
        activity.sweep(20);
        activity.sweep(30);
        assert_eq!(activity.last_used(), 20);
    }
}
