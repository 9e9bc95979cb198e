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
            member.activity.touch();
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

#[cfg(test)]
mod tests {
    use std::{collections::VecDeque, task::Context};

    use futures::{FutureExt, task::noop_waker_ref};

    use super::*;
    use crate::{
        identity::GroupName,
        local::{
            delivery_tally::Receipt, group_members::tests::connection, group_roster::GroupRoster,
            memberships::JoinedBy, outbound_queue::Outbound,
        },
    };

    /// Takes what is queued for each member and confirms it, as sessions do.
    fn drain(members: &[Arc<Connection>], taken: &mut [VecDeque<Outbound>]) {
        let mut cx = Context::from_waker(noop_waker_ref());
        for (member, taken) in members.iter().zip(taken) {
            assert!(member.queue.poll_take(&mut cx, taken).is_ready());
            taken.drain(..).filter_map(|outbound| outbound.receipt).for_each(Receipt::written);
            assert!(member.queue.poll_take(&mut cx, taken).is_pending());
        }
    }

    /// Allocations of one frame to a group of `count`, from the look at the roster until all have it, once their
    /// queues have been used.
    fn allocations(count: usize, confirm: bool) -> u64 {
        let (roster, room) = (GroupRoster::default(), GroupName::new("room").unwrap());
        let frame = WireFrame::new("x".repeat(128));
        let members: Vec<_> = (0..count).map(|n| connection(&format!("user-{n}"))).collect();
        for member in &members {
            roster.join(member, &room, JoinedBy::Grant, 1).unwrap();
        }
        let sender = connection("sender");
        roster.join(&sender, &room, JoinedBy::Grant, 1).unwrap();
        let mut taken: Vec<VecDeque<Outbound>> = (0..count).map(|_| VecDeque::new()).collect();
        let mut once = || {
            let measured = allocation_counter::measure(|| {
                let snapshot = roster.members(&room).unwrap();
                let fan_out = to_members(&snapshot, &frame, Some(sender.id), confirm);
                drain(&members, &mut taken);
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
    fn a_member_of_a_group_costs_no_allocation() {
        for (confirm, at_all) in [(false, 0), (true, 1)] {
            for count in [500, 1000] {
                assert_eq!(allocations(count, confirm), at_all, "{count} members, confirm {confirm}");
            }
        }
    }
}
