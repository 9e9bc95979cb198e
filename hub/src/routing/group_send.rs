//! A message for a group.

use std::time::{Duration, Instant, SystemTime};

use futures::{FutureExt, future};

use super::{
    ports::{Answer, DirectoryError, GroupNodes, Handling},
    router::{Router, rfc3339},
    tally::Outcome,
};
use crate::{
    identity::{ConnectionId, GroupName, NodeInstance, UserId},
    local::group_fan_out::{self, GroupFanOut},
    protocol::{
        envelope::{Envelope, Kind, ReportStatus},
        group_payload::GroupFrame,
        message::{Message, SendOptions, Wait},
        send_result::{BroadcastResult, BroadcastStatus},
        server_frame::{self, Outgoing},
        wire_frame::WireFrame,
    },
};

/// How long this node's sockets may take before what was written so far is counted: one stalled member must not hold
/// the answer for all. The other nodes do the same.
const PATIENCE: Duration = Duration::from_secs(1);
/// Members served before other tasks get their turn.
const MEMBERS_PER_TURN: usize = 1024;

/// The connection that sends to a group.
#[derive(Debug, Clone, Copy)]
pub struct GroupSender<'a> {
    /// Who.
    pub user: &'a UserId,
    /// Gets no copy of its own frame; the user's other connections do.
    pub connection: ConnectionId,
}

/// The other nodes that may have members of a group.
pub(super) struct Others {
    /// Sorted, each once.
    pub(super) nodes: Vec<NodeInstance>,
    /// Why there may be more.
    pub(super) doubt: Option<Doubt>,
}

/// Why the nodes with members of a group are not known for certain.
pub(super) enum Doubt {
    /// The registry cannot be asked, so nobody can be reached either.
    Away(DirectoryError),
    /// The registry lost its data or is new, and is being filled again.
    NotWhole,
}

/// What is known when a group send ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Tally {
    waited: bool,
    /// Members may be elsewhere too.
    doubtful: bool,
    expected: u32,
    answered: u32,
}

impl Tally {
    /// The one word that is true of it. Pure.
    fn status(self) -> BroadcastStatus {
        if self.doubtful || (self.waited && self.answered < self.expected) {
            BroadcastStatus::Partial
        } else if self.waited {
            BroadcastStatus::Complete
        } else {
            BroadcastStatus::Accepted
        }
    }
}

impl Router {
    /// Sends a message to the members of a group on all nodes, each at most once. `sender` is none for the backend.
    pub async fn send_to_group(
        &self,
        sender: Option<GroupSender<'_>>,
        group: &GroupName,
        message: &Message,
        options: &SendOptions,
    ) -> BroadcastResult {
        let accepted = Instant::now();
        let id = self.next_message_id().to_string();
        let create_at = rfc3339(SystemTime::now());
        let outgoing = Outgoing {
            id: &id,
            sender: sender.map(|sender| sender.user),
            receiver: None,
            group: Some(group),
            create_at: &create_at,
            ack: None,
        };
        let frame = server_frame::message(message, &outgoing);
        let waited = options.wait != Wait::None;

        let local = self.group_here(sender, group, &frame, waited, options.timeout);
        let remote = async {
            let Others { nodes, doubt } = self.other_group_nodes(group, options.timeout).await;
            if matches!(doubt, Some(Doubt::Away(_))) {
                return (nodes, Vec::new(), doubt);
            }
            let left = options.timeout.saturating_sub(accepted.elapsed());
            let answers = self.group_there(&nodes, group, &frame, waited, left).await;
            (nodes, answers, doubt)
        };
        let ((here, local_connections), (others, answers, doubt)) = future::join(local, remote).await;

        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let own = u32::from(here || matches!(doubt, Some(Doubt::Away(_))));
        let confirmed = count(answers.iter().flatten().count());
        let tally = Tally {
            waited,
            // With nobody waiting, an envelope that could not be queued is certainly lost.
            doubtful: doubt.is_some() || (!waited && answers.iter().any(Option::is_none)),
            expected: count(others.len()).saturating_add(own),
            answered: if waited { confirmed.saturating_add(own) } else { 0 },
        };
        let connections = answers.into_iter().flatten().fold(local_connections, u32::saturating_add);
        BroadcastResult {
            id,
            status: tally.status(),
            nodes_expected: tally.expected,
            nodes_answered: tally.answered,
            connections,
        }
    }

