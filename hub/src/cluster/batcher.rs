//! Collects envelopes for one channel into batches. Pure: the clock is passed in.

use std::{collections::VecDeque, time::Instant};

use crate::protocol::{envelope::Envelope, envelope_batch::framed_len, trace_context::TraceContext};

/// Bounds of one channel's queue.
#[derive(Debug, Clone, Copy)]
pub(super) struct BatchLimits {
    /// A batch is closed before it would grow beyond this, unless one envelope alone does.
    pub(super) batch_bytes: usize,
    /// Bytes that may wait.
    pub(super) queue_bytes: usize,
    /// Envelopes that may wait.
    pub(super) queue_items: usize,
}

impl Default for BatchLimits {
    /// 64 KiB a batch; 8 MiB or 65,536 envelopes waiting.
    fn default() -> Self {
        Self { batch_bytes: 64 * 1024, queue_bytes: 8 * 1024 * 1024, queue_items: 65_536 }
    }
}

/// An envelope on its way out, with whoever waits for its report.
#[derive(Debug)]
pub(super) struct Queued<T> {
    pub(super) envelope: Envelope,
    /// When its waiter no longer waits; `None` if nobody does.
    pub(super) waiter: Option<(Instant, T)>,
    /// The trace it belongs to.
    pub(super) trace: Option<TraceContext>,
}

impl<T> Queued<T> {
    fn framed_len(&self) -> usize {
        framed_len(self.envelope.encoded_len())
    }

    fn expired(&self, now: Instant) -> bool {
        self.waiter.as_ref().is_some_and(|(deadline, _)| *deadline <= now)
    }
}

/// A queue that is flushed at once when nothing is in flight, and collects while something is.
#[derive(Debug)]
pub(super) struct Batcher<T> {
    limits: BatchLimits,
    queue: VecDeque<Queued<T>>,
    bytes: usize,
    in_flight: bool,
    /// No waiter in the queue has an earlier deadline.
    earliest: Option<Instant>,
}

impl<T> Batcher<T> {
    pub(super) fn new(limits: BatchLimits) -> Self {
        Self { limits, queue: VecDeque::new(), bytes: 0, in_flight: false, earliest: None }
    }

    /// Queues an envelope; `true` when a batch can be taken now.
    ///
    /// # Errors
    /// The envelope itself, when the queue is full.
    pub(super) fn push(&mut self, queued: Queued<T>) -> Result<bool, Box<Queued<T>>> {
        let length = queued.framed_len();
        let too_long = !self.queue.is_empty() && self.bytes + length > self.limits.queue_bytes;
        if too_long || self.queue.len() >= self.limits.queue_items {
            return Err(Box::new(queued));
        }
        if let Some((deadline, _)) = &queued.waiter {
            self.earliest = Some(self.earliest.map_or(*deadline, |at| at.min(*deadline)));
        }
        self.bytes += length;
        self.queue.push_back(queued);
        Ok(!self.in_flight)
    }

    /// Takes the next batch, in order, and marks it in flight; empty while one is. Call [`Batcher::expire`] before, so
    /// that nothing is sent for which nobody waits any more.
    pub(super) fn take(&mut self) -> Vec<Queued<T>> {
        let mut batch = Vec::new();
        if self.in_flight {
            return batch;
        }
        let mut taken = 0;
        while let Some(next) = self.queue.front() {
            let length = next.framed_len();
            if !batch.is_empty() && taken + length > self.limits.batch_bytes {
                break;
            }
            taken += length;
            batch.extend(self.queue.pop_front());
        }
        self.bytes -= taken;
        self.in_flight = !batch.is_empty();
        batch
    }

    /// The batch in flight is done; `true` when another can be taken.
    pub(super) fn landed(&mut self) -> bool {
        self.in_flight = false;
        !self.queue.is_empty()
    }

