//! Who waits for which report. Pure: the clock is passed in.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    time::Instant,
};

/// Names a batch that was sent: the channel and its sequence there.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct BatchKey<C> {
    pub(super) channel: C,
    pub(super) sequence: u64,
}

/// The waiters of one batch, at the place of their envelope.
#[derive(Debug)]
struct Slab<T> {
    /// What reports to this batch must carry, so that one for a former life finds nobody.
    address: u64,
    slots: Vec<Option<(Instant, T)>>,
    waiting: usize,
}

/// A slab per batch, one timer per batch.
#[derive(Debug)]
pub(super) struct ReportSlabs<C, T> {
    slabs: HashMap<BatchKey<C>, Slab<T>>,
    /// One entry per batch: when its next waiter's time is over, or earlier.
    timers: BinaryHeap<Reverse<(Instant, BatchKey<C>)>>,
}

impl<C: Clone + Eq + std::hash::Hash + Ord, T> ReportSlabs<C, T> {
    pub(super) fn new() -> Self {
        Self { slabs: HashMap::new(), timers: BinaryHeap::new() }
    }

    /// Remembers a batch before it is sent. A batch nobody waits for is not kept.
    pub(super) fn insert(&mut self, key: BatchKey<C>, address: u64, slots: Vec<Option<(Instant, T)>>) {
        let waiting = slots.iter().flatten().count();
        if let Some(first) = slots.iter().flatten().map(|(deadline, _)| *deadline).min() {
            self.timers.push(Reverse((first, key.clone())));
            self.slabs.insert(key, Slab { address, slots, waiting });
        }
    }

    /// Shows a report to its waiter. `satisfied` says whether the waiter has all it wanted: then it is returned and
    /// forgotten. A report for nobody, or for a former life, changes nothing.
    pub(super) fn resolve(
        &mut self,
        key: &BatchKey<C>,
        index: u32,
        address: u64,
        satisfied: impl FnOnce(&mut T) -> bool,
    ) -> Option<T> {
        let slab = self.slabs.get_mut(key).filter(|slab| slab.address == address)?;
        let slot = slab.slots.get_mut(usize::try_from(index).ok()?)?;
        if !satisfied(&mut slot.as_mut()?.1) {
            return None;
        }
        let (_, waiter) = slot.take()?;
        slab.waiting -= 1;
        if slab.waiting == 0 {
            self.slabs.remove(key);
        }
        Some(waiter)
    }

    /// Forgets a batch; its waiters with their places are the caller's.
    pub(super) fn remove(&mut self, key: &BatchKey<C>) -> Vec<T> {
        let slab = self.slabs.remove(key);
        slab.into_iter().flat_map(|slab| slab.slots).flatten().map(|(_, waiter)| waiter).collect()
    }

    /// Shows every waiter of a batch; those for whom `done` says so are returned and forgotten.
    pub(super) fn extract(&mut self, key: &BatchKey<C>, mut done: impl FnMut(&T) -> bool) -> Vec<T> {
        let Some(slab) = self.slabs.get_mut(key) else { return Vec::new() };
        let mut out = Vec::new();
        for slot in &mut slab.slots {
            if slot.as_ref().is_some_and(|(_, waiter)| done(waiter)) {
                out.extend(slot.take().map(|(_, waiter)| waiter));
            }
        }
        slab.waiting -= out.len();
        if slab.waiting == 0 {
            self.slabs.remove(key);
        }
        out
    }

    /// Takes all waiters whose time is over.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<T> {
        let mut expired = Vec::new();
        while let Some(Reverse((at, _))) = self.timers.peek() {
            if *at > now {
                break;
            }
            let Some(Reverse((_, key))) = self.timers.pop() else { break };
            let Some(slab) = self.slabs.get_mut(&key) else { continue };
            let mut next: Option<Instant> = None;
            for slot in &mut slab.slots {
                match slot {
                    Some((deadline, _)) if *deadline <= now => {
                        slab.waiting -= 1;
                        expired.extend(slot.take().map(|(_, waiter)| waiter));
                    }
                    Some((deadline, _)) => next = Some(next.map_or(*deadline, |n| n.min(*deadline))),
                    None => {}
                }
            }
            match next {
                Some(next) => self.timers.push(Reverse((next, key))),
                None => {
                    self.slabs.remove(&key);
                }
            }
        }
        expired
    }

    /// When [`ReportSlabs::expire`] may next have something; batches that were answered may make it too early.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.timers.peek().map(|Reverse((at, _))| *at)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn key(sequence: u64) -> BatchKey<&'static str> {
        BatchKey { channel: "chat-1", sequence }
    }

    #[test]
    fn a_report_finds_its_waiter_once() {
        let at = Instant::now() + Duration::from_secs(5);
        let mut slabs = ReportSlabs::new();
        slabs.insert(key(1), 7, vec![Some((at, "a")), None, Some((at, "c"))]);
        assert_eq!(slabs.resolve(&key(1), 2, 7, |_| true), Some("c"));
        assert_eq!(slabs.resolve(&key(1), 2, 7, |_| true), None, "answered already");
        assert_eq!(slabs.resolve(&key(1), 1, 7, |_| true), None, "nobody waits there");
        assert_eq!(slabs.resolve(&key(1), 9, 7, |_| true), None, "no such place");
        assert_eq!(slabs.resolve(&key(2), 0, 7, |_| true), None, "no such batch");
        assert_eq!(slabs.resolve(&key(1), 0, 8, |_| true), None, "meant for a former life");
        assert_eq!(slabs.resolve(&key(1), 0, 7, |_| false), None, "wants more reports");
        assert_eq!(slabs.resolve(&key(1), 0, 7, |_| true), Some("a"));
        assert!(slabs.slabs.is_empty());
    }

    #[test]
    fn each_waiter_is_let_go_at_its_own_time() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut slabs = ReportSlabs::new();
        slabs.insert(key(1), 7, vec![Some((at(30), 1)), Some((at(10), 2))]);
        slabs.insert(key(2), 7, vec![Some((at(20), 3))]);
        slabs.insert(key(3), 7, vec![None]);
        assert_eq!(slabs.next_deadline(), Some(at(10)));
        assert!(slabs.expire(at(9)).is_empty());
        assert_eq!(slabs.expire(at(20)), [2, 3]);
        assert_eq!(slabs.next_deadline(), Some(at(30)));
        assert_eq!(slabs.expire(at(30)), [1]);
        assert!(slabs.slabs.is_empty() && slabs.timers.is_empty());
    }

    #[test]
    fn a_batch_that_failed_gives_its_waiters_back() {
        let at = Instant::now();
        let mut slabs = ReportSlabs::new();
        slabs.insert(key(1), 7, vec![Some((at, 1)), Some((at, 2)), Some((at, 3))]);
        assert_eq!(slabs.extract(&key(1), |waiter| *waiter == 2), [2]);
        assert_eq!(slabs.remove(&key(1)), [1, 3]);
        assert!(slabs.remove(&key(1)).is_empty());
    }
}