    /// Queues the frame for the members here. Returns whether there were any, and how many got it.
    async fn group_here(
        &self,
        sender: Option<GroupSender<'_>>,
        group: &GroupName,
        frame: &WireFrame,
        waited: bool,
        timeout: Duration,
    ) -> (bool, u32) {
        let Some(members) = self.groups.roster().members(group) else { return (false, 0) };
        let mut fan_out = GroupFanOut::new(frame, sender.map(|sender| sender.connection), waited);
        let mut served = 0;
        for part in members.parts() {
            fan_out.add(part);
            served += part.len();
            if served >= MEMBERS_PER_TURN {
                served = 0;
                tokio::task::yield_now().await;
            }
        }
        let fan_out = fan_out.finish();
        let here = fan_out.found > 0;
        match fan_out.settled {
            Some(settled) => match super::dispatch::confirmed(settled, timeout.min(PATIENCE)).await {
                Outcome::Reached(connections) => (here, connections),
                _ => (here, 0),
            },
            None => (here, 0),
        }
    }

    /// The other nodes with members. When the registry is away those last known to live; when it is not whole, these
    /// besides those that it names.
    pub(super) async fn other_group_nodes(&self, group: &GroupName, within: Duration) -> Others {
        let (mut nodes, doubt) = match Self::in_time(within, self.directory.group_nodes(group)).await {
            Ok(GroupNodes { instances, doubtful: false }) => (instances, None),
            Ok(GroupNodes { instances, doubtful: true }) => (instances, Some(Doubt::NotWhole)),
            Err(error) => (Vec::new(), Some(Doubt::Away(error))),
        };
        if doubt.is_some() {
            nodes = self.with_last_known(nodes);
        }
        let own = self.own().node;
        nodes.retain(|instance| instance.node != own);
        Others { nodes, doubt }
    }

    /// One envelope to each node; what each says, none for one that did not say that it is done. A node that nobody
    /// listens on had members a moment ago, and nobody knows what became of them.
    async fn group_there(
        &self,
        others: &[NodeInstance],
        group: &GroupName,
        frame: &WireFrame,
        waited: bool,
        left: Duration,
    ) -> Vec<Option<u32>> {
        if others.is_empty() {
            return Vec::new();
        }
        let payload = GroupFrame { group: group.clone(), frame: frame.bytes().clone() }.encode();
        let envelope = || Envelope {
            kind: Kind::Group,
            wants_report: waited,
            patience: waited.then_some(left),
            number: self.next_number(),
            subject: None,
            payload: payload.clone(),
        };
        if !waited {
            return others.iter().map(|target| self.bus.post(target, envelope()).ok().map(|()| 0)).collect();
        }
        let requests = others.iter().map(|target| self.bus.request(target, envelope(), left));
        let answers = future::join_all(requests).await;
        let done = |answer: Answer| match answer.status {
            ReportStatus::Done | ReportStatus::NotHere => Some(answer.count),
            ReportStatus::Overloaded => None,
        };
        answers.into_iter().map(|answer| answer.ok().and_then(done)).collect()
    }
}

impl Router {
    /// What another node sends to the members here.
    pub(super) fn deliver_to_group(&self, envelope: Envelope) -> Handling {
        let Ok(GroupFrame { group, frame }) = GroupFrame::decode(envelope.payload) else {
            return Handling::Ignored;
        };
        let Ok(frame) = WireFrame::from_bytes(frame) else { return Handling::Ignored };
        let Some(members) = self.groups.roster().members(&group) else {
            self.groups.doubt(&group);
            return Handling::Done(Answer { status: ReportStatus::NotHere, count: 0 });
        };
        let fan_out = group_fan_out::to_members(&members, &frame, None, envelope.wants_report);
        let Some(mut settled) = fan_out.settled else { return Handling::Ignored };
        // Early enough for the report to find its sender waiting.
        let patience = envelope.patience.map_or(PATIENCE, |patience| PATIENCE.min(patience * 3 / 4));
        let report = async move {
            let _ = tokio::time::timeout(patience, &mut settled).await;
            Some(Answer { status: ReportStatus::Done, count: settled.written() })
        };
        Handling::Waiting(report.boxed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_is_complete_only_when_every_node_with_members_said_so() {
        use BroadcastStatus::{Accepted, Complete, Partial};
        // waited, in doubt, expected, answered
        let cases = [
            ((true, false, 0, 0), Complete),
            ((true, false, 3, 3), Complete),
            ((true, false, 3, 2), Partial),
            ((true, true, 1, 1), Partial),
            ((false, false, 3, 0), Accepted),
            ((false, false, 0, 0), Accepted),
            ((false, true, 3, 0), Partial),
        ];
        for ((waited, doubtful, expected, answered), status) in cases {
            let tally = Tally { waited, doubtful, expected, answered };
            assert_eq!(tally.status(), status, "{tally:?}");
        }
    }
}
