//! Sends to users who were sent away from one node and are on their way to another.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures::future;

use super::{dispatch::Flight, router::Router};

/// Sends that may wait for users on the move. Each holds its frame; beyond it one is answered at once.
const MOST_WAITERS: usize = 16_384;
/// First pause between two looks, growing by half each time.
const FIRST: Duration = Duration::from_millis(25);
/// Longest pause.
const LONGEST: Duration = Duration::from_millis(250);
/// What is kept for the last look and a delivery.
const LAST_LOOK: Duration = Duration::from_millis(20);

/// How many sends wait for users on the move, and did.
#[derive(Debug, Default)]
pub struct MovingWaits {
    waiting: Arc<AtomicUsize>,
    waited: AtomicU64,
    refused: AtomicU64,
}

/// A send that waits; dropping it ends the wait.
#[derive(Debug)]
pub struct MovingWait(Arc<AtomicUsize>);

impl Drop for MovingWait {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl MovingWaits {
    /// Begins to wait, unless too many do.
    pub fn begin(&self) -> Option<MovingWait> {
        let free = |waiting: usize| (waiting < MOST_WAITERS).then_some(waiting + 1);
        if self.waiting.fetch_update(Ordering::AcqRel, Ordering::Acquire, free).is_err() {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        self.waited.fetch_add(1, Ordering::Relaxed);
        Some(MovingWait(Arc::clone(&self.waiting)))
    }

    /// Sends that waited, and those that were not let, since the start.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        (self.waited.load(Ordering::Relaxed), self.refused.load(Ordering::Relaxed))
    }
}

/// How long to wait before look number `look` (from 0) at a user on the move, or `None` when the time that is `left` is
/// over. `jitter` is a random number from 0 to 1. The last look comes right before the end.
#[must_use]
pub fn wait_before_look(look: u32, left: Duration, jitter: f64) -> Option<Duration> {
    let most = left.checked_sub(LAST_LOOK).filter(|most| !most.is_zero())?;
    // Beyond 6 the longest is reached.
    let pause = FIRST.mul_f64(1.5_f64.powi(i32::try_from(look.min(16)).unwrap_or(16))).min(LONGEST);
    Some(pause.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0).min(most))
}

impl Router {
    /// Takes a place among those who wait for receivers on the move, unless there are too many.
    pub(super) fn may_wait(&self, flight: &mut Flight<'_>) -> bool {
        if flight.wait.is_none() {
            flight.wait = self.moving_waits.begin();
        }
        flight.wait.is_some()
    }

    /// Receivers whose clients are being sent away from here are looked up only when the registry knows of it: before,
    /// it would name this node, or nobody. A message that nobody waits for finds them moving.
    pub(super) async fn let_them_leave(
        &self,
        flights: &mut [Flight<'_>],
        active: &[usize],
        accepted: Instant,
    ) {
        let mut leaving = Vec::new();
        for place in active {
            let flight = &mut flights[*place];
            if flight.tally.own_is_settled() {
                continue;
            }
            let Some(over) = self.departures.over(flight.receiver) else { continue };
            if flight.waits() {
                let left = flight.left(accepted.elapsed());
                leaving.push(async move { (*place, tokio::time::timeout(left, over).await.is_ok()) });
            } else {
                flight.tally.note_moving();
            }
        }
        if leaving.is_empty() {
            return;
        }
        for (place, in_time) in future::join_all(leaving).await {
            if !in_time {
                flights[place].tally.note_moving();
            }
        }
    }

    /// A receiver who connected here while it was looked up is in this node's table by now. One who is being sent away
    /// again is on the move again.
    pub(super) fn try_who_came_here(&self, flight: &mut Flight<'_>) {
        self.try_here(flight);
        if !flight.tally.own_is_settled() && self.departures.over(flight.receiver).is_some() {
            flight.tally.note_moving();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_grow_rarer_and_the_last_comes_right_before_the_end() {
        let ms = Duration::from_millis;
        let cases = [
            (0, ms(5000), 1.0, Some(ms(25))),
            (0, ms(5000), 0.0, Some(Duration::from_micros(12_500))),
            (2, ms(5000), 1.0, Some(Duration::from_micros(56_250))),
            (7, ms(5000), 1.0, Some(ms(250))),
            (u32::MAX, ms(5000), 1.0, Some(ms(250))),
            (7, ms(100), 1.0, Some(ms(80))),
            (7, ms(20), 1.0, None),
            (0, Duration::ZERO, 1.0, None),
        ];
        for (look, left, jitter, expected) in cases {
            assert_eq!(wait_before_look(look, left, jitter), expected, "{look} {left:?} {jitter}");
        }
    }

    #[test]
    fn the_waiting_are_bounded_and_counted() {
        let waits = MovingWaits::default();
        let mut waiting: Vec<_> = (0..MOST_WAITERS).map(|_| waits.begin().unwrap()).collect();
        assert!(waits.begin().is_none());
        waiting.pop();
        assert!(waits.begin().is_some());
        assert_eq!(waits.counts(), (MOST_WAITERS as u64 + 1, 1));
    }
}
