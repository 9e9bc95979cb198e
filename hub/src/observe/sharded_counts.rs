//! Numbers that only rise and that every thread adds to all the time.

use std::{
    cell::Cell,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
};

/// Threads that add without meeting; a power of two. Of more threads some share a place.
const SHARDS: usize = 16;

/// As far apart as two cores must be kept: processors fetch cache lines of 64 bytes in pairs.
#[derive(Debug)]
#[repr(align(128))]
struct Shard<const N: usize>([AtomicU64; N]);

/// `N` numbers that only rise. Each thread adds to its own, so that cores do not wait for each other; reading sums them.
#[derive(Debug)]
pub(super) struct ShardedCounts<const N: usize>(Box<[Shard<N>]>);

impl<const N: usize> Default for ShardedCounts<N> {
    fn default() -> Self {
        Self((0..SHARDS).map(|_| Shard(std::array::from_fn(|_| AtomicU64::new(0)))).collect())
    }
}

/// The calling thread's place.
fn place() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static PLACE: Cell<Option<usize>> = const { Cell::new(None) };
    }
    PLACE.get().unwrap_or_else(|| {
        let place = NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS;
        PLACE.set(Some(place));
        place
    })
}

impl<const N: usize> ShardedCounts<N> {
    /// Adds to some of the numbers, each given with its index. An index that is too high is passed over.
    pub(super) fn add<const K: usize>(&self, amounts: [(usize, u64); K]) {
        let Some(Shard(numbers)) = self.0.get(place()) else { return };
        for (number, amount) in amounts {
            if let Some(number) = numbers.get(number) {
                number.fetch_add(amount, Ordering::Relaxed);
            }
        }
    }

    /// One of the numbers.
    pub(super) fn sum(&self, number: usize) -> u64 {
        let of = |shard: &Shard<N>| shard.0.get(number).map_or(0, |n| n.load(Ordering::Relaxed));
        self.0.iter().map(of).fold(0, u64::wrapping_add)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn what_threads_add_is_summed() {
        let counts = Arc::new(ShardedCounts::<3>::default());
        let threads: Vec<_> = (0..SHARDS as u64 * 2)
            .map(|n| {
                let counts = Arc::clone(&counts);
                std::thread::spawn(move || {
                    for _ in 0..100 {
                        counts.add([(0, 1), (2, n), (3, 7)]);
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!([0, 1, 2, 3].map(|number| counts.sum(number)), [3200, 0, 100 * 496, 0]);
    }
}
