//! Counts how many of the frames of one send reached the kernel.
//!
//! One allocation per send, none per recipient: each recipient's [`Receipt`] is a reference to the tally.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    task::{Context, Poll, Waker},
};

use parking_lot::Mutex;

#[derive(Debug, Default)]
struct Tally {
    /// Receipts that are still out, plus one for the tally's maker.
    open: AtomicU32,
    written: AtomicU32,
    /// Given to a socket that ended before it had taken all.
    in_doubt: AtomicU32,
    waker: Mutex<Option<Waker>>,
}

impl Tally {
    fn settle_one(&self) {
        if self.open.fetch_sub(1, Ordering::AcqRel) == 1
            && let Some(waker) = self.waker.lock().take()
        {
            waker.wake();
        }
    }
}

/// Makes receipts, then waits for them.
#[derive(Debug)]
pub struct DeliveryTally(Arc<Tally>);

impl DeliveryTally {
    /// A tally with no receipts.
    #[must_use]
    pub fn new() -> Self {
        let tally = Tally::default();
        tally.open.store(1, Ordering::Relaxed);
        Self(Arc::new(tally))
    }

    /// A receipt for one recipient.
    #[must_use]
    pub fn receipt(&self) -> Receipt {
        self.0.open.fetch_add(1, Ordering::Relaxed);
        Receipt { tally: Arc::clone(&self.0), at_socket: false }
    }

    /// No more receipts: the future yields the number written once each is written or dropped.
    #[must_use]
    pub fn settled(self) -> Settled {
        self.0.settle_one();
        Settled(self.0)
    }
}

impl Default for DeliveryTally {
    fn default() -> Self {
        Self::new()
    }
}

/// Waits until every receipt is written or dropped; may be asked for the count so far at any time.
#[derive(Debug)]
pub struct Settled(Arc<Tally>);

impl Settled {
    /// Frames written so far.
    #[must_use]
    pub fn written(&self) -> u32 {
        self.0.written.load(Ordering::Acquire)
    }

    /// Frames that may or may not have reached the kernel before their connection ended.
    #[must_use]
    pub fn in_doubt(&self) -> u32 {
        self.0.in_doubt.load(Ordering::Acquire)
    }

    /// Receipts neither written nor dropped so far.
    #[must_use]
    pub fn open(&self) -> u32 {
        self.0.open.load(Ordering::Acquire)
    }
}

impl Future for Settled {
    type Output = u32;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<u32> {
        if self.open() == 0 {
            return Poll::Ready(self.written());
        }
        *self.0.waker.lock() = Some(cx.waker().clone());
        // The last receipt may have been settled before the waker was in place.
        if self.open() == 0 { Poll::Ready(self.written()) } else { Poll::Pending }
    }
}

/// The promise to say when a frame was written to the kernel. Dropping it says that it never will be, or, once the
/// socket had the frame, that nobody knows.
#[derive(Debug)]
pub struct Receipt {
    tally: Arc<Tally>,
    at_socket: bool,
}

impl Receipt {
    /// The frame was given to the socket: from now on the kernel may have it, whole or in part.
    pub fn at_socket(&mut self) {
        self.at_socket = true;
    }

    /// The write that contained the frame was accepted by the kernel.
    pub fn written(mut self) {
        self.at_socket = false;
        self.tally.written.fetch_add(1, Ordering::AcqRel);
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        if self.at_socket {
            self.tally.in_doubt.fetch_add(1, Ordering::AcqRel);
        }
        self.tally.settle_one();
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn it_settles_when_each_receipt_is_written_or_dropped() {
        let tally = DeliveryTally::new();
        let receipts = [tally.receipt(), tally.receipt(), tally.receipt()];
        let mut settled = tally.settled();
        let [first, second, third] = receipts;
        first.written();
        drop(second);
        assert_eq!((&mut settled).now_or_never(), None);
        assert_eq!((settled.written(), settled.open()), (1, 1));
        third.written();
        assert_eq!(settled.now_or_never(), Some(2));
    }

    #[test]
    fn a_frame_that_a_dying_socket_had_is_in_doubt() {
        let tally = DeliveryTally::new();
        let [mut first, mut second, third] = [tally.receipt(), tally.receipt(), tally.receipt()];
        let settled = tally.settled();
        first.at_socket();
        second.at_socket();
        first.written();
        drop((second, third));
        assert_eq!((settled.written(), settled.in_doubt(), settled.open()), (1, 1, 0));
    }

    #[test]
    fn no_receipts_settle_at_once() {
        assert_eq!(DeliveryTally::new().settled().now_or_never(), Some(0));
    }

    #[test]
    fn a_waiting_task_is_woken_from_another_thread() {
        let tally = DeliveryTally::new();
        let receipt = tally.receipt();
        let settled = tally.settled();
        let writer = std::thread::spawn(move || receipt.written());
        assert_eq!(futures::executor::block_on(settled), 1);
        writer.join().unwrap();
    }
}
