//! A client that comes back finds itself as it was.

use std::sync::Arc;

use super::{edge::Edge, handshake::Refusal, identity::Identity};
use crate::{
    auth::Grants,
    identity::SessionId,
    local::{connection::Connection, memberships::JoinedBy},
    protocol::error_code::ErrorCode,
    routing::session_state::SessionState,
};

/// The session that a client names; an empty one is none.
///
/// # Errors
/// [`Refusal`]: it cannot be a session.
pub(super) fn session_id(text: Option<&str>) -> Result<Option<SessionId>, Refusal> {
    let bad = |error: crate::identity::IdentityError| Refusal::new(ErrorCode::BadRequest, error.to_string());
    text.filter(|text| !text.is_empty()).map(|text| text.parse().map_err(bad)).transpose()
}

impl Edge {
    /// What is kept of the client's session, if it is the same user's and the same device's.
    pub(super) async fn take_up(
        &self,
        identity: &Identity,
        session: Option<SessionId>,
    ) -> Option<SessionState> {
        let state = self.router.session(&identity.user, session?).await?;
        let same_device = identity.client_id.as_ref().is_none_or(|client| *client == state.client_id);
        same_device.then_some(state)
    }

    /// Puts the connection into the groups of its session: those that the client may join today, and those that the
    /// backend gave it. As many as there is room for.
    pub(super) async fn join_again(
        &self,
        connection: &Arc<Connection>,
        grants: &Grants,
        state: &SessionState,
    ) {
        let own = state.groups.iter().filter(|group| grants.may_join(group));
        let own = own.map(|group| (group, JoinedBy::Grant));
        let given = state.given.iter().map(|group| (group, JoinedBy::Api));
        let registry = self.router.groups();
        let mut joined = Vec::new();
        for (group, by) in own.chain(given) {
            if registry.join(connection, group, by).is_ok_and(|new| new) {
                joined.push(group.clone());
            }
        }
        self.settle_groups(&joined).await;
    }
}
