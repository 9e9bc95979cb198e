//! What is kept of a client while it is away, so that it finds itself again on any node.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{ports::DirectoryError, registry::ASSERT_EVERY, router::Router};
use crate::{
    identity::{ClientId, GroupName, SessionId, UserId},
    local::{connection::Connection, memberships::JoinedBy},
};

/// Longest question to the registry for a session. A client waits for it before it is welcomed.
const LOOK_UP: Duration = Duration::from_secs(2);

/// How long a session is kept beyond its window while its connection lives: twice the time between two assertions,
/// which write it again, and some.
pub const KEPT_BETWEEN_ASSERTIONS: Duration =
    ASSERT_EVERY.saturating_mul(2).saturating_add(Duration::from_mins(1));

/// What is kept of a client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionState {
    /// The device.
    pub client_id: ClientId,
    /// Groups it was in by its own grants; what it may join today decides whether it is in them again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<GroupName>,
    /// Groups that the backend put it into.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub given: Vec<GroupName>,
}

impl SessionState {
    /// As it is now.
    #[must_use]
    pub fn of(connection: &Connection) -> Self {
        let mut state = Self { client_id: connection.client.clone(), groups: Vec::new(), given: Vec::new() };
        for (group, by) in connection.groups.all() {
            match by {
                JoinedBy::Grant => state.groups.push(group),
                JoinedBy::Api => state.given.push(group),
            }
        }
        state
    }
}

impl Router {
    /// What is kept of a user's session. A registry that does not answer within 2 s knows of none: the client is
    /// taken as a new one, and told so.
    pub async fn session(&self, user: &UserId, session: SessionId) -> Option<SessionState> {
        let found = tokio::time::timeout(LOOK_UP, self.directory.session(user, session)).await;
        match found {
            Ok(Ok(state)) => state,
            Ok(Err(DirectoryError::Unavailable(why))) => {
                tracing::debug!(%user, why, "a session was not looked up");
                None
            }
            Ok(Err(_)) | Err(_) => None,
        }
    }
}
