//! Puts one frame into the queues of all connections, a few at a time.

use std::sync::Arc;

use super::{
    connection::Connection,
    connection_table::ConnectionTable,
    delivery_tally::{DeliveryTally, Settled},
};
use crate::{identity::UserId, protocol::wire_frame::WireFrame};

/// A walk over all connections of a node. One that is there from beginning to end gets the frame once; one that comes or
/// goes meanwhile gets it once or not at all. No lock is held between two steps.
#[derive(Debug)]
pub struct BroadcastWalk {
    table: Arc<ConnectionTable>,
    frame: WireFrame,
    /// Sorted.
    excluded: Vec<UserId>,
    tally: Option<DeliveryTally>,
    next_shard: usize,
    connections: std::vec::IntoIter<Arc<Connection>>,
}

impl BroadcastWalk {
    /// A walk that has not begun. `excluded` is sorted; `confirm`: whether [`BroadcastWalk::finish`] is to say how many
    /// frames reached the kernel.
    #[must_use]
    pub fn new(table: Arc<ConnectionTable>, frame: WireFrame, excluded: Vec<UserId>, confirm: bool) -> Self {
        let tally = confirm.then(DeliveryTally::new);
        Self { table, frame, excluded, tally, next_shard: 0, connections: Vec::new().into_iter() }
    }

    /// Visits at most `most` connections; false when none is left.
    pub fn step(&mut self, most: usize) -> bool {
        for _ in 0..most {
            let Some(connection) = self.next() else { return false };
            if self.excluded.binary_search(&connection.user).is_err() {
                let receipt = self.tally.as_ref().map(DeliveryTally::receipt);
                // A queue that is full or closing ends its connection; the receipt says that nothing was written.
                let _ = connection.queue.push(self.frame.clone(), receipt);
            }
        }
        true
    }

    fn next(&mut self) -> Option<Arc<Connection>> {
        loop {
            if let Some(connection) = self.connections.next() {
                return Some(connection);
            }
            if self.next_shard >= self.table.shard_count() {
                return None;
            }
            self.connections = self.table.of_shard(self.next_shard).into_iter();
            self.next_shard += 1;
        }
    }

    /// Ends the walk; waits for the frames that were queued, when it was asked for.
    #[must_use]
    pub fn finish(self) -> Option<Settled> {
        self.tally.map(DeliveryTally::settled)
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

    #[test]
    fn every_connection_gets_the_frame_once_except_those_left_out() {
        let table = Arc::new(ConnectionTable::default());
        for n in 0..300u128 {
            let user = UserId::new(format!("user-{}", n % 100)).unwrap();
            let id = ConnectionId::new(ulid::Ulid::from_parts(0, n));
            let client = ClientId::new("phone").unwrap();
            let limits = QueueLimits { bytes: 1000, messages: 10 };
            let at = SystemTime::UNIX_EPOCH;
            table.insert(Arc::new(Connection::new(id, user, client, String::new(), at, limits)));
        }
        let excluded = vec![UserId::new("nobody").unwrap(), UserId::new("user-7").unwrap()];
        let frame = WireFrame::new("{}".to_owned());
        let mut walk = BroadcastWalk::new(Arc::clone(&table), frame, excluded, true);
        let mut steps = 1;
        while walk.step(64) {
            steps += 1;
        }
        assert_eq!(steps, 5, "300 connections, 64 at a time");
        for connection in table.all() {
            let expected = usize::from(connection.user.as_str() != "user-7");
            assert_eq!(connection.queue.depth().0, expected, "{}", connection.user);
        }
        assert_eq!(walk.finish().unwrap().open(), 297);
    }
}
