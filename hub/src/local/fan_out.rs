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
        for connection in table.of_shard(shard) {
            fan_out.found += 1;
            fan_out.count(connection.queue.push(frame.clone(), tally.as_ref().map(DeliveryTally::receipt)));
        }
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
