//! When a send without success is tried again. Pure.

use std::time::Duration;

/// Wait before the first repeat, doubled before each further one.
const FIRST: Duration = Duration::from_millis(100);
/// Longest wait between two tries.
const LONGEST: Duration = Duration::from_secs(5);

/// How long to wait before repeat number `repeat` (from 0), or `None` when there is to be none. `jitter` is a
/// random number from 0 to 1 (full jitter); `left` is what remains of the caller's timeout.
#[must_use]
pub fn wait_before(repeat: u32, max_retries: u32, left: Duration, jitter: f64) -> Option<Duration> {
    if repeat >= max_retries {
        return None;
    }
    let ceiling = FIRST.saturating_mul(2u32.saturating_pow(repeat)).min(LONGEST);
    let wait = ceiling.mul_f64(jitter.clamp(0.0, 1.0));
    (wait < left).then_some(wait)
}

/// Shortest time that a try waits for reports while more could follow: below it a busy network looks silent.
const LEAST_PATIENCE: Duration = Duration::from_millis(50);

/// How long one try waits for reports when `repeats` more may follow in the time that is `left`: an equal share, so
/// that a node that stays silent is asked again in time.
#[must_use]
pub fn patience(repeats: u32, left: Duration) -> Duration {
    (left / repeats.saturating_add(1)).max(LEAST_PATIENCE).min(left)
}

/// How long the receiver of an envelope may take for its report when the sender waits for `patience`: the rest is for
/// the way back.
#[must_use]
pub fn report_within(patience: Duration) -> Duration {
    patience - patience / 16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_is_shared_by_the_tries_that_are_left() {
        let ms = Duration::from_millis;
        for (repeats, left, expected) in
            [(3, 5000, 1250), (0, 5000, 5000), (10, 60_000, 5454), (3, 100, 50), (3, 20, 20), (3, 0, 0)]
        {
            assert_eq!(patience(repeats, ms(left)).as_millis(), expected, "{repeats} {left}");
        }
        assert_eq!(report_within(ms(1600)), ms(1500));
    }

    #[test]
    fn waits_double_up_to_the_longest_and_end_with_retries_or_time() {
        let ms = Duration::from_millis;
        let long = Duration::from_secs(60);
        let cases = [
            (0, 3, long, 1.0, Some(ms(100))),
            (1, 3, long, 1.0, Some(ms(200))),
            (2, 3, long, 0.5, Some(ms(200))),
            (3, 3, long, 1.0, None),
            (0, 0, long, 1.0, None),
            (9, 10, long, 1.0, Some(ms(5000))),
            (0, 3, ms(100), 1.0, None),
            (0, 3, ms(101), 1.0, Some(ms(100))),
            (0, 3, Duration::ZERO, 0.0, None),
        ];
        for (repeat, max, left, jitter, expected) in cases {
            assert_eq!(wait_before(repeat, max, left, jitter), expected, "{repeat} {max} {left:?} {jitter}");
        }
    }
}
