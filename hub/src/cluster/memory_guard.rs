//! Keeps stored messages from filling Redis: leases and the directory must go on.

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::{inbox_scripts, key_space::KeySpace, redis_link::RedisLink};

/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);
/// Share of the memory beyond which nothing is stored, in percent.
const MOST_PERCENT: u64 = 80;

/// What a server said of its memory.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Reading {
    used: u64,
    /// 0 for no bound.
    most: u64,
    policy: String,
}

impl Reading {
    /// Why nothing is to be stored there, if so.
    fn shortage(&self) -> Option<String> {
        let Self { used, most, .. } = self;
        let short = *most > 0 && used.saturating_mul(100) > most.saturating_mul(MOST_PERCENT);
        short.then(|| format!("redis uses {used} of {most} bytes, beyond {MOST_PERCENT} % nothing is stored"))
    }

    /// Whether the server may throw away what the hub relies on.
    fn may_evict(&self) -> bool {
        self.most > 0 && !self.policy.is_empty() && self.policy != "noeviction"
    }
}

/// The memory of every primary, as it was a moment ago.
pub(super) struct MemoryGuard {
    link: Arc<RedisLink>,
    keys: KeySpace,
    /// By the tag that leads to the primary; none when there is only one.
    readings: Mutex<HashMap<Option<String>, Reading>>,
}

impl MemoryGuard {
    pub(super) fn new(link: Arc<RedisLink>, keys: KeySpace) -> Self {
        Self { link, keys, readings: Mutex::default() }
    }

    /// Why nothing is to be stored under a key, if so.
    pub(super) fn shortage(&self, key: &str) -> Option<String> {
        let tag = self.link.tag_beside(key);
        self.readings.lock().get(&tag).and_then(Reading::shortage)
    }

    /// Looks at the servers until told to stop.
    pub(super) async fn run(&self, shutdown: CancellationToken) {
        let mut warned = false;
        loop {
            self.look().await;
            let eviction = self.readings.lock().values().find(|reading| reading.may_evict()).cloned();
            if let (Some(reading), false) = (eviction, warned) {
                warned = true;
                tracing::warn!(
                    policy = reading.policy,
                    "redis may throw away records of nodes, users and stored messages: set maxmemory-policy noeviction"
                );
            }
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }

    async fn look(&self) {
        let tags = self.link.tags();
        for tag in &tags {
            let script = inbox_scripts::MEMORY.key(self.keys.marker(tag.as_deref()));
            // A server that does not answer stores nothing either.
            if let Ok((used, most, policy)) = self.link.script::<(u64, u64, String)>(&script).await {
                self.readings.lock().insert(tag.clone(), Reading { used, most, policy });
            }
        }
        self.readings.lock().retain(|tag, _| tags.contains(tag));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beyond_four_fifths_of_a_bound_nothing_is_stored() {
        let reading = |used, most, policy: &str| Reading { used, most, policy: policy.to_owned() };
        for (used, most, short) in
            [(81, 100, true), (80, 100, false), (1 << 40, 0, false), (u64::MAX, 1, true)]
        {
            assert_eq!(reading(used, most, "noeviction").shortage().is_some(), short, "{used} of {most}");
        }
        assert!(reading(0, 1, "allkeys-lru").may_evict());
        assert!(!reading(0, 0, "allkeys-lru").may_evict() && !reading(0, 1, "noeviction").may_evict());
    }
}
