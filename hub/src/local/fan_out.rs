//! Puts one frame into the queues of many connections.

use super::{
    connection_table::ConnectionTable,
    delivery_tally::{DeliveryTally, Settled},
    outbound_queue::Refused,
};
use crate::{
    identity::UserId,
    protocol::{close_reason::CloseReason, wire_frame::WireFrame},
};

/// What became of one frame on this node.
#[derive(Debug, Default)]
pub struct FanOut {
    /// Connections found.
    pub found: u32,
    /// Queues that took it.
    pub queued: u32,
    /// Connections that are now being closed because their queue was full.
    pub full: u32,
    /// Resolves to the number of frames that reached the kernel; only when it was asked for.
    pub settled: Option<Settled>,
}

impl FanOut {
    pub(super) fn count(&mut self, outcome: Result<(), Refused>) {
        match outcome {
            Ok(()) => self.queued += 1,
            Err(Refused::Full) => self.full += 1,
            Err(Refused::Closed) => {}
        }
    }
}

/// Queues a frame for every connection of a user.
#[must_use]
pub fn to_user(table: &ConnectionTable, user: &UserId, frame: &WireFrame, confirm: bool) -> FanOut {
    let tally = confirm.then(DeliveryTally::new);
    let mut fan_out = FanOut::default();
    fan_out.found = table.for_user(user, |connection| {
        connection.activity.touch();
        fan_out.count(connection.queue.push(frame.clone(), tally.as_ref().map(DeliveryTally::receipt)));
    });
    fan_out.settled = tally.map(DeliveryTally::settled);
    fan_out
}

/// Queues a frame for every connection of this node.
#[must_use]
pub fn to_all(table: &ConnectionTable, frame: &WireFrame, confirm: bool) -> FanOut {
    let tally = confirm.then(DeliveryTally::new);
    let mut fan_out = FanOut::default();
    for shard in 0..table.shard_count() {
        let found = table.for_shard(shard, |connection| {
            fan_out.count(connection.queue.push(frame.clone(), tally.as_ref().map(DeliveryTally::receipt)));
        });
        fan_out.found = fan_out.found.saturating_add(found);
    }
    fan_out.settled = tally.map(DeliveryTally::settled);
    fan_out
}

/// Closes every connection of a user, after a notice if one is given. Returns how many were open until now.
pub fn close_user(
    table: &ConnectionTable,
    user: &UserId,
    notice: Option<&WireFrame>,
    reason: &CloseReason,
) -> u32 {
    let mut closed = 0;
    table.for_user(user, |connection| {
        closed += u32::from(connection.queue.close_with(notice.cloned(), reason.clone()));
    });
    closed
}

#[cfg(test)]
mod tests {
    use std::{collections::VecDeque, sync::Arc, task::Context, time::SystemTime};

    use futures::{FutureExt, task::noop_waker_ref};

    use super::*;
    use crate::{
        identity::{ClientId, ConnectionId},
        local::{
            connection::Connection,
            delivery_tally::Receipt,
            outbound_queue::{Outbound, QueueLimits},
        },
    };

    /// Connections of one user, and their users' sessions: each takes what is queued and confirms it.
    struct Crowd {
        table: ConnectionTable,
        taken: Vec<VecDeque<Outbound>>,
    }

    impl Crowd {
        fn new(user: &UserId, count: usize) -> Self {
            let table = ConnectionTable::default();
            for n in 0..count {
                table.insert(Arc::new(Connection::new(
                    ConnectionId::new(ulid::Ulid::from_parts(0, n as u128)),
                    user.clone(),
                    ClientId::new("phone").unwrap(),
                    "127.0.0.1:1".into(),
                    SystemTime::UNIX_EPOCH,
                    QueueLimits { bytes: 1 << 20, messages: 100 },
                )));
            }
            Self { table, taken: (0..count).map(|_| VecDeque::new()).collect() }
        }

        fn drain(&mut self, user: &UserId) {
            let mut cx = Context::from_waker(noop_waker_ref());
            let mut taken = self.taken.iter_mut();
            self.table.for_user(user, |connection| {
                let taken = taken.next().unwrap();
                assert!(connection.queue.poll_take(&mut cx, taken).is_ready());
                taken.drain(..).filter_map(|outbound| outbound.receipt).for_each(Receipt::written);
                assert!(connection.queue.poll_take(&mut cx, taken).is_pending());
            });
        }
    }

    /// Allocations of one send to `count` connections, once their queues have been used.
    fn allocations(count: usize, send: impl Fn(&ConnectionTable, &UserId, &WireFrame) -> FanOut) -> u64 {
        let user = UserId::new("alice").unwrap();
        let frame = WireFrame::new("x".repeat(128));
        let mut crowd = Crowd::new(&user, count);
        let mut once = || {
            let measured = allocation_counter::measure(|| {
                let fan_out = send(&crowd.table, &user, &frame);
                crowd.drain(&user);
                let expected = u32::try_from(count).unwrap();
                assert_eq!((fan_out.found, fan_out.queued), (expected, expected));
                if let Some(settled) = fan_out.settled {
                    assert_eq!(settled.now_or_never(), Some(expected));
                }
            });
            measured.count_total
        };
        // A queue and its session's hand each keep room from the first frame they have seen.
        once();
        once();
        once()
    }

    #[test]
    fn a_recipient_costs_no_allocation() {
        for (confirm, at_all) in [(false, 0), (true, 1)] {
            for count in [500, 1000] {
                let to_user = allocations(count, |table, user, frame| to_user(table, user, frame, confirm));
                let to_all = allocations(count, |table, _, frame| to_all(table, frame, confirm));
                assert_eq!((to_user, to_all), (at_all, at_all), "{count} recipients, confirm {confirm}");
            }
        }
    }
}
