//! Whether it means anything that the registry does not know somebody.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::standing::Standing;

/// What is known of the markers, which live as long as the registry's data: one, or one per primary of a Redis Cluster.
#[derive(Debug, Default)]
struct State {
    /// By key.
    markers: BTreeMap<String, String>,
    /// All of them as one text.
    marker: Option<String>,
    /// Every live node has written all its users under `marker`, and a lease has passed since it was made.
    whole: bool,
    /// The marker under which this node has written all its users.
    asserted: Option<String>,
}

/// Under a marker that is missing, unexpected or new, users may only seem to be nowhere: Redis lost its data, or is
/// another one, and not every node has written its users again.
pub(super) struct Wholeness {
    standing: Arc<Standing>,
    state: Mutex<State>,
    doubted: Notify,
}

impl Wholeness {
    pub(super) fn new(standing: Arc<Standing>) -> Self {
        Self { standing, state: Mutex::default(), doubted: Notify::new() }
    }

    /// A heartbeat found these markers, by key. Whether any is another one than before.
    pub(super) fn found(&self, markers: BTreeMap<String, String>) -> bool {
        let mut state = self.state.lock();
        if state.markers == markers {
            return false;
        }
        let marker = markers.values().map(String::as_str).collect::<Vec<_>>().join(" / ");
        *state = State { markers, marker: Some(marker), ..State::default() };
        true
    }

    /// This node has written all its users under the present marker.
    pub(super) fn assert_own(&self) {
        let mut state = self.state.lock();
        state.asserted = state.marker.clone();
    }

    /// The marker that the node's record is to carry.
    pub(super) fn asserted(&self) -> Option<String> {
        self.state.lock().asserted.clone()
    }

    pub(super) fn is_whole(&self) -> bool {
        self.state.lock().whole
    }

    /// Looks whether the registry is whole now. `age`: of the marker; `carried`: what each live node has asserted.
    pub(super) fn judge<'a>(
        &self,
        age: Duration,
        lease: Duration,
        mut carried: impl Iterator<Item = Option<&'a str>>,
    ) -> bool {
        let mut state = self.state.lock();
        state.whole = age >= lease
            && state.marker.is_some()
            && state.asserted == state.marker
            && carried.all(|asserted| asserted == state.marker.as_deref());
        state.whole
    }

    /// Whether a user who was not found, by a read that saw this marker under `key`, is certainly nowhere. An unexpected
    /// marker asks for the next heartbeat at once.
    pub(super) fn absence_counts(&self, key: &str, marker: Option<&str>, now: Instant) -> bool {
        let state = self.state.lock();
        let expected = marker.is_some() && state.markers.get(key).map(String::as_str) == marker;
        if !expected {
            self.doubted.notify_one();
        }
        expected && state.whole && self.standing.absence_counts(now)
    }

    /// Returns when a read found another marker than expected.
    pub(super) async fn doubt(&self) {
        self.doubted.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(30);

    fn wholeness() -> Wholeness {
        let standing = Arc::new(Standing::new("chat-0#a.1".parse().unwrap(), LEASE));
        standing.beat_worked(Instant::now(), true);
        Wholeness::new(standing)
    }

    fn one(marker: &str) -> BTreeMap<String, String> {
        BTreeMap::from([("r".to_owned(), marker.to_owned())])
    }

    #[test]
    fn each_primary_has_its_own_marker() {
        let (registry, now) = (wholeness(), Instant::now());
        let two = |second: &str| {
            BTreeMap::from([("r:{0}".to_owned(), "m1".to_owned()), ("r:{5}".to_owned(), second.to_owned())])
        };
        assert!(registry.found(two("m2")));
        registry.assert_own();
        assert_eq!(registry.asserted().as_deref(), Some("m1 / m2"));
        assert!(registry.judge(LEASE, LEASE, [Some("m1 / m2")].into_iter()));
        assert!(registry.absence_counts("r:{0}", Some("m1"), now));
        assert!(!registry.absence_counts("r:{5}", Some("m1"), now));
        assert!(!registry.absence_counts("r:{9}", Some("m1"), now), "of a primary that is not known");
        assert!(registry.found(two("m3")) && !registry.is_whole());
    }

    #[test]
    fn absence_counts_once_every_node_has_asserted_and_a_lease_has_passed() {
        let (registry, now) = (wholeness(), Instant::now());
        assert!(!registry.absence_counts("r", Some("m1"), now));
        assert!(registry.found(one("m1")) && !registry.found(one("m1")));
        assert!(!registry.judge(LEASE, LEASE, [Some("m1")].into_iter()), "this node has not asserted");
        registry.assert_own();
        assert!(!registry.judge(LEASE / 2, LEASE, [Some("m1")].into_iter()), "too young");
        assert!(!registry.judge(LEASE, LEASE, [Some("m1"), None].into_iter()), "one has not asserted");
        assert!(!registry.judge(LEASE, LEASE, [Some("m1"), Some("m0")].into_iter()), "one is behind");
        assert!(!registry.absence_counts("r", Some("m1"), now));
        assert!(registry.judge(LEASE, LEASE, [Some("m1"), Some("m1")].into_iter()));
        assert!(registry.absence_counts("r", Some("m1"), now));
    }

    #[test]
    fn a_missing_or_other_marker_ends_it() {
        let (registry, now) = (wholeness(), Instant::now());
        registry.found(one("m1"));
        registry.assert_own();
        assert!(registry.judge(LEASE, LEASE, std::iter::empty()));
        assert!(!registry.absence_counts("r", None, now) && !registry.absence_counts("r", Some("m2"), now));
        assert!(registry.absence_counts("r", Some("m1"), now), "the read saw the expected one");
        assert!(registry.found(one("m2")));
        assert!(!registry.is_whole() && registry.asserted().is_none());
        assert!(
            !registry.absence_counts("r", Some("m2"), now) && !registry.absence_counts("r", Some("m1"), now)
        );
    }

    #[test]
    fn after_redis_was_away_absence_counts_again_when_others_had_a_lease_to_come_back() {
        let (registry, now) = (wholeness(), Instant::now());
        registry.found(one("m1"));
        registry.assert_own();
        registry.judge(LEASE, LEASE, std::iter::empty());
        registry.standing.note_away();
        assert!(!registry.absence_counts("r", Some("m1"), now));
        registry.standing.beat_worked(now, false);
        assert!(!registry.absence_counts("r", Some("m1"), now + LEASE / 2));
        assert!(registry.absence_counts("r", Some("m1"), now + LEASE));
    }
}
