//! What the operator remembers of a cluster between passes. All of it can be lost: it is only
//! there to avoid work, never to decide.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::plan::autoscale::History;

use super::hubs::HubMemory;
use super::hurry::Hurried;
use super::secrets::Checked;
use super::template::TemplateHold;

/// Kind and name of a child.
pub type ChildKey = (String, String);

/// How a child was left by the last pass that applied it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Applied {
    /// Hash of what was asked for.
    pub desired: u64,
    /// Fingerprint of the object that resulted.
    pub live: u64,
}

/// What is remembered of one resource.
#[derive(Debug, Default)]
pub struct ClusterMemory {
    /// UID of the resource; another one makes everything here void.
    pub uid: String,
    /// Children by kind and name.
    pub applied: HashMap<ChildKey, Applied>,
    /// Generated Secrets that were there once.
    pub secrets: BTreeSet<String>,
    /// The last look at the Secrets.
    pub checked: Option<Checked>,
    /// The hubs.
    pub hubs: HubMemory,
    /// Kubelets that were hurried.
    pub hurried: Hurried,
    /// The template that stands in for that of the spec.
    pub template: Option<TemplateHold>,
    /// Run id of the rebalance that every node was told of last.
    pub rebalanced: Option<String>,
    /// What autoscaling by connections recommended.
    pub scaling: History,
    /// When the number of connections was last written to the status.
    pub connections_written: Option<Instant>,
}

/// Namespace and name of a resource.
pub type ClusterKey = (String, String);

/// Memory of all resources.
#[derive(Debug, Default)]
pub struct Memory {
    clusters: Mutex<HashMap<ClusterKey, Arc<tokio::sync::Mutex<ClusterMemory>>>>,
    failures: Mutex<HashMap<ClusterKey, Failures>>,
}

#[derive(Debug)]
struct Failures {
    count: u32,
    retry_at: Instant,
}

/// First and longest pause after failures.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));

impl Memory {
    /// The memory of a resource; empty at first.
    pub fn of(&self, key: &ClusterKey) -> Arc<tokio::sync::Mutex<ClusterMemory>> {
        Arc::clone(self.clusters.lock().entry(key.clone()).or_default())
    }

    /// Forgets a resource that is gone.
    pub fn forget(&self, key: &ClusterKey) {
        self.clusters.lock().remove(key);
        self.failures.lock().remove(key);
    }

    /// How many resources are remembered.
    pub fn len(&self) -> usize {
        self.clusters.lock().len()
    }

    /// Whether no resource is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A pass went through.
    pub fn succeeded(&self, key: &ClusterKey) {
        self.failures.lock().remove(key);
    }

    /// A pass failed. Returns the pause before the next: 1 s doubling to 5 min. Passes that events
    /// start in between do not make it longer.
    pub fn failed(&self, key: &ClusterKey, now: Instant) -> Duration {
        let mut failures = self.failures.lock();
        let failure = failures.entry(key.clone()).or_insert(Failures { count: 0, retry_at: now });
        if now < failure.retry_at {
            return failure.retry_at - now;
        }
        let pause = BACKOFF.0.saturating_mul(2u32.saturating_pow(failure.count)).min(BACKOFF.1);
        failure.count = failure.count.saturating_add(1);
        failure.retry_at = now + pause;
        pause
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::Memory;

    #[test]
    fn back_off_doubles_to_five_minutes_and_starts_anew_after_success() {
        let memory = Memory::default();
        let key = ("n".to_owned(), "chat".to_owned());
        let mut now = Instant::now();
        let pauses: Vec<u64> = (0..11)
            .map(|_| {
                let pause = memory.failed(&key, now);
                assert!(memory.failed(&key, now) <= pause, "an event in between changes nothing");
                now += pause;
                pause.as_secs()
            })
            .collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        memory.succeeded(&key);
        assert_eq!(memory.failed(&key, now).as_secs(), 1);
    }

    #[test]
    fn a_forgotten_resource_starts_with_an_empty_memory() {
        let memory = Memory::default();
        let key = ("n".to_owned(), "chat".to_owned());
        let first = memory.of(&key);
        assert_eq!(memory.len(), 1);
        memory.forget(&key);
        assert!(!std::sync::Arc::ptr_eq(&first, &memory.of(&key)));
    }
}
