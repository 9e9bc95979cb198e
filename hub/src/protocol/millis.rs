//! Times as whole milliseconds, which is how they travel.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Whole milliseconds; the rest is cut off, and what does not fit is the most there is.
#[must_use]
pub fn whole_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Whole milliseconds since the epoch; 0 for what was before.
#[must_use]
pub fn millis_since_epoch(at: SystemTime) -> u64 {
    whole_millis(at.duration_since(UNIX_EPOCH).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_are_whole_and_bounded() {
        assert_eq!(whole_millis(Duration::from_micros(1999)), 1);
        assert_eq!(whole_millis(Duration::MAX), u64::MAX);
        assert_eq!(millis_since_epoch(UNIX_EPOCH + Duration::from_secs(2)), 2000);
        assert_eq!(millis_since_epoch(UNIX_EPOCH - Duration::from_secs(2)), 0);
    }
}
