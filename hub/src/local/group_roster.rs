//! Which connections of this node are in which group.

use std::{
    collections::HashMap,
    hash::BuildHasher,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use parking_lot::RwLock;

use super::{
    connection::Connection,
    group_members::GroupMembers,
    memberships::{JoinRefused, JoinedBy},
};
use crate::identity::GroupName;

/// Locks over the groups: enough that senders on all cores of a large machine seldom meet.
const SHARDS: usize = 64;

type Shard = RwLock<HashMap<GroupName, Arc<GroupMembers>>>;

/// Which connections of this node are in which group. A reader takes a snapshot and holds no lock while it fans out.
///
/// Locks are taken in one order: a connection's own list, then the group's shard.
#[derive(Debug)]
pub struct GroupRoster {
    shards: Box<[Shard]>,
    hasher: std::collections::hash_map::RandomState,
    groups: AtomicUsize,
    memberships: AtomicUsize,
}

impl Default for GroupRoster {
    fn default() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
            hasher: std::collections::hash_map::RandomState::new(),
            groups: AtomicUsize::new(0),
            memberships: AtomicUsize::new(0),
        }
    }
}

impl GroupRoster {
    fn shard(&self, group: &GroupName) -> &Shard {
        let place = self.hasher.hash_one(group) % (SHARDS as u64);
        // SHARDS is far below usize::MAX, so is the remainder.
        &self.shards[usize::try_from(place).unwrap_or(0)]
    }

    /// Makes a connection a member; false when it is one already. `most`: groups one connection may be in.
    ///
    /// # Errors
    /// [`JoinRefused`]; nothing has changed then.
    pub fn join(
        &self,
        connection: &Arc<Connection>,
        group: &GroupName,
        by: JoinedBy,
        most: usize,
    ) -> Result<bool, JoinRefused> {
        // Held until the roster has it too, so that the connection's end either comes before or finds it.
        let mut joined = connection.groups.0.lock();
        if !joined.add(group, by, most)? {
            return Ok(false);
        }
        let mut shard = self.shard(group).write();
        let members = shard.entry(group.clone()).or_insert_with(|| {
            self.groups.fetch_add(1, Ordering::Relaxed);
            Arc::default()
        });
        Arc::make_mut(members).insert(Arc::clone(connection));
        self.memberships.fetch_add(1, Ordering::Relaxed);
        Ok(true)
    }

    /// Ends a membership; false when there was none.
    pub fn leave(&self, connection: &Connection, group: &GroupName) -> bool {
        let mut joined = connection.groups.0.lock();
        let was_in = joined.remove(group);
        if was_in {
            self.strike(connection, group);
        }
        was_in
    }

    /// Ends all memberships of a connection that ends, and lets no new one begin. Returns the groups it was in.
    pub fn end(&self, connection: &Connection) -> Vec<GroupName> {
        let mut joined = connection.groups.0.lock();
        let groups = joined.end();
        for group in &groups {
            self.strike(connection, group);
        }
        groups
    }

