//! What this node knows of the other nodes of a user, so that most sends ask nobody. Pure: the clock is passed in.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use ahash::RandomState;
use parking_lot::RwLock;

#[cfg(test)]
use crate::fault::{self, Fault};
use crate::identity::{NodeInstance, UserId};

/// Locks over what is known.
const SHARDS: usize = 64;
/// Users that are not here and whose nodes are remembered, per shard: 65,536 in all.
const REMEMBERED: usize = 1024;
/// How long that is believed. A user who connects to one more node meanwhile is missed there for this long at most.
const BELIEF: Duration = Duration::from_secs(2);

/// How sure the answer must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// What the node knows is good enough: the first try of a send.
    Known,
    /// Read afresh: a repeat, because what was known did not work. While the registry is away, the last that was known
    /// of a user who is here and nowhere else still counts.
    Fresh,
    /// Only what the registry says counts: who is not found must not be missed.
    Certain,
}

/// The other nodes of a user who is connected here.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Here {
    ver: u64,
    others: Vec<NodeInstance>,
    /// Hearing under which `ver` was learned.
    learned: u64,
    /// Hearing under which the registry last said or confirmed it.
    read: u64,
}

/// The nodes of a user who is not connected here.
#[derive(Debug)]
struct Elsewhere {
    ver: u64,
    others: Vec<NodeInstance>,
    until: Instant,
    hearing: u64,
}

#[derive(Debug, Default)]
struct Shard {
    here: HashMap<UserId, Here, RandomState>,
    elsewhere: HashMap<UserId, Elsewhere, RandomState>,
}

/// What this node knows of the other nodes of users. `ver` is the version of the user's entry: an older one never
/// overwrites a newer. `hearing` rises whenever something may have been missed: what was read under a smaller one is
/// not used until it is read again.
#[derive(Debug)]
pub struct Whereabouts {
    shards: Box<[RwLock<Shard>]>,
    hasher: RandomState,
}

impl Default for Whereabouts {
    fn default() -> Self {
        Self { shards: (0..SHARDS).map(|_| RwLock::default()).collect(), hasher: RandomState::new() }
    }
}

impl Whereabouts {
    fn shard(&self, user: &UserId) -> &RwLock<Shard> {
        let place = self.hasher.hash_one(user) % (SHARDS as u64);
        // SHARDS is far below usize::MAX, so is the remainder.
        &self.shards[usize::try_from(place).unwrap_or(0)]
    }

    /// The other nodes of a user, if they are known well enough not to ask. `hearing`: the present one.
    #[must_use]
    pub fn known(&self, user: &UserId, hearing: u64, now: Instant) -> Option<Vec<NodeInstance>> {
        let shard = self.shard(user).read();
        if let Some(here) = shard.here.get(user) {
            return (here.read == hearing).then(|| here.others.clone());
        }
        let remembered = shard.elsewhere.get(user)?;
        (remembered.until > now && remembered.hearing == hearing).then(|| remembered.others.clone())
    }

    /// Whether a user is known, well enough not to ask, to have a connection here and nowhere else. `hearing`: the
    /// present one.
    #[must_use]
    pub fn only_here(&self, user: &UserId, hearing: u64) -> bool {
        let shard = self.shard(user).read();
        shard.here.get(user).is_some_and(|here| here.read == hearing && here.others.is_empty())
    }

    /// Whether the last that is known of a user, however old, is a connection here and nowhere else.
    #[must_use]
    pub fn last_known_only_here(&self, user: &UserId) -> bool {
        self.shard(user).read().here.get(user).is_some_and(|here| here.others.is_empty())
    }

    /// The registry answered a write for a user who is connected here. `hearing`: the one when it was asked.
    pub fn learn_here(&self, user: &UserId, ver: u64, others: Vec<NodeInstance>, hearing: u64) {
        let mut shard = self.shard(user).write();
        shard.elsewhere.remove(user);
        match shard.here.get_mut(user) {
            Some(here) => here.read_again(ver, others, hearing),
            None => {
                let here = Here { ver, others, learned: hearing, read: hearing };
                shard.here.insert(user.clone(), here);
            }
        }
    }

    /// The registry answered a question about a user. `hearing`: the one when it was asked.
    pub fn learn_read(&self, user: &UserId, ver: u64, others: &[NodeInstance], hearing: u64, now: Instant) {
        let mut shard = self.shard(user).write();
        if let Some(here) = shard.here.get_mut(user) {
            here.read_again(ver, others.to_vec(), hearing);
        } else if others.is_empty() {
            // That a user is nowhere is never remembered.
            shard.elsewhere.remove(user);
        } else {
            if shard.elsewhere.len() >= REMEMBERED {
                shard.elsewhere.retain(|_, remembered| remembered.until > now);
            }
            if shard.elsewhere.len() >= REMEMBERED {
                shard.elsewhere.clear();
            }
            let remembered = Elsewhere { ver, others: others.to_vec(), until: now + BELIEF, hearing };
            shard.elsewhere.insert(user.clone(), remembered);
        }
    }

    /// Another node said where a user is now. `is_here`: whether this node has a connection of the user, though the
    /// registry's answer about it may still be on its way. `hearing`: the present one.
    pub fn hear(&self, user: &UserId, ver: u64, others: Vec<NodeInstance>, is_here: bool, hearing: u64) {
        let mut shard = self.shard(user).write();
        if let Some(here) = shard.here.get_mut(user) {
            let newer = ver > here.ver;
            #[cfg(test)]
            let newer = newer || fault::is(Fault::VersionIgnored);
            if newer {
                (here.ver, here.others, here.learned) = (ver, others, hearing);
            }
        } else if is_here {
            let here = Here { ver, others, learned: hearing, read: 0 };
            shard.here.insert(user.clone(), here);
        } else if shard.elsewhere.get(user).is_some_and(|remembered| remembered.ver < ver) {
            shard.elsewhere.remove(user);
        }
    }