    /// Removes what waited too long.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<Queued<T>> {
        if self.earliest.is_none_or(|at| at > now) {
            return Vec::new();
        }
        let (mut expired, mut kept) = (Vec::new(), VecDeque::new());
        for queued in self.queue.drain(..) {
            if queued.expired(now) {
                expired.push(queued);
            } else {
                kept.push_back(queued);
            }
        }
        self.queue = kept;
        self.bytes = self.queue.iter().map(Queued::framed_len).sum();
        self.earliest = self.queue.iter().filter_map(|q| q.waiter.as_ref().map(|(at, _)| *at)).min();
        expired
    }

    /// Before this no waiter's time is over.
    pub(super) fn earliest(&self) -> Option<Instant> {
        self.earliest
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;

    use super::*;
    use crate::protocol::envelope::Kind;

    fn queued(number: u64, bytes: usize, deadline: Option<Instant>) -> Queued<u64> {
        let payload = Bytes::from(vec![0; bytes]);
        let envelope = Envelope {
            kind: Kind::Deliver,
            wants_report: true,
            patience: None,
            number,
            subject: None,
            payload,
        };
        Queued { envelope, waiter: deadline.map(|at| (at, number)), trace: None }
    }

    fn numbers(batch: &[Queued<u64>]) -> Vec<u64> {
        batch.iter().map(|q| q.envelope.number).collect()
    }

    #[test]
    fn an_idle_batcher_sends_at_once_and_collects_while_a_batch_is_in_flight() {
        let mut batcher = Batcher::new(BatchLimits::default());
        assert!(batcher.push(queued(1, 10, None)).unwrap());
        assert_eq!(numbers(&batcher.take()), [1]);
        assert!(!batcher.push(queued(2, 10, None)).unwrap());
        assert!(!batcher.push(queued(3, 10, None)).unwrap());
        assert!(batcher.take().is_empty());
        assert!(batcher.landed());
        assert_eq!(numbers(&batcher.take()), [2, 3]);
        assert!(!batcher.landed());
        assert!(batcher.take().is_empty());
        assert!(batcher.push(queued(4, 10, None)).unwrap());
    }

    #[test]
    fn a_batch_is_closed_before_it_grows_too_large_but_a_large_envelope_goes_alone() {
        let limits = BatchLimits { batch_bytes: 100, ..BatchLimits::default() };
        let mut batcher = Batcher::new(limits);
        for (number, bytes) in [(1, 30), (2, 30), (3, 500), (4, 1)] {
            batcher.push(queued(number, bytes, None)).unwrap();
        }
        for expected in [vec![1, 2], vec![3], vec![4]] {
            assert_eq!(numbers(&batcher.take()), expected);
            batcher.landed();
        }
    }

    #[test]
    fn a_full_queue_gives_the_envelope_back() {
        let limits = BatchLimits { queue_bytes: 100, queue_items: 3, batch_bytes: 1000 };
        let mut batcher = Batcher::new(limits);
        batcher.push(queued(1, 60, None)).unwrap();
        assert_eq!(batcher.push(queued(2, 60, None)).unwrap_err().envelope.number, 2);
        batcher.push(queued(3, 0, None)).unwrap_or_else(|_| panic!("small ones still fit"));
        assert_eq!(batcher.take().len(), 2);
        batcher.landed();
        for number in 4..7 {
            batcher.push(queued(number, 0, None)).unwrap();
        }
        assert!(batcher.push(queued(7, 0, None)).is_err(), "items are bounded too");
    }

    #[test]
    fn what_waited_too_long_is_given_back_and_not_sent() {
        let start = Instant::now();
        let at = |ms| Some(start + Duration::from_millis(ms));
        let mut batcher = Batcher::new(BatchLimits::default());
        for (number, deadline) in [(1, at(50)), (2, None), (3, at(10)), (4, at(90))] {
            batcher.push(queued(number, 1, deadline)).unwrap();
        }
        assert_eq!(batcher.earliest(), at(10));
        assert!(batcher.expire(start + Duration::from_millis(9)).is_empty());
        assert_eq!(numbers(&batcher.expire(start + Duration::from_millis(50))), [1, 3]);
        assert_eq!(batcher.earliest(), at(90));
        assert_eq!(numbers(&batcher.take()), [2, 4]);
        assert_eq!(batcher.bytes, 0);
    }
}
