//! Keeps the directory true about which groups have members on this node.
//!
//! What others need to know of a group is which nodes have members: that is written at once, before a join or a leave
//! is answered. How many there are is for people only, so the numbers follow every few seconds: a storm of joins to a
//! group that is here already costs Redis nothing.

use std::{
    collections::{HashMap, HashSet},
    hash::BuildHasher,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::StreamExt;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::{
    assertion::{Assertion, Part},
    ports::{Directory, DirectoryError, Registration},
};
use crate::{
    identity::GroupName,
    local::{
        connection::Connection,
        group_roster::GroupRoster,
        memberships::{JoinRefused, JoinedBy},
    },
};

/// Directory writes of one group happen one after another; groups share this many slots.
const SLOTS: usize = 1024;
/// Directory writes in flight while many groups are written.
const WRITES_IN_FLIGHT: usize = 64;
/// The same at the end of one connection.
const LEAVES_IN_FLIGHT: usize = 16;
/// Pause before writes that failed are tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// Between two looks for numbers of members that have changed.
const COUNT_INTERVAL: Duration = Duration::from_secs(5);
/// Each group is written again this often, so that what Redis lost unnoticed comes back.
const ASSERT_INTERVAL: Duration = Duration::from_secs(300);
/// Groups whose entry is not known to be true. Beyond it no group begins here until Redis has heard of the others.
const MOST_UNSETTLED: usize = 65_536;

/// Why a connection does not become a member.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// The connection's own bounds.
    #[error(transparent)]
    Refused(#[from] JoinRefused),
    /// The registry has been away for so long that no more groups are remembered for it.
    #[error("the registry is away and too many groups wait for it, try again later")]
    RegistryBehind,
}

/// What the directory holds about one group of this node, as far as is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    /// The registration under which it was written.
    epoch: u64,
    /// The number written; none when a write failed, so that nobody knows.
    members: Option<u32>,
}

/// How exact an entry has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Exactness {
    /// It says whether there are members.
    Presence,
    /// It says how many.
    Number,
    /// It is written again whatever is known.
    Rewrite,
}

/// Whether the directory has to be written. Pure.
fn is_true(known: Option<Entry>, epoch: u64, members: u32, exactness: Exactness) -> bool {
    match known {
        // Never written, or known to be removed.
        None => members == 0,
        Some(entry) => {
            let same = match exactness {
                Exactness::Presence => entry.members.is_some(),
                Exactness::Number => entry.members == Some(members),
                Exactness::Rewrite => false,
            };
            members > 0 && entry.epoch == epoch && same
        }
    }
}

#[derive(Default)]
struct Known {
    entries: HashMap<GroupName, Entry>,
    unsettled: HashSet<GroupName>,
}

/// Keeps the directory true about this node's groups: the roster is the truth, the directory follows, one write at a
/// time per group, and what could not be written is written later.
pub struct GroupRegistry {
    roster: GroupRoster,
    /// Groups one connection may be in.
    most: usize,
    directory: Arc<dyn Directory>,
    assertion: Arc<Assertion>,
    registration: watch::Receiver<Registration>,
    slots: Box<[tokio::sync::Mutex<()>]>,
    hasher: std::collections::hash_map::RandomState,
    known: Mutex<Known>,
    unsettled_added: Notify,
}

impl GroupRegistry {
    /// No groups. `most`: groups one connection may be in.
    #[must_use]
    pub fn new(directory: Arc<dyn Directory>, assertion: Arc<Assertion>, most: usize) -> Self {
        Self {
            roster: GroupRoster::default(),
            most,
            registration: directory.registration(),
            directory,
            assertion,
            slots: (0..SLOTS).map(|_| tokio::sync::Mutex::default()).collect(),
            hasher: std::collections::hash_map::RandomState::new(),
            known: Mutex::default(),
            unsettled_added: Notify::new(),
        }
    }

