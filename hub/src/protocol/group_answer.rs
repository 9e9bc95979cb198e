//! What the hub answers about groups: results of frames, and the JSON of the API.

use serde::Serialize;

use super::{
    send_result::{BroadcastResult, BroadcastStatus},
    server_frame::encode,
    wire_frame::WireFrame,
};
use crate::identity::{GroupName, MessageId, NodeId, UserId};

/// The answer to "make this user a member", or no longer one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct MembershipResult {
    /// Which group.
    pub group: GroupName,
    /// Whose connections.
    pub user_id: UserId,
    /// Connections that are members now, or that were and no longer are, on the nodes that answered.
    pub connections: u32,
    /// Nodes that had to be asked, the own one included when the user has connections there.
    pub nodes_expected: u32,
    /// Nodes that answered in time.
    pub nodes_answered: u32,
}

/// One user among a group's members.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct GroupMember {
    /// Who.
    pub user_id: UserId,
    /// Connections in the group, on the nodes that answered.
    pub connections: u32,
}

/// The answer to "who is in this group".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct GroupListing {
    /// Which group.
    pub group: GroupName,
    /// Users, sorted, at most 1,000.
    pub members: Vec<GroupMember>,
    /// Ask again with this as `after` for those that follow; absent when these were all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<UserId>,
    /// Nodes with members, sorted.
    pub nodes: Vec<NodeId>,
    /// Nodes with members, counted.
    pub nodes_expected: u32,
    /// Nodes whose members are among those listed.
    pub nodes_answered: u32,
}

/// `result`: what became of the client's own message to a group.
#[must_use]
pub fn sent(message_id: &MessageId, result: &BroadcastResult) -> WireFrame {
    #[derive(Serialize)]
    struct Frame<'a> {
        message_type: &'static str,
        message_id: &'a MessageId,
        #[serde(flatten)]
        result: &'a BroadcastResult,
    }
    encode(&Frame { message_type: "result", message_id, result })
}

/// `result`: the client joined or left. `partial` says that the other nodes do not know of it yet.
#[must_use]
pub fn changed(message_id: &MessageId, group: &GroupName, status: BroadcastStatus) -> WireFrame {
    #[derive(Serialize)]
    struct Frame<'a> {
        message_type: &'static str,
        message_id: &'a MessageId,
        status: &'static str,
        group: &'a GroupName,
    }
    encode(&Frame { message_type: "result", message_id, status: status.as_str(), group })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_those_of_the_protocol() {
        let text = |frame: WireFrame| String::from_utf8(frame.bytes().to_vec()).unwrap();
        let id = MessageId::new("m2").unwrap();
        let result = BroadcastResult {
            id: "01J".to_owned(),
            status: BroadcastStatus::Complete,
            nodes_expected: 3,
            nodes_answered: 3,
            connections: 7,
        };
        assert_eq!(
            text(sent(&id, &result)),
            r#"{"message_type":"result","message_id":"m2","id":"01J","status":"complete","nodes_expected":3,"nodes_answered":3,"connections":7}"#
        );
        assert_eq!(
            text(changed(&id, &GroupName::new("room-1").unwrap(), BroadcastStatus::Partial)),
            r#"{"message_type":"result","message_id":"m2","status":"partial","group":"room-1"}"#
        );
    }
}
