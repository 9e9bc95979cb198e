//! Closing a user's connections everywhere, with or without a ban.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures::future;

use super::{
    audience::{Answers, Audience, TIMEOUT},
    ports::{Ban, DirectoryError, Handling},
    router::{Router, rfc3339},
};
#[cfg(test)]
use crate::fault::{self, Fault};
use crate::{
    identity::{NodeInstance, UserId},
    local::fan_out,
    protocol::{
        close_reason::CloseReason,
        envelope::{Envelope, Kick, Kind},
        message::KickRequest,
        millis::millis_since_epoch,
        send_result::KickResult,
        server_frame,
        user_verdict::BanNews,
    },
};

/// What the other nodes of a user said.
pub(super) struct Asked {
    /// Connections closed there.
    pub(super) closed: u32,
    /// Nodes that had to be asked.
    pub(super) expected: u32,
    /// Nodes that answered in time.
    pub(super) answered: u32,
    /// Nobody could be asked, not even where the user is.
    pub(super) registry_away: bool,
}

impl Router {
    /// Closes the user's connections on all nodes with 4001 and counts them. A ban is written first: a connection that
    /// is made meanwhile is either seen by the kick, or sees the ban.
    ///
    /// # Errors
    /// [`DirectoryError`] when a ban is wanted and cannot be written: then nothing was done.
    pub async fn kick(&self, user: &UserId, request: &KickRequest) -> Result<KickResult, DirectoryError> {
        let ban = request
            .ban
            .and_then(|length| SystemTime::now().checked_add(length))
            .map(|until| Ban { until, reason: request.reason.clone() });
        #[cfg(test)]
        let too_early = match fault::is(Fault::HashReadBeforeBan) {
            true => Some(self.audience(user).await),
            false => None,
        };
        if let Some(ban) = &ban {
            self.set_ban(user, Some(ban)).await?;
        }
        // While the registry is away those of connections that are closed now end with them, others lapse.
        let _ = tokio::time::timeout(TIMEOUT, self.directory.forget_sessions(user)).await;
        let banned_until = ban.map(|ban| rfc3339(ban.until));
        let notice = request
            .notify
            .then(|| server_frame::kick_out(&request.message, &request.reason, banned_until.as_deref()));
        // The hash is read before anything is closed: closing takes entries out of it.
        let audience = self.audience(user).await;
        #[cfg(test)]
        let audience = too_early.unwrap_or(audience);
        let reason = CloseReason::Kicked(request.reason.clone());
        let local = fan_out::close_user(&self.local, user, notice.as_ref(), &reason);
        let kick = Kick { reason: request.reason.clone(), notice: notice.map(|frame| frame.bytes().clone()) };
        let asked = self.ask_to_close(user, audience, Kind::Kick, &kick.encode()).await;

        let kicked = local + asked.closed;
        let here = u32::from(local > 0 || asked.registry_away);
        Ok(KickResult {
            user_id: user.clone(),
            kicked_connections: kicked,
            nodes_expected: asked.expected + here,
            nodes_answered: asked.answered + here,
            notification_sent: request.notify && kicked > 0,
            banned_until,
        })
    }

    /// Lifts a user's ban.
    ///
    /// # Errors
    /// [`DirectoryError`] when the registry cannot be asked.
    pub async fn lift_ban(&self, user: &UserId) -> Result<(), DirectoryError> {
        self.set_ban(user, None).await
    }

    /// Writes a ban, or lifts it, then tells all nodes, which apply it while Redis is away.
    async fn set_ban(&self, user: &UserId, ban: Option<&Ban>) -> Result<(), DirectoryError> {
        Self::in_time(TIMEOUT, self.directory.set_ban(user, ban)).await?;
        self.known_bans.note(user, ban.cloned(), SystemTime::now());
        let news = BanNews {
            until: ban.map_or(0, |ban| millis_since_epoch(ban.until)),
            reason: ban.map_or_else(String::new, |ban| ban.reason.clone()),
        };
        let envelope = self.verdict(user, Kind::Ban, news.encode());
        // Who does not hear it asks Redis at the next connect.
        let _ = self.bus.broadcast(Vec::new(), envelope, Duration::ZERO).await;
        Ok(())
    }

    fn verdict(&self, user: &UserId, kind: Kind, payload: Bytes) -> Envelope {
        Envelope {
            kind,
            wants_report: false,
            patience: Some(TIMEOUT),
            number: self.next_number(),
            subject: Some(user.clone()),
            payload,
        }
    }

    /// Asks the user's other nodes to close connections.
    pub(super) async fn ask_to_close(
        &self,
        user: &UserId,
        audience: Audience,
        kind: Kind,
        payload: &Bytes,
    ) -> Asked {
        let Audience { nodes, registry_away } = audience;
        let request = |target: &NodeInstance| {
            let envelope = Envelope { wants_report: true, ..self.verdict(user, kind, payload.clone()) };
            self.bus.request(target, envelope, TIMEOUT)
        };
        let requests = nodes.iter().filter(|_| !registry_away).map(request);
        let Answers { connections, answered } = Answers::of(&future::join_all(requests).await);
        let expected = u32::try_from(nodes.len()).unwrap_or(u32::MAX);
        Asked { closed: connections, expected, answered, registry_away }
    }

    /// Another node banned a user or lifted a ban.
    pub(super) fn ban_heard(&self, source: &NodeInstance, envelope: Envelope) -> Handling {
        match (&envelope.subject, BanNews::decode(envelope.payload)) {
            (Some(user), Ok(news)) => {
                let until = UNIX_EPOCH.checked_add(Duration::from_millis(news.until)).unwrap_or(UNIX_EPOCH);
                self.known_bans.note(user, Some(Ban { until, reason: news.reason }), SystemTime::now());
            }
            _ => tracing::debug!(%source, "news of a ban are malformed"),
        }
        Handling::Ignored
    }
}
