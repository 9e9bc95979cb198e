//! What other nodes ask of this one.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures::FutureExt;

use super::{
    dispatch,
    duplicate_window::Seen,
    ports::{Answer, Handling, Inbound},
    retry,
    router::Router,
    tally::Outcome,
};
use crate::{
    identity::{NodeInstance, UserId},
    local::{
        delivery_tally::Settled,
        fan_out::{self, FanOut},
        stored_fan_out,
    },
    protocol::{
        broadcast_payload,
        close_reason::CloseReason,
        envelope::{Envelope, Kick, Kind, ReportStatus},
        stored_notice::StoredNotice,
        wire_frame::WireFrame,
    },
};

/// How long this node's sockets may take before what was written so far is reported, when the sender does not say how
/// long it waits.
const DELIVER_PATIENCE: Duration = Duration::from_secs(5);
/// The same for a broadcast, where one stalled reader must not silence a whole node.
const BROADCAST_PATIENCE: Duration = Duration::from_secs(1);

impl Inbound for Router {
    fn handle(&self, source: &NodeInstance, envelope: Envelope) -> Handling {
        match envelope.kind {
            Kind::Deliver | Kind::Stored => self.deliver(source, envelope),
            Kind::Broadcast | Kind::BroadcastExcept => self.deliver_to_all(source, envelope),
            Kind::Kick => self.kick_here(source, envelope),
            Kind::PresenceChanged => self.presence_changed(source, envelope),
            Kind::Group => self.deliver_to_group(envelope),
            Kind::Membership => self.change_for_other(envelope),
            Kind::MembersQuestion => self.answer_question(source, envelope),
            Kind::MembersPage => self.take_page(envelope),
            Kind::Ack => self.ack_heard(&envelope),
            Kind::Ban => self.ban_heard(source, envelope),
            Kind::Revoke => self.revoke_here(source, envelope),
            Kind::Replace => self.replace_here(source, envelope),
            // Reports and hellos are the bus's own.
            Kind::Report | Kind::Hello => Handling::Ignored,
        }
    }
}

/// What a delivery brings.
enum Content {
    Frame(WireFrame),
    Stored(StoredNotice),
}

impl Router {
    /// Gives the news of a stored message to the connections here.
    pub(super) fn give_here(&self, user: &UserId, notice: &StoredNotice, confirm: bool) -> FanOut {
        let (fan_out, to_replay) = stored_fan_out::to_user(&self.local, user, notice, confirm);
        for connection in to_replay {
            self.inboxes.replay(connection);
        }
        fan_out
    }

    fn deliver(&self, source: &NodeInstance, envelope: Envelope) -> Handling {
        let Some(user) = &envelope.subject else { return malformed(source, "a delivery names no user") };
        let content = match envelope.kind {
            Kind::Stored => StoredNotice::decode(envelope.payload).ok().map(Content::Stored),
            _ => WireFrame::from_bytes(envelope.payload).ok().map(Content::Frame),
        };
        let Some(content) = content else { return malformed(source, "a delivery cannot be read") };
        if envelope.wants_report {
            // A node that waits for the report repeats what it heard nothing of.
            match self.repeats.begin(source, envelope.number, Instant::now()) {
                Seen::First => {}
                Seen::Settled(Some(answer)) => return Handling::Done(answer),
                Seen::UnderWay(answer) => {
                    return Handling::Waiting(answer.map(|answer| answer.ok().flatten()).boxed());
                }
                Seen::Settled(None) | Seen::Forgotten => return Handling::Ignored,
            }
        }
        let fan_out = match &content {
            Content::Frame(frame) => fan_out::to_user(&self.local, user, frame, envelope.wants_report),
            Content::Stored(notice) => self.give_here(user, notice, envelope.wants_report),
        };
        let Some(settled) = fan_out.settled else { return Handling::Ignored };
        let answer = match (fan_out.queued, fan_out.full) {
            (0, 0) => {
                let answer = Answer { status: ReportStatus::NotHere, count: 0 };
                let Some(over) = self.departures.over(user) else {
                    self.repeats.settle(source, envelope.number, Some(answer));
                    return Handling::Done(answer);
                };
                // Who asks looks the user up afresh then, and is to find what the registry is being told now.
                let patience = envelope.patience.map_or(DELIVER_PATIENCE, retry::report_within);
                let (repeats, source, number) = (Arc::clone(&self.repeats), source.clone(), envelope.number);
                let answer = async move {
                    let in_time = tokio::time::timeout(patience, over).await.is_ok();
                    let answer = in_time.then_some(answer);
                    repeats.settle(&source, number, answer);
                    answer
                };
                return Handling::Waiting(answer.boxed());
            }
            (0, _) => Answer { status: ReportStatus::Overloaded, count: 0 },
            _ => {
                let patience = envelope.patience.map_or(DELIVER_PATIENCE, retry::report_within);
                let (repeats, source, number) = (Arc::clone(&self.repeats), source.clone(), envelope.number);
                let answer = async move {
                    let answer = report(settled, patience).await;
                    repeats.settle(&source, number, answer);
                    answer
                };
                return Handling::Waiting(answer.boxed());
            }
        };
        self.repeats.settle(source, envelope.number, Some(answer));
        Handling::Done(answer)
    }

    fn deliver_to_all(&self, source: &NodeInstance, envelope: Envelope) -> Handling {
        let (excluded, frame) = match envelope.kind {
            Kind::BroadcastExcept => match broadcast_payload::decode(envelope.payload) {
                Ok(parts) => parts,
                Err(_) => return malformed(source, "a broadcast's list of users is broken"),
            },
            _ => (Vec::new(), envelope.payload),
        };
        let Ok(frame) = WireFrame::from_bytes(frame) else {
            return malformed(source, "a broadcast is not utf-8");
        };
        let patience = envelope.patience.map_or(BROADCAST_PATIENCE, retry::report_within);
        let patience = envelope.wants_report.then_some(patience.min(BROADCAST_PATIENCE));
        let reached = self.to_all_here(frame, excluded, patience);
        let answer = reached.map(|count| Some(Answer { status: ReportStatus::Done, count }));
        Handling::Waiting(answer.boxed())
    }

    fn kick_here(&self, source: &NodeInstance, envelope: Envelope) -> Handling {
        let Some(user) = &envelope.subject else { return malformed(source, "a kick names no user") };
        let Ok(kick) = Kick::decode(envelope.payload) else {
            return malformed(source, "a kick is cut short");
        };
        let Ok(notice) = kick.notice.map(WireFrame::from_bytes).transpose() else {
            return malformed(source, "a kick's notice is not utf-8");
        };
        let count =
            fan_out::close_user(&self.local, user, notice.as_ref(), &CloseReason::Kicked(kick.reason));
        let status = if count > 0 { ReportStatus::Done } else { ReportStatus::NotHere };
        Handling::Done(Answer { status, count })
    }
}

fn malformed(source: &NodeInstance, fault: &'static str) -> Handling {
    tracing::debug!(%source, fault, "envelope ignored");
    Handling::Ignored
}

/// Waits for the sockets. Nothing written and nothing known after the patience: no report is sent, and the
/// sender says `unknown`, which is the truth.
async fn report(settled: Settled, patience: Duration) -> Option<Answer> {
    match dispatch::confirmed(settled, patience).await {
        Outcome::Reached(count) => Some(Answer { status: ReportStatus::Done, count }),
        Outcome::NotHere => Some(Answer { status: ReportStatus::NotHere, count: 0 }),
        _ => None,
    }
}
