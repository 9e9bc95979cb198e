//! What waits in all outbound queues of a node together, and the bound on it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
};

use parking_lot::Mutex;

/// Counts the payload bytes and frames that wait for all clients of a node. A frame that is shared by many queues
/// counts once for each: none of them may rely on another to give it up.
///
/// Charging is two atomic additions and takes no lock; whoever passes the bound wakes a keeper, which closes the largest
/// queues.
#[derive(Debug)]
pub struct QueueBudget {
    limit: AtomicUsize,
    bytes: AtomicUsize,
    frames: AtomicUsize,
    /// Whether the keeper was woken since it last looked.
    woken: AtomicBool,
    keeper: Mutex<Option<Waker>>,
}

impl QueueBudget {
    /// A budget of `limit` bytes, nothing of it used.
    #[must_use]
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            limit: AtomicUsize::new(limit),
            bytes: AtomicUsize::new(0),
            frames: AtomicUsize::new(0),
            woken: AtomicBool::new(false),
            keeper: Mutex::default(),
        })
    }

    /// Changes the bound; a smaller one acts at the next frame.
    pub fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Ordering::SeqCst);
    }

    /// The bound in bytes.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    /// Bytes that wait.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::SeqCst)
    }

    /// Frames that wait.
    #[must_use]
    pub fn frames(&self) -> usize {
        self.frames.load(Ordering::Relaxed)
    }

    pub(super) fn charge(&self, bytes: usize) {
        self.frames.fetch_add(1, Ordering::Relaxed);
        let before = self.bytes.fetch_add(bytes, Ordering::SeqCst);
        if before.saturating_add(bytes) > self.limit() && !self.woken.swap(true, Ordering::SeqCst) {
            let keeper = self.keeper.lock().take();
            if let Some(keeper) = keeper {
                keeper.wake();
            }
        }
    }

    pub(super) fn release(&self, frames: usize, bytes: usize) {
        if frames > 0 {
            self.frames.fetch_sub(frames, Ordering::Relaxed);
            self.bytes.fetch_sub(bytes, Ordering::SeqCst);
        }
    }

    /// Ready while more waits than may. One keeper waits at a time.
    pub fn poll_over(&self, cx: &mut Context<'_>) -> Poll<()> {
        *self.keeper.lock() = Some(cx.waker().clone());
        self.woken.store(false, Ordering::SeqCst);
        // Whoever charged before this and did not wake the keeper is seen here.
        if self.bytes() > self.limit() { Poll::Ready(()) } else { Poll::Pending }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn whoever_passes_the_bound_wakes_the_keeper_once() {
        let budget = QueueBudget::new(100);
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let mut cx = Context::from_waker(&waker);
        let count = || woken.0.load(Ordering::SeqCst);
        assert!(budget.poll_over(&mut cx).is_pending());
        budget.charge(100);
        assert_eq!(count(), 0);
        budget.charge(1);
        budget.charge(1);
        assert_eq!((count(), budget.bytes(), budget.frames()), (1, 102, 3));
        assert!(budget.poll_over(&mut cx).is_ready());
        budget.release(2, 2);
        assert!(budget.poll_over(&mut cx).is_pending());
        budget.set_limit(50);
        budget.charge(1);
        assert_eq!(count(), 2);
        assert_eq!(budget.limit(), 50);
    }

    #[test]
    fn many_threads_end_with_nothing_charged() {
        let budget = QueueBudget::new(usize::MAX);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for bytes in 0..1000 {
                        budget.charge(bytes);
                        budget.release(1, bytes);
                    }
                });
            }
        });
        assert_eq!((budget.bytes(), budget.frames()), (0, 0));
    }
}