    /// The last connection of a user has left this node.
    pub fn forget_here(&self, user: &UserId) {
        self.shard(user).write().here.remove(user);
    }

    /// A node that was asked for the user says that it is not there, or is gone.
    pub fn disbelieve(&self, user: &UserId) {
        let mut shard = self.shard(user).write();
        shard.elsewhere.remove(user);
        if let Some(here) = shard.here.get_mut(user) {
            here.read = 0;
        }
    }
}

impl Here {
    fn read_again(&mut self, ver: u64, others: Vec<NodeInstance>, hearing: u64) {
        // A message that overtook the answer knows more. What was learned before something was missed does not.
        if self.learned < hearing || ver >= self.ver {
            (self.ver, self.others, self.learned) = (ver, others, hearing);
        }
        self.read = self.read.max(hearing);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alice() -> UserId {
        UserId::new("alice").unwrap()
    }

    fn nodes(names: &[&str]) -> Vec<NodeInstance> {
        names.iter().map(|name| format!("{name}#a.1").parse().unwrap()).collect()
    }

    #[test]
    fn an_older_version_never_overwrites_a_newer() {
        let (known, user, now) = (Whereabouts::default(), alice(), Instant::now());
        known.learn_here(&user, 10, nodes(&[]), 1);
        assert_eq!(known.known(&user, 1, now), Some(nodes(&[])));
        known.hear(&user, 12, nodes(&["b", "c"]), true, 1);
        known.hear(&user, 11, nodes(&["b"]), true, 1);
        assert_eq!(known.known(&user, 1, now), Some(nodes(&["b", "c"])));
        known.learn_read(&user, 11, &nodes(&["b"]), 1, now);
        assert_eq!(known.known(&user, 1, now), Some(nodes(&["b", "c"])));
        known.learn_read(&user, 13, &nodes(&[]), 1, now);
        assert_eq!(known.known(&user, 1, now), Some(nodes(&[])));
    }

    #[test]
    fn a_message_that_overtakes_the_answer_to_a_connect_wins() {
        let (known, user, now) = (Whereabouts::default(), alice(), Instant::now());
        known.hear(&user, 12, nodes(&["b"]), true, 1);
        assert_eq!(known.known(&user, 1, now), None, "not read yet");
        known.learn_here(&user, 11, nodes(&[]), 1);
        assert_eq!(known.known(&user, 1, now), Some(nodes(&["b"])));
    }

    #[test]
    fn after_something_was_missed_only_a_read_counts_and_it_may_have_any_version() {
        let (known, user, now) = (Whereabouts::default(), alice(), Instant::now());
        known.learn_here(&user, 10, nodes(&["b"]), 1);
        assert_eq!(known.known(&user, 2, now), None);
        known.hear(&user, 11, nodes(&["c"]), true, 2);
        assert_eq!(known.known(&user, 2, now), None);
        known.learn_here(&user, 9, nodes(&[]), 1);
        assert_eq!(known.known(&user, 2, now), None, "asked before it was missed");
        known.learn_read(&user, 11, &nodes(&["c"]), 2, now);
        assert_eq!(known.known(&user, 2, now), Some(nodes(&["c"])));
        // Another Redis, whose clock is behind.
        known.learn_here(&user, 3, nodes(&[]), 3);
        assert_eq!(known.known(&user, 3, now), Some(nodes(&[])));
    }

    #[test]
    fn users_elsewhere_are_remembered_for_a_moment_and_never_as_nowhere() {
        let (known, user, now) = (Whereabouts::default(), alice(), Instant::now());
        known.learn_read(&user, 10, &[], 1, now);
        assert_eq!(known.known(&user, 1, now), None);
        known.learn_read(&user, 10, &nodes(&["b"]), 1, now);
        assert_eq!(known.known(&user, 1, now), Some(nodes(&["b"])));
        assert_eq!(known.known(&user, 2, now), None);
        assert_eq!(known.known(&user, 1, now + BELIEF), None);
        known.hear(&user, 10, nodes(&["b"]), false, 1);
        assert!(known.known(&user, 1, now).is_some());
        known.hear(&user, 11, nodes(&["c"]), false, 1);
        assert_eq!(known.known(&user, 1, now), None, "newer news elsewhere");
        known.learn_read(&user, 12, &nodes(&["b"]), 1, now);
        known.disbelieve(&user);
        assert_eq!(known.known(&user, 1, now), None);
        assert!(!known.last_known_only_here(&user));
    }

    #[test]
    fn the_last_that_was_known_outlives_what_was_missed() {
        let (known, user) = (Whereabouts::default(), alice());
        known.learn_here(&user, 10, nodes(&[]), 1);
        assert!(known.last_known_only_here(&user) && known.only_here(&user, 1));
        assert!(!known.only_here(&user, 2), "something may have been missed");
        known.hear(&user, 11, nodes(&["b"]), true, 1);
        assert!(!known.last_known_only_here(&user) && !known.only_here(&user, 1));
        known.forget_here(&user);
        assert!(!known.last_known_only_here(&user));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (known, now) = (Whereabouts::default(), Instant::now());
        for n in 0..200_000 {
            let user = UserId::new(format!("u{n}")).unwrap();
            known.learn_read(&user, 1, &nodes(&["b"]), 1, now);
        }
        let kept: usize = known.shards.iter().map(|shard| shard.read().elsewhere.len()).sum();
        assert!(kept <= SHARDS * REMEMBERED && kept > 0, "{kept}");
    }
}
