//! How many connections a node takes.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// Counts connections from the decision to take them until their socket is gone.
#[derive(Debug)]
pub struct Seats {
    taken: AtomicUsize,
}

/// A place for one connection; dropping it gives the place back.
#[derive(Debug)]
pub struct Seat(Arc<Seats>);

impl Seats {
    /// Nobody is there yet.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self { taken: AtomicUsize::new(0) })
    }

    /// Takes a seat, unless `most` are taken already.
    #[must_use]
    pub fn take(self: &Arc<Self>, most: usize) -> Option<Seat> {
        let free = |taken: usize| (taken < most).then_some(taken + 1);
        self.taken.fetch_update(Ordering::AcqRel, Ordering::Acquire, free).ok()?;
        Some(Seat(Arc::clone(self)))
    }

    /// Seats taken now, connections that are still being admitted included.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Acquire)
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
        let seats = Seats::new();
        let (first, second) = (seats.take(2).unwrap(), seats.take(2).unwrap());
        assert!(seats.take(2).is_none());
        drop(first);
        let third = seats.take(2);
        assert!(third.is_some() && seats.take(2).is_none());
        assert!(seats.take(1).is_none(), "a limit that was lowered throws nobody out");
        drop((second, third));
        assert_eq!(seats.taken(), 0);
    }
}
