//! What the hub answers to sends, broadcasts, kicks and questions: the JSON of API and frames.

use std::time::Duration;

use serde::Serialize;

use super::{error_code::ErrorCode, millis::whole_millis};
use crate::identity::{ClientId, ConnectionId, MessageId, NodeId, UserId};

/// What happened to a message for one user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum SendStatus {
    /// On its way; nobody waited.
    Accepted,
    /// In the kernel buffer of at least one connection, and no node was silent.
    Delivered,
    /// A client of the user said that it has the message.
    Acked,
    /// The user has no connection.
    Offline,
    /// Kept in the receiver's inbox, not known to be delivered yet.
    Stored,
    /// Sent, but no report came in time: may have been delivered. Or to be stored, but nobody said whether it was.
    Unknown,
    /// Some connections got it, some nodes were silent: the count is a lower bound.
    Partial,
    /// Certainly not delivered.
    Failed,
}

impl SendStatus {
    /// The word on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Delivered => "delivered",
            Self::Acked => "acked",
            Self::Offline => "offline",
            Self::Stored => "stored",
            Self::Unknown => "unknown",
            Self::Partial => "partial",
            Self::Failed => "failed",
        }
    }
}

/// Connections reached on one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct NodeCount {
    /// The node.
    pub node_id: NodeId,
    /// Connections that got the frame there.
    pub connections: u32,
}

/// Why a message was not delivered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct SendError {
    /// The stable word.
    pub code: ErrorCode,
    /// A sentence about it.
    pub detail: String,
}

/// The answer to a send to one user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct SendResult {
    /// The hub's id of the message, a ULID.
    pub id: String,
    /// The caller's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_id: Option<MessageId>,
    /// What happened.
    pub status: SendStatus,
    /// Connections that got the frame, on all nodes.
    pub connections: u32,
    /// The same by node; only nodes with at least one.
    pub nodes: Vec<NodeCount>,
    /// Repeats after the first try.
    pub total_retries: u32,
    /// From acceptance to answer, in milliseconds.
    pub total_duration_ms: u64,
    /// What each try came to, the first one included; empty, and left out, when the first was the last.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub attempts: Vec<Attempt>,
    /// Place in the receiver's inbox; only of a message that is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<String>,
    /// This is the result of an earlier send with the same `message_id`; nothing was sent now.
    #[serde(skip_serializing_if = "is_false")]
    pub duplicate: bool,
    /// The user was sent away from one node and has not yet connected to another: it is expected back any moment.
    #[serde(skip_serializing_if = "is_false")]
    pub moving: bool,
    /// Why not, where something went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<SendError>,
}

impl SendResult {
    /// The answer where no connection is known to have got the message, at the first try.
    #[must_use]
    pub fn without_connections(
        id: String,
        status: SendStatus,
        error: Option<SendError>,
        took: Duration,
    ) -> Self {
        Self {
            id,
            message_id: None,
            status,
            connections: 0,
            nodes: Vec::new(),
            total_retries: 0,
            total_duration_ms: whole_millis(took),
            attempts: Vec::new(),
            offset: None,
            moving: false,
            duplicate: false,
            error,
        }
    }
}

/// With serde's signature of a condition.
fn is_false(value: &bool) -> bool {
    !value
}

/// One try of a send that took several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Attempt {
    /// When it began, in milliseconds since acceptance.
    pub after_ms: u64,
    /// What was known at its end.
    pub status: SendStatus,
    /// Why not, where something went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<SendError>,
}

/// The answer to a question about many users.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct UsersOnline {
    /// Users with at least one connection, and the nodes where, sorted.
    pub online: std::collections::BTreeMap<UserId, Vec<NodeId>>,
}

/// What happened to a broadcast.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum BroadcastStatus {
    /// On its way; nobody waited.
    Accepted,
    /// Every node confirmed.
    Complete,
    /// Some nodes were silent: the count is a lower bound.
    Partial,
}

impl BroadcastStatus {
    /// The word on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Complete => "complete",
            Self::Partial => "partial",
        }
    }
}

/// The answer to a broadcast.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct BroadcastResult {
    /// The hub's id of the message, a ULID.
    pub id: String,
    /// What happened.
    pub status: BroadcastStatus,
    /// Nodes alive when it was accepted, the own one included.
    pub nodes_expected: u32,
    /// Nodes that confirmed in time, the own one included.
    pub nodes_answered: u32,
    /// Connections that got the frame, on the nodes that confirmed.
    pub connections: u32,
}

/// The answer to a kick.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct KickResult {
    /// Who was kicked.
    pub user_id: UserId,
    /// Connections closed, on the nodes that answered.
    pub kicked_connections: u32,
    /// Nodes that had to be asked, the own one included when it had connections.
    pub nodes_expected: u32,
    /// Nodes that answered in time.
    pub nodes_answered: u32,
    /// Whether a notice was put before the close of at least one connection.
    pub notification_sent: bool,
    /// End of the ban, RFC 3339; absent without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub banned_until: Option<String>,
}

/// The answer to a revocation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct RevokeResult {
    /// Whose tokens.
    pub user_id: UserId,
    /// Those issued before this are refused, in ms since the epoch.
    pub before: u64,
    /// Connections closed, on the nodes that answered.
    pub closed_connections: u32,
    /// Nodes that had to be asked, the own one included when it had connections.
    pub nodes_expected: u32,
    /// Nodes that answered in time.
    pub nodes_answered: u32,
}

/// One connection of a user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct UserConnection {
    /// Which.
    pub connection_id: ConnectionId,
    /// The device.
    pub client_id: ClientId,
    /// Where.
    pub node_id: NodeId,
    /// Since when, RFC 3339.
    pub connected_at: String,
    /// The client's address.
    pub remote_address: String,
}

/// The answer to "where is this user".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct UserLocation {
    /// Who.
    pub user_id: UserId,
    /// Whether there is any connection.
    pub online: bool,
    /// Nodes with at least one, sorted.
    pub nodes: Vec<NodeId>,
    /// The connections, oldest first.
    pub connections: Vec<UserConnection>,
    /// End of the user's ban, RFC 3339; absent without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub banned_until: Option<String>,
}