    /// Takes a connection off a group's list, and the group off when it was the last.
    fn strike(&self, connection: &Connection, group: &GroupName) {
        let mut shard = self.shard(group).write();
        let Some(members) = shard.get_mut(group) else { return };
        if Arc::make_mut(members).remove(connection.id) {
            self.memberships.fetch_sub(1, Ordering::Relaxed);
        }
        if members.is_empty() {
            shard.remove(group);
            self.groups.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// The members now, as a snapshot; none when nobody here is in the group.
    #[must_use]
    pub fn members(&self, group: &GroupName) -> Option<Arc<GroupMembers>> {
        self.shard(group).read().get(group).map(Arc::clone)
    }

    /// Number of connections of this node in the group.
    #[must_use]
    pub fn count(&self, group: &GroupName) -> u32 {
        let count = self.shard(group).read().get(group).map_or(0, |members| members.len());
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// The groups of one shard with their counts. `shard` is below [`GroupRoster::shard_count`].
    #[must_use]
    pub fn of_shard(&self, shard: usize) -> Vec<(GroupName, u32)> {
        let counted = |(group, members): (&GroupName, &Arc<GroupMembers>)| {
            (group.clone(), u32::try_from(members.len()).unwrap_or(u32::MAX))
        };
        self.shards.get(shard).map_or_else(Vec::new, |shard| shard.read().iter().map(counted).collect())
    }

    /// How many shards there are.
    #[must_use]
    pub fn shard_count(&self) -> usize {
        self.shards.len()
    }

    /// Groups with at least one member here.
    #[must_use]
    pub fn groups(&self) -> usize {
        self.groups.load(Ordering::Relaxed)
    }

    /// Memberships of all connections here.
    #[must_use]
    pub fn memberships(&self) -> usize {
        self.memberships.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::group_members::tests::connection, *};
    use crate::{local::group_fan_out, protocol::wire_frame::WireFrame};

    const MOST: usize = 128;

    fn name(text: &str) -> GroupName {
        GroupName::new(text).unwrap()
    }

    #[test]
    fn members_come_go_and_take_their_group_along() {
        let roster = GroupRoster::default();
        let (room, hall) = (name("room"), name("hall"));
        let (alice, bob) = (connection("alice"), connection("bob"));
        assert_eq!(roster.join(&alice, &room, JoinedBy::Grant, MOST), Ok(true));
        assert_eq!(roster.join(&alice, &room, JoinedBy::Grant, MOST), Ok(false));
        assert_eq!(roster.join(&bob, &room, JoinedBy::Api, MOST), Ok(true));
        assert_eq!(roster.join(&bob, &hall, JoinedBy::Api, 1), Err(JoinRefused::TooMany(1)));
        assert_eq!((roster.groups(), roster.memberships(), roster.count(&room)), (1, 2, 2));
        assert!(roster.leave(&alice, &room) && !roster.leave(&alice, &room));
        assert_eq!(roster.end(&bob), std::slice::from_ref(&room));
        assert_eq!(roster.join(&bob, &hall, JoinedBy::Api, MOST), Err(JoinRefused::Ended));
        assert_eq!((roster.groups(), roster.memberships(), roster.count(&room)), (0, 0, 0));
        assert!(roster.members(&room).is_none());
        assert!((0..roster.shard_count()).all(|shard| roster.of_shard(shard).is_empty()));
    }

    #[test]
    fn a_fan_out_under_joins_and_leaves_reaches_each_lasting_member_once() {
        let roster = Arc::new(GroupRoster::default());
        let room = name("room");
        let lasting: Vec<_> = (0..200).map(|n| connection(&format!("stays-{n}"))).collect();
        for member in &lasting {
            roster.join(member, &room, JoinedBy::Grant, MOST).unwrap();
        }
        let crowd: Vec<_> = (0..4)
            .map(|thread| {
                let (roster, room) = (Arc::clone(&roster), room.clone());
                std::thread::spawn(move || {
                    for round in 0..200 {
                        let guest = connection(&format!("guest-{thread}-{round}"));
                        roster.join(&guest, &room, JoinedBy::Grant, MOST).unwrap();
                        if round % 2 == 0 {
                            assert!(roster.leave(&guest, &room));
                        } else {
                            assert_eq!(roster.end(&guest).len(), 1);
                        }
                    }
                })
            })
            .collect();
        let frame = WireFrame::new("{}".to_owned());
        for _ in 0..100 {
            let members = roster.members(&room).unwrap();
            let fan_out = group_fan_out::to_members(&members, &frame, None, false);
            assert!(fan_out.found >= 200 && fan_out.found <= 204, "{}", fan_out.found);
        }
        for thread in crowd {
            thread.join().unwrap();
        }
        for member in &lasting {
            assert_eq!(member.queue.depth().0, 100, "each frame once");
        }
        assert_eq!((roster.groups(), roster.memberships(), roster.count(&room)), (1, 200, 200));
    }
}
