//! Puts one frame into the queues of a group's members.

use std::sync::Arc;

use super::{
    connection::Connection, delivery_tally::DeliveryTally, fan_out::FanOut, group_members::GroupMembers,
};
use crate::{identity::ConnectionId, protocol::wire_frame::WireFrame};

/// A fan-out that can be done in parts, so that other work gets its turn between them.
#[derive(Debug)]
pub struct GroupFanOut<'a> {
    frame: &'a WireFrame,
    except: Option<ConnectionId>,
    tally: Option<DeliveryTally>,
    so_far: FanOut,
}

impl<'a> GroupFanOut<'a> {
    /// Nothing queued yet. `except` is the connection that sent the frame and gets no copy; `confirm`: whether
    /// somebody waits for the sockets.
    #[must_use]
    pub fn new(frame: &'a WireFrame, except: Option<ConnectionId>, confirm: bool) -> Self {
        Self { frame, except, tally: confirm.then(DeliveryTally::new), so_far: FanOut::default() }
    }

    /// Queues the frame for some members; allocates nothing of its own.
    pub fn add(&mut self, members: &[Arc<Connection>]) {
        for member in members.iter().filter(|member| Some(member.id) != self.except) {
            self.so_far.found += 1;
            let receipt = self.tally.as_ref().map(DeliveryTally::receipt);
            self.so_far.count(member.queue.push(self.frame.clone(), receipt));
        }
    }

    /// What became of the frame.
    #[must_use]
    pub fn finish(mut self) -> FanOut {
        self.so_far.settled = self.tally.map(DeliveryTally::settled);
        self.so_far
    }
}

/// Queues a frame for all members of a snapshot but one, in one go.
#[must_use]
pub fn to_members(
    members: &GroupMembers,
    frame: &WireFrame,
    except: Option<ConnectionId>,
    confirm: bool,
) -> FanOut {
    let mut fan_out = GroupFanOut::new(frame, except, confirm);
    for part in members.parts() {
        fan_out.add(part);
    }
    fan_out.finish()
}
