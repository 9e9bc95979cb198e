//! All connections of this node, found by user.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use ahash::RandomState;
use parking_lot::RwLock;

use super::connection::Connection;
use crate::identity::UserId;

/// Locks over the table: enough that senders on all cores of a large machine seldom meet.
const SHARDS: usize = 64;

type Shard = RwLock<HashMap<UserId, Vec<Arc<Connection>>, RandomState>>;

/// All connections of this node.
#[derive(Debug)]
pub struct ConnectionTable {
    shards: Box<[Shard]>,
    hasher: RandomState,
    connections: AtomicUsize,
}

impl Default for ConnectionTable {
    fn default() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
            hasher: RandomState::new(),
            connections: AtomicUsize::new(0),
        }
    }
}

impl ConnectionTable {
    fn shard(&self, user: &UserId) -> &Shard {
        let place = self.hasher.hash_one(user) % (SHARDS as u64);
        // SHARDS is far below usize::MAX, so is the remainder.
        &self.shards[usize::try_from(place).unwrap_or(0)]
    }

    /// Adds a connection.
    pub fn insert(&self, connection: Arc<Connection>) {
        let mut shard = self.shard(&connection.user).write();
        shard.entry(connection.user.clone()).or_default().push(connection);
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    /// Removes a connection; returns whether it was there.
    pub fn remove(&self, connection: &Connection) -> bool {
        let mut shard = self.shard(&connection.user).write();
        let Some(of_user) = shard.get_mut(&connection.user) else { return false };
        let before = of_user.len();
        of_user.retain(|other| other.id != connection.id);
        let removed = of_user.len() < before;
        if of_user.is_empty() {
            shard.remove(&connection.user);
        }
        if removed {
            self.connections.fetch_sub(1, Ordering::Relaxed);
        }
        removed
    }

    /// Calls `each` with every connection of the user, under the shard's lock: `each` must be quick and must not
    /// come back to the table. Returns their number.
    pub fn for_user(&self, user: &UserId, mut each: impl FnMut(&Arc<Connection>)) -> u32 {
        let shard = self.shard(user).read();
        let of_user = shard.get(user).map_or(&[][..], Vec::as_slice);
        of_user.iter().for_each(&mut each);
        u32::try_from(of_user.len()).unwrap_or(u32::MAX)
    }

    /// The user's connections, oldest first.
    #[must_use]
    pub fn of_user(&self, user: &UserId) -> Vec<Arc<Connection>> {
        self.shard(user).read().get(user).cloned().unwrap_or_default()
    }

    /// Calls `each` with every connection of one shard, under the shard's lock: `each` must be quick and must not come
    /// back to the table. Returns their number. `shard` is below [`ConnectionTable::shard_count`].
    pub fn for_shard(&self, shard: usize, mut each: impl FnMut(&Arc<Connection>)) -> u32 {
        let Some(shard) = self.shards.get(shard) else { return 0 };
        let mut count = 0u32;
        for connection in shard.read().values().flatten() {
            each(connection);
            count = count.saturating_add(1);
        }
        count
    }

    /// The connections of one shard, copied so that nobody waits while they are worked on. `shard` is below
    /// [`ConnectionTable::shard_count`].
    #[must_use]
    pub fn of_shard(&self, shard: usize) -> Vec<Arc<Connection>> {
        self.shards
            .get(shard)
            .map_or_else(Vec::new, |shard| shard.read().values().flatten().cloned().collect())
    }

    /// How many shards there are.
    #[must_use]
    pub fn shard_count(&self) -> usize {
        self.shards.len()
    }

    /// All connections, copied.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Connection>> {
        (0..self.shard_count()).flat_map(|shard| self.of_shard(shard)).collect()
    }

    /// Bytes that wait in the largest queue. Asks every queue, shard by shard.
    #[must_use]
    pub fn largest_queue(&self) -> usize {
        let largest = |shard: usize| self.of_shard(shard).iter().map(|c| c.queue.held()).max();
        (0..self.shard_count()).filter_map(largest).max().unwrap_or(0)
    }

    /// Number of connections.
    #[must_use]
    pub fn len(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of users with at least one connection.
    #[must_use]
    pub fn users(&self) -> usize {
        self.shards.iter().map(|shard| shard.read().len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::{
        identity::{ClientId, ConnectionId},
        local::outbound_queue::QueueLimits,
    };

    fn connection(user: &str) -> Arc<Connection> {
        Arc::new(Connection::new(
            ConnectionId::new(ulid::Ulid::from_parts(0, rand::random())),
            UserId::new(user).unwrap(),
            ClientId::new("phone").unwrap(),
            "127.0.0.1:1".into(),
            SystemTime::UNIX_EPOCH,
            QueueLimits { bytes: 1, messages: 1 },
        ))
    }

    #[test]
    fn connections_are_counted_found_and_removed_once() {
        let table = ConnectionTable::default();
        let (first, second, other) = (connection("alice"), connection("alice"), connection("bob"));
        for connection in [&first, &second, &other] {
            table.insert(Arc::clone(connection));
        }
        assert_eq!((table.len(), table.users(), table.all().len()), (3, 2, 3));
        assert_eq!(
            table.of_user(&first.user).iter().map(|c| c.id).collect::<Vec<_>>(),
            [first.id, second.id]
        );
        assert!(table.remove(&first) && !table.remove(&first));
        assert!(table.remove(&second));
        assert_eq!((table.len(), table.users()), (1, 1));
        assert_eq!(table.for_user(&first.user, |_| unreachable!()), 0);
    }
}
