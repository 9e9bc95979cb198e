//! The members of one group on this node, as a snapshot that any number of readers share.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use super::connection::Connection;
use crate::identity::{ConnectionId, UserId};

/// Members that share a bucket on average when a group grows: what is copied when one comes or goes while a reader
/// holds a snapshot, and what is searched for one member.
const BUCKET: usize = 64;

type Bucket = Vec<Arc<Connection>>;

/// The members of one group on this node. Cloning shares everything; a change copies one bucket, and only while
/// somebody else still reads it.
#[derive(Debug, Clone, Default)]
pub struct GroupMembers {
    buckets: Vec<Arc<Bucket>>,
    count: usize,
}

/// Some of a group's users in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserPage {
    /// Users and their connections in the group, sorted by user.
    pub users: Vec<(UserId, u32)>,
    /// Whether more users follow.
    pub more: bool,
}

impl GroupMembers {
    /// The bucket of a connection. Ids are made by the hub, so nobody can aim them at one bucket.
    fn place(id: ConnectionId, buckets: usize) -> usize {
        let mut hasher = DefaultHasher::new();
        id.hash(&mut hasher);
        // The remainder is below `buckets`.
        usize::try_from(hasher.finish() % (buckets.max(1) as u64)).unwrap_or(0)
    }

    /// Adds a connection that is not there yet.
    pub(super) fn insert(&mut self, connection: Arc<Connection>) {
        if self.count >= self.buckets.len() * BUCKET {
            self.spread((self.buckets.len() * 2).max(1));
        }
        let place = Self::place(connection.id, self.buckets.len());
        if let Some(bucket) = self.buckets.get_mut(place) {
            Arc::make_mut(bucket).push(connection);
            self.count += 1;
        }
    }

    /// Removes a connection; false when it was not there.
    pub(super) fn remove(&mut self, id: ConnectionId) -> bool {
        let place = Self::place(id, self.buckets.len());
        let Some(bucket) = self.buckets.get_mut(place) else { return false };
        let Some(at) = bucket.iter().position(|member| member.id == id) else { return false };
        Arc::make_mut(bucket).swap_remove(at);
        self.count -= 1;
        // Far below the mark at which a group grows, so that one member who comes and goes moves nobody.
        if self.buckets.len() > 1 && self.count * 8 < self.buckets.len() * BUCKET {
            self.spread(self.buckets.len() / 2);
        }
        true
    }

    fn spread(&mut self, buckets: usize) {
        let mut spread: Vec<Bucket> = (0..buckets).map(|_| Vec::new()).collect();
        for member in self.iter() {
            if let Some(bucket) = spread.get_mut(Self::place(member.id, buckets)) {
                bucket.push(Arc::clone(member));
            }
        }
        self.buckets = spread.into_iter().map(Arc::new).collect();
    }

    /// The members in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Connection>> {
        self.buckets.iter().flat_map(|bucket| bucket.iter())
    }

    /// The members in parts of some dozens each.
    pub fn parts(&self) -> impl Iterator<Item = &[Arc<Connection>]> {
        self.buckets.iter().map(|bucket| bucket.as_slice())
    }

    /// Number of members.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The first `most` users behind `after`, with the number of their connections in the group. Memory is bounded
    /// by `most`, whatever the size of the group.
    #[must_use]
    pub fn users_after(&self, after: Option<&UserId>, most: usize) -> UserPage {
        let mut users: BTreeMap<&UserId, u32> = BTreeMap::new();
        let mut more = false;
        for member in self.iter().filter(|member| after.is_none_or(|after| member.user > *after)) {
            *users.entry(&member.user).or_default() += 1;
            if users.len() > most {
                // Whoever falls out here stays out: the last one kept only ever comes earlier.
                users.pop_last();
                more = true;
            }
        }
        UserPage { users: users.into_iter().map(|(user, count)| (user.clone(), count)).collect(), more }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::{collections::HashSet, time::SystemTime};

    use super::*;
    use crate::{identity::ClientId, local::outbound_queue::QueueLimits};

    pub(in crate::local) fn connection(user: &str) -> Arc<Connection> {
        Arc::new(Connection::new(
            ConnectionId::new(ulid::Ulid::from_parts(0, rand::random())),
            UserId::new(user).unwrap(),
            ClientId::new("phone").unwrap(),
            "127.0.0.1:1".into(),
            SystemTime::UNIX_EPOCH,
            QueueLimits { bytes: 1 << 20, messages: 1 << 20 },
        ))
    }

    #[test]
    fn thousands_come_and_go_and_each_is_found_once() {
        let everyone: Vec<_> = (0..3000).map(|n| connection(&format!("u{n}"))).collect();
        let mut members = GroupMembers::default();
        for member in &everyone {
            members.insert(Arc::clone(member));
        }
        let ids: HashSet<_> = members.iter().map(|member| member.id).collect();
        assert_eq!((members.len(), ids.len()), (3000, 3000));
        assert_eq!(members.parts().map(<[_]>::len).sum::<usize>(), 3000);
        let largest = members.parts().map(<[_]>::len).max().unwrap();
        assert!(largest < BUCKET * 2, "buckets stay small: {largest}");
        for member in &everyone[..2990] {
            assert!(members.remove(member.id) && !members.remove(member.id));
        }
        assert_eq!(members.iter().map(|member| member.id).collect::<HashSet<_>>().len(), 10);
        assert!(members.parts().count() <= 2, "an emptied group gives its memory back");
    }

    #[test]
    fn a_snapshot_does_not_change_and_shares_what_has_not() {
        let mut members = GroupMembers::default();
        for n in 0..500 {
            members.insert(connection(&format!("u{n}")));
        }
        let snapshot = members.clone();
        let gone = Arc::clone(members.iter().next().unwrap());
        members.remove(gone.id);
        assert_eq!((snapshot.len(), members.len()), (500, 499));
        assert!(snapshot.iter().any(|member| member.id == gone.id));
        let shared = snapshot.buckets.iter().zip(&members.buckets).filter(|(a, b)| Arc::ptr_eq(a, b)).count();
        assert_eq!(shared, snapshot.buckets.len() - 1, "only the changed bucket was copied");
    }

    #[test]
    fn users_come_in_pages_with_all_of_their_connections() {
        let mut members = GroupMembers::default();
        for n in (0..100).rev() {
            for _ in 0..=(n % 3) {
                members.insert(connection(&format!("u{n:03}")));
            }
        }
        let mut seen = Vec::new();
        let mut after = None;
        loop {
            let page = members.users_after(after.as_ref(), 7);
            assert!(page.users.len() <= 7);
            after = page.users.last().map(|(user, _)| user.clone());
            seen.extend(page.users);
            if !page.more {
                break;
            }
        }
        let expected: Vec<_> =
            (0..100).map(|n| (UserId::new(format!("u{n:03}")).unwrap(), n % 3 + 1)).collect();
        assert_eq!(seen, expected);
        assert_eq!(members.users_after(after.as_ref(), 7), UserPage::default());
    }
}
