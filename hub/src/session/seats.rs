//! How many connections a node takes.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// Counts connections from the decision to take them until their socket is gone.
#[derive(Debug)]
pub struct Seats {
    taken: AtomicUsize,
    most: usize,
}

/// A place for one connection; dropping it gives the place back.
#[derive(Debug)]
pub struct Seat(Arc<Seats>);

impl Seats {
    /// `most` connections at a time.
    #[must_use]
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { taken: AtomicUsize::new(0), most })
    }

    /// Takes a seat, unless all are taken.
    #[must_use]
    pub fn take(self: &Arc<Self>) -> Option<Seat> {
        let free = |taken: usize| (taken < self.most).then_some(taken + 1);
        self.taken.fetch_update(Ordering::AcqRel, Ordering::Acquire, free).ok()?;
        Some(Seat(Arc::clone(self)))
    }

    /// Seats taken now, connections that are still being admitted included.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Acquire)
    }

    /// The most that can be taken.
    #[must_use]
    pub fn most(&self) -> usize {
        self.most
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_node_has_room_again_when_somebody_leaves() {
        let seats = Seats::new(2);
        let (first, second) = (seats.take().unwrap(), seats.take().unwrap());
        assert!(seats.take().is_none());
        drop(first);
        let third = seats.take();
        assert!(third.is_some() && seats.take().is_none());
        drop((second, third));
        assert_eq!((seats.taken(), seats.most()), (0, 2));
    }
}
