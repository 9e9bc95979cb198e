//! Closing what was opened with tokens that are not accepted any more, and what newer connections replace.

use std::time::SystemTime;

use super::{
    audience::TIMEOUT,
    ports::{Answer, DirectoryError, Handling},
    router::Router,
};
use crate::{
    identity::{ConnectionId, NodeInstance, UserId},
    protocol::{
        close_reason::CloseReason,
        envelope::{Envelope, Kind, ReportStatus},
        millis::millis_since_epoch,
        send_result::RevokeResult,
        user_verdict::{decode_replaced, decode_revocation, encode_revocation},
    },
};

impl Router {
    /// From now on refuses tokens of the user that were issued before `before` (ms since the epoch; none for now), and
    /// closes the connections that have such a token, or none, on all nodes with 4003. The revocation is written first,
    /// for the same reason as a ban.
    ///
    /// # Errors
    /// [`DirectoryError`] when it cannot be written: then nothing was done.
    pub async fn revoke(&self, user: &UserId, before: Option<u64>) -> Result<RevokeResult, DirectoryError> {
        let before = before.unwrap_or_else(|| millis_since_epoch(SystemTime::now()));
        let before = Self::in_time(TIMEOUT, self.directory.revoke(user, before)).await?;
        let audience = self.audience(user).await;
        let local = self.close_revoked(user, before);
        let asked = self.ask_to_close(user, audience, Kind::Revoke, &encode_revocation(before)).await;
        let here = u32::from(local > 0 || asked.registry_away);
        Ok(RevokeResult {
            user_id: user.clone(),
            before,
            closed_connections: local + asked.closed,
            nodes_expected: asked.expected + here,
            nodes_answered: asked.answered + here,
        })
    }

    /// Closes the user's connections here whose token was issued before; one without a token counts as older.
    fn close_revoked(&self, user: &UserId, before: u64) -> u32 {
        let mut closed = 0;
        self.local.for_user(user, |connection| {
            if connection.token_issued_at().is_none_or(|issued| issued < before) {
                closed += u32::from(connection.queue.close(CloseReason::TokenRevoked));
            }
        });
        closed
    }

    /// Another node revoked a user's older tokens.
    pub(super) fn revoke_here(&self, source: &NodeInstance, envelope: Envelope) -> Handling {
        let (Some(user), Ok(before)) = (&envelope.subject, decode_revocation(envelope.payload)) else {
            tracing::debug!(%source, "a revocation is malformed");
            return Handling::Ignored;
        };
        let count = self.close_revoked(user, before);
        let status = if count > 0 { ReportStatus::Done } else { ReportStatus::NotHere };
        Handling::Done(Answer { status, count })
    }

    /// Connections of this node are replaced by newer ones.
    pub(super) fn replace_here(&self, source: &NodeInstance, envelope: Envelope) -> Handling {
        let (Some(user), Ok(replaced)) = (&envelope.subject, decode_replaced(envelope.payload)) else {
            tracing::debug!(%source, "news of replaced connections are malformed");
            return Handling::Ignored;
        };
        self.registry.close_replaced(user, &replaced);
        Handling::Ignored
    }
}

impl super::registry::Registry {
    /// Closes those of the user's connections here with 4002.
    pub(super) fn close_replaced(&self, user: &UserId, replaced: &[ConnectionId]) {
        self.local.for_user(user, |connection| {
            if replaced.contains(&connection.id) {
                connection.queue.close(CloseReason::Replaced);
            }
        });
    }
}
