//! Closing a user's connections everywhere.

use std::time::Duration;

use futures::future;

use super::{ports::BusError, router::Router, whereabouts::Freshness};
use crate::{
    identity::UserId,
    local::fan_out,
    protocol::{
        close_reason::CloseReason,
        envelope::{Envelope, Kick, Kind, ReportStatus},
        message::KickRequest,
        send_result::KickResult,
        server_frame,
    },
};

/// How long a kick waits for the other nodes.
const TIMEOUT: Duration = Duration::from_secs(5);

impl Router {
    /// Closes the user's connections on all nodes with 4001 and counts them.
    pub async fn kick(&self, user: &UserId, request: &KickRequest) -> KickResult {
        let notice = request.notify.then(|| server_frame::kick_out(&request.message, &request.reason));
        // The hash is read before anything is closed: closing takes entries out of it.
        let targets = self.targets(user, Freshness::Fresh, TIMEOUT).await;
        let reason = CloseReason::Kicked(request.reason.clone());
        let local = fan_out::close_user(&self.local, user, notice.as_ref(), &reason);

        let kick = Kick { reason: request.reason.clone(), notice: notice.map(|frame| frame.bytes().clone()) };
        let payload = kick.encode();
        let registry_away = targets.is_err();
        let targets = match targets {
            Ok(targets) => targets.nodes,
            // Nobody knows where the user is: every node last known is one that did not answer.
            Err(_) => self.other_nodes(TIMEOUT).await.0,
        };
        let answers = if registry_away {
            Vec::new()
        } else {
            let requests = targets.iter().map(|target| {
                let envelope = Envelope {
                    kind: Kind::Kick,
                    wants_report: true,
                    patience: None,
                    number: self.next_number(),
                    subject: Some(user.clone()),
                    payload: payload.clone(),
                };
                self.bus.request(target, envelope, TIMEOUT)
            });
            future::join_all(requests).await
        };

        let mut kicked = local;
        let mut answered = 0;
        for answer in &answers {
            match answer {
                Ok(answer) if answer.status == ReportStatus::Overloaded => {}
                Ok(answer) => {
                    kicked += answer.count;
                    answered += 1;
                }
                // A node that is gone has no connections left to close.
                Err(BusError::NodeGone(_)) => answered += 1,
                Err(_) => {}
            }
        }
        let here = u32::from(local > 0 || registry_away);
        KickResult {
            user_id: user.clone(),
            kicked_connections: kicked,
            nodes_expected: u32::try_from(targets.len()).unwrap_or(u32::MAX).saturating_add(here),
            nodes_answered: answered + here,
            notification_sent: request.notify && kicked > 0,
        }
    }
}
