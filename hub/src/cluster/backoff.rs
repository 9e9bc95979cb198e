//! Pauses between attempts.

use std::time::Duration;

use tokio::sync::watch;

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

/// Pauses between attempts to reach one Redis. Several connections go there: the first that is made again ends the
/// pauses of the others, so that a node is whole as soon as Redis is back.
pub(super) struct Retry {
    backoff: Backoff,
    /// Counts the connections that were made, by anybody.
    reached: watch::Receiver<u64>,
}

impl Retry {
    pub(super) fn new(reached: watch::Receiver<u64>) -> Self {
        Self { backoff: Backoff::default(), reached }
    }

    /// Only connections made from now on end the next pause: call it before an attempt, and after a connection ended.
    pub(super) fn begin(&mut self) {
        self.reached.mark_unchanged();
    }

    /// The connection was good: the next pause is the shortest again.
    pub(super) fn reset(&mut self) {
        self.backoff = Backoff::default();
    }

    pub(super) async fn pause(&mut self) {
        let pause = self.backoff.pause();
        // The sender lives as long as the address, which the caller holds; without it only the time counts.
        let _ = tokio::time::timeout(pause, async {
            if self.reached.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        })
        .await;
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

    #[tokio::test]
    async fn a_connection_made_by_another_ends_the_pause() {
        let reached = watch::Sender::new(0u64);
        let mut retry = Retry::new(reached.subscribe());
        reached.send_modify(|n| *n += 1);
        retry.begin();
        let start = std::time::Instant::now();
        retry.pause().await;
        assert!(start.elapsed() >= Duration::from_millis(125), "what was before does not count");
        retry.begin();
        reached.send_modify(|n| *n += 1);
        let start = std::time::Instant::now();
        retry.pause().await;
        // The second pause takes at least 250 ms by itself.
        assert!(start.elapsed() < Duration::from_millis(250), "{:?}", start.elapsed());
    }
}