    /// Which connections of this node are in which group.
    #[must_use]
    pub fn roster(&self) -> &GroupRoster {
        &self.roster
    }

    /// Makes a connection a member here; [`GroupRegistry::settle`] tells the others. False: it is one already.
    ///
    /// # Errors
    /// [`JoinError`]; nothing has changed then.
    pub fn join(
        &self,
        connection: &Arc<Connection>,
        group: &GroupName,
        by: JoinedBy,
    ) -> Result<bool, JoinError> {
        if self.roster.count(group) == 0 && self.unsettled() >= MOST_UNSETTLED {
            return Err(JoinError::RegistryBehind);
        }
        Ok(self.roster.join(connection, group, by, self.most)?)
    }

    /// Ends all memberships of a connection that ends, here and in the directory.
    pub async fn end(&self, connection: &Connection) {
        let groups = self.roster.end(connection);
        futures::stream::iter(groups)
            .for_each_concurrent(LEAVES_IN_FLIGHT, |group| async move {
                // An unreachable directory is written later.
                let _ = self.settle(&group).await;
            })
            .await;
    }

    /// Makes the directory say whether this node has members of the group.
    ///
    /// # Errors
    /// [`DirectoryError`]; it is then written as soon as the registry answers.
    pub async fn settle(&self, group: &GroupName) -> Result<(), DirectoryError> {
        self.write(group, Exactness::Presence).await
    }

    /// Whether the directory is known to be true about the group without asking anybody.
    #[must_use]
    pub fn is_settled(&self, group: &GroupName) -> bool {
        // A write under way may be about an older state, so its end has to be waited for.
        let Ok(_slot) = self.slot(group).try_lock() else { return false };
        self.holds(group, Exactness::Presence)
    }

    /// Somebody took this node for one with members of the group, which it is not: looks at the entry again.
    pub fn doubt(&self, group: &GroupName) {
        let mut known = self.known.lock();
        if known.unsettled.len() < MOST_UNSETTLED && !known.entries.contains_key(group) {
            known.entries.insert(group.clone(), Entry { epoch: 0, members: None });
            known.unsettled.insert(group.clone());
            drop(known);
            self.unsettled_added.notify_one();
        }
    }

    /// Groups whose directory entry is not known to be true.
    #[must_use]
    pub fn unsettled(&self) -> usize {
        self.known.lock().unsettled.len()
    }

    fn slot(&self, group: &GroupName) -> &tokio::sync::Mutex<()> {
        let place = self.hasher.hash_one(group) % (SLOTS as u64);
        // SLOTS is far below usize::MAX, so is the remainder.
        &self.slots[usize::try_from(place).unwrap_or(0)]
    }

    fn holds(&self, group: &GroupName, exactness: Exactness) -> bool {
        let epoch = self.registration.borrow().epoch;
        let members = self.roster.count(group);
        is_true(self.known.lock().entries.get(group).copied(), epoch, members, exactness)
    }

    async fn write(&self, group: &GroupName, exactness: Exactness) -> Result<(), DirectoryError> {
        let _slot = self.slot(group).lock().await;
        if self.holds(group, exactness) {
            return Ok(());
        }
        // The epoch is read before the write: what is written under a registration that ends meanwhile counts for
        // nothing under the next.
        let epoch = self.registration.borrow().epoch;
        let members = self.roster.count(group);
        // Until it is known to have worked, and also if nobody waits for it any more.
        self.note(group, Some(Entry { epoch, members: None }));
        let outcome = self.directory.set_members(group, members).await;
        match &outcome {
            Ok(()) if members == 0 => self.note(group, None),
            Ok(()) => self.note(group, Some(Entry { epoch, members: Some(members) })),
            Err(_) => self.unsettled_added.notify_one(),
        }
        outcome
    }

