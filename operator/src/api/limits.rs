//! Limits of connections and users.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the hub adds to a client's message at most before it lies in a queue, in bytes: a queue must hold one message.
pub const FRAME_OVERHEAD: i32 = 1024;

/// Limits of one connection and of one user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct LimitsSpec {
    /// Largest message a client may send, in bytes: 1024 to 16777216, default 65536. A larger one closes the connection
    /// with code 1009. Hot: holds for connections opened after the change.
    #[schemars(range(min = 1024, max = 16_777_216))]
    pub max_message_bytes: i32,
    /// Bytes that may wait for a slow client: 4096 to 1073741824, default 262144, at least 1024 more than
    /// `maxMessageBytes`. Beyond it the connection is closed with code 4004. Hot: holds for connections opened after the
    /// change.
    #[schemars(range(min = 4096, max = 1_073_741_824))]
    pub outbound_queue_bytes: i32,
    /// Messages that may wait for a slow client: 1 to 1000000, default 1024. Whichever of the two limits is reached
    /// first counts. Hot: holds for connections opened after the change.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub message_buffer_size: i32,
    /// Connections of one user on all nodes together: 0 to 10000, default 0, which means no limit. Changing it replaces
    /// the pods.
    #[schemars(range(min = 0, max = 10_000))]
    pub max_connections_per_user: i32,
    /// What happens when a user has more: `CloseOldest` (default) closes the oldest connection with code 4002, `Reject`
    /// refuses the new one with 429. Changing it replaces the pods.
    pub on_excess: OnExcess,
}

impl Default for LimitsSpec {
    fn default() -> Self {
        Self {
            max_message_bytes: 65_536,
            outbound_queue_bytes: 262_144,
            message_buffer_size: 1024,
            max_connections_per_user: 0,
            on_excess: OnExcess::CloseOldest,
        }
    }
}

/// What happens when a user has more connections than allowed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnExcess {
    /// The oldest goes.
    #[default]
    CloseOldest,
    /// The new one is refused.
    Reject,
}

impl OnExcess {
    /// The value of `WSC_ON_EXCESS`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CloseOldest => "close_oldest",
            Self::Reject => "reject",
        }
    }
}
