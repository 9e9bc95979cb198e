//! Closing a user's connections everywhere, with or without a ban.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures::future;

use super::{
    ports::{Ban, BusError, DirectoryError, Handling},
    router::{Router, rfc3339},
    whereabouts::Freshness,
};
use crate::{
    identity::{NodeInstance, UserId},
    local::fan_out,
    protocol::{
        close_reason::CloseReason,
        envelope::{Envelope, Kick, Kind, ReportStatus},
        message::KickRequest,
        send_result::KickResult,
        server_frame,
        user_verdict::BanNews,
    },
};

/// How long a kick waits for the other nodes.
const TIMEOUT: Duration = Duration::from_secs(5);

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
        if let Some(ban) = &ban {
            self.set_ban(user, Some(ban)).await?;
        }
        let banned_until = ban.map(|ban| rfc3339(ban.until));
        let notice = request
            .notify
            .then(|| server_frame::kick_out(&request.message, &request.reason, banned_until.as_deref()));
        // The hash is read before anything is closed: closing takes entries out of it.
        let targets = self.targets(user, Freshness::Fresh, TIMEOUT).await.map(|targets| targets.nodes);
        let reason = CloseReason::Kicked(request.reason.clone());
        let local = fan_out::close_user(&self.local, user, notice.as_ref(), &reason);
        let kick = Kick { reason: request.reason.clone(), notice: notice.map(|frame| frame.bytes().clone()) };
        let asked = self.ask_to_close(user, targets.ok(), Kind::Kick, &kick.encode()).await;

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
        tokio::time::timeout(TIMEOUT, self.directory.set_ban(user, ban))
            .await
            .map_err(|_| DirectoryError::Unavailable("the registry did not answer in time".to_owned()))??;
        self.known_bans.note(user, ban.cloned(), SystemTime::now());
        let until =
            ban.map_or(Duration::ZERO, |ban| ban.until.duration_since(UNIX_EPOCH).unwrap_or_default());
        let news = BanNews {
            until: u64::try_from(until.as_millis()).unwrap_or(u64::MAX),
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

    /// Asks the user's other nodes to close connections. `targets`: none when the registry does not know them.
    pub(super) async fn ask_to_close(
        &self,
        user: &UserId,
        targets: Option<Vec<NodeInstance>>,
        kind: Kind,
        payload: &Bytes,
    ) -> Asked {
        let (targets, registry_away) = match targets {
            Some(targets) => (targets, false),
            // Nobody knows where the user is, so everybody is asked; without a registry nobody can be.
            None => {
                let (others, error) = self.other_nodes(TIMEOUT).await;
                (others, error.is_some())
            }
        };
        let answers = if registry_away {
            Vec::new()
        } else {
            let requests = targets.iter().map(|target| {
                let envelope = Envelope { wants_report: true, ..self.verdict(user, kind, payload.clone()) };
                self.bus.request(target, envelope, TIMEOUT)
            });
            future::join_all(requests).await
        };
        let (mut closed, mut answered) = (0, 0);
        for answer in &answers {
            match answer {
                Ok(answer) if answer.status == ReportStatus::Overloaded => {}
                Ok(answer) => {
                    closed += answer.count;
                    answered += 1;
                }
                // A node that is gone has no connections left to close.
                Err(BusError::NodeGone(_)) => answered += 1,
                Err(_) => {}
            }
        }
        let expected = u32::try_from(targets.len()).unwrap_or(u32::MAX);
        Asked { closed, expected, answered, registry_away }
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
