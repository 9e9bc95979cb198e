//! Which connections have been idle for longest.

use std::{cmp::Reverse, sync::Arc};

use super::{connection::Connection, connection_table::ConnectionTable};
use crate::identity::ConnectionId;

/// The connections that are open, by how long they have been idle.
#[derive(Debug, Default)]
pub struct IdleOrder {
    /// The most idle one last, so that it is taken first.
    next: Vec<Arc<Connection>>,
    open: usize,
}

impl IdleOrder {
    /// Looks at all connections and keeps the `most` that have been idle for longest; of equals those that are older.
    /// Connections that are being closed are left out. Locks one part of the table at a time.
    #[must_use]
    pub fn of(table: &ConnectionTable, most: usize) -> Self {
        type Idle = (u64, ConnectionId);
        let mut open: Vec<(Idle, Arc<Connection>)> = Vec::with_capacity(table.len());
        for shard in 0..table.shard_count() {
            table.for_shard(shard, |connection| {
                if connection.queue.closing().is_none() {
                    open.push(((connection.activity.last_used(), connection.id), Arc::clone(connection)));
                }
            });
        }
        let count = open.len();
        if most < count && most > 0 {
            open.select_nth_unstable_by_key(most - 1, |(idle, _)| *idle);
        }
        open.truncate(most);
        open.sort_unstable_by_key(|(idle, _)| Reverse(*idle));
        Self { next: open.into_iter().map(|(_, connection)| connection).collect(), open: count }
    }

    /// Connections that were open when it was looked, the kept ones included.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open
    }

    /// Whether all that were kept are taken.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.next.is_empty()
    }

    /// Takes the most idle one.
    pub fn take(&mut self) -> Option<Arc<Connection>> {
        let taken = self.next.pop();
        self.open -= usize::from(taken.is_some());
        taken
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::{
        identity::{ClientId, UserId},
        local::outbound_queue::QueueLimits,
        protocol::close_reason::CloseReason,
    };

    fn table(last_used: &[u64]) -> ConnectionTable {
        let table = ConnectionTable::default();
        for (number, at) in last_used.iter().enumerate() {
            let connection = Connection::new(
                ConnectionId::new(ulid::Ulid::from_parts(number as u64, 0)),
                UserId::new(format!("u{number}")).unwrap(),
                ClientId::new("phone").unwrap(),
                "127.0.0.1:1".into(),
                SystemTime::UNIX_EPOCH,
                QueueLimits { bytes: 1, messages: 1 },
            );
            connection.activity.begin(*at);
            table.insert(Arc::new(connection));
        }
        table
    }

    fn users(mut order: IdleOrder) -> Vec<String> {
        std::iter::from_fn(|| order.take()).map(|connection| connection.user.to_string()).collect()
    }

    #[test]
    fn the_most_idle_come_first_and_of_equals_the_older() {
        let table = table(&[50, 10, 30, 10, 40]);
        assert_eq!(users(IdleOrder::of(&table, 10)), ["u1", "u3", "u2", "u4", "u0"]);
        assert_eq!(users(IdleOrder::of(&table, 2)), ["u1", "u3"]);
        assert_eq!(users(IdleOrder::of(&table, 5)).len(), 5);
        assert!(users(IdleOrder::of(&table, 0)).is_empty());
        for connection in table.all() {
            if connection.user.as_str() == "u1" {
                connection.activity.touch();
            }
            if connection.user.as_str() == "u3" {
                connection.queue.close(CloseReason::Restart);
            }
        }
        let mut order = IdleOrder::of(&table, 2);
        assert_eq!(order.open(), 4);
        assert_eq!(order.take().map(|connection| connection.user.to_string()).as_deref(), Some("u2"));
        assert_eq!((order.open(), order.is_empty()), (3, false));
        assert_eq!(users(IdleOrder::of(&table, 9)).last().map(String::as_str), Some("u1"), "in use now");
    }
}