    fn note(&self, group: &GroupName, entry: Option<Entry>) {
        let mut known = self.known.lock();
        let Known { entries, unsettled } = &mut *known;
        match entry {
            Some(entry) => {
                entries.insert(group.clone(), entry);
                match entry.members {
                    Some(_) => unsettled.remove(group),
                    None => unsettled.insert(group.clone()),
                };
            }
            None => {
                entries.remove(group);
                unsettled.remove(group);
            }
        }
    }

    /// Writes every group again after each new registration and now and then, numbers that have changed, and what
    /// could not be written before. Runs until `shutdown`.
    pub async fn run(&self, shutdown: CancellationToken) {
        let mut registration = self.registration.clone();
        let (mut written_epoch, mut asserted_epoch) = (0, 0);
        let mut counts_due = tokio::time::interval(COUNT_INTERVAL);
        counts_due.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut asserted_at, mut counts) = (Instant::now(), false);
        loop {
            let (registered, epoch) = {
                let now = registration.borrow_and_update();
                (now.registered, now.epoch)
            };
            if registered {
                let round = async {
                    if epoch != written_epoch {
                        self.write_all(Exactness::Number).await;
                    } else if asserted_at.elapsed() >= ASSERT_INTERVAL {
                        asserted_at = Instant::now();
                        self.write_all(Exactness::Rewrite).await;
                    } else if counts {
                        self.write_all(Exactness::Number).await;
                    }
                    let unsettled: Vec<_> = self.known.lock().unsettled.iter().cloned().collect();
                    self.write_each(unsettled, Exactness::Presence).await;
                };
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    () = round => written_epoch = epoch,
                }
                if asserted_epoch != epoch && self.unsettled() == 0 {
                    asserted_epoch = epoch;
                    self.assertion.note(Part::Groups, epoch).await;
                }
            }
            counts = loop {
                let waiting = self.unsettled() > 0;
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    changed = registration.changed() => if changed.is_err() { return } else { break false },
                    () = self.unsettled_added.notified(), if !waiting => {}
                    () = tokio::time::sleep(RETRY_PAUSE), if waiting => break false,
                    _ = counts_due.tick() => break true,
                }
            };
        }
    }

    /// Writes the groups of one shard of the roster after another, so that only their names are held.
    async fn write_all(&self, exactness: Exactness) {
        for shard in 0..self.roster.shard_count() {
            let groups = self.roster.of_shard(shard).into_iter().map(|(group, _)| group);
            let due = groups.filter(|group| !self.holds(group, exactness)).collect();
            self.write_each(due, exactness).await;
        }
    }

    async fn write_each(&self, groups: Vec<GroupName>, exactness: Exactness) {
        futures::stream::iter(groups)
            .for_each_concurrent(WRITES_IN_FLIGHT, |group| async move {
                // What fails is unsettled and comes again.
                let _ = self.write(&group, exactness).await;
            })
            .await;
    }
}

#[cfg(test)]
mod tests {
    use super::{Exactness::*, *};

    #[test]
    fn the_directory_is_written_only_where_it_may_be_wrong() {
        let entry = |epoch, members| Some(Entry { epoch, members });
        // known, members now, exactness -> is it true without a write, at epoch 7
        let cases = [
            (None, 0, Presence, true),
            (None, 0, Rewrite, true),
            (None, 1, Presence, false),
            (entry(7, Some(1)), 1, Presence, true),
            (entry(7, Some(1)), 500, Presence, true),
            (entry(7, Some(1)), 500, Number, false),
            (entry(7, Some(500)), 500, Number, true),
            (entry(7, Some(500)), 500, Rewrite, false),
            (entry(7, Some(1)), 0, Presence, false),
            (entry(6, Some(1)), 1, Presence, false),
            (entry(6, Some(1)), 0, Presence, false),
            (entry(7, None), 1, Presence, false),
            (entry(7, None), 0, Presence, false),
        ];
        for (known, members, exactness, expected) in cases {
            assert_eq!(is_true(known, 7, members, exactness), expected, "{known:?} {members} {exactness:?}");
        }
    }
}
