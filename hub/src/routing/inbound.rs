//! What other nodes ask of this one.

use std::time::Duration;

use futures::FutureExt;

use super::{
    ports::{Answer, Handling, Inbound},
    router::Router,
};
use crate::{
    identity::NodeInstance,
    local::{delivery_tally::Settled, fan_out},
    protocol::{
        close_reason::CloseReason,
        envelope::{Envelope, Kick, Kind, ReportStatus},
        wire_frame::WireFrame,
    },
};

/// How long this node's sockets may take before what was written so far is reported.
const DELIVER_PATIENCE: Duration = Duration::from_secs(5);
/// The same for a broadcast, where one stalled reader must not silence a whole node.
const BROADCAST_PATIENCE: Duration = Duration::from_secs(1);

impl Inbound for Router {
    fn handle(&self, source: &NodeInstance, envelope: Envelope) -> Handling {
        match envelope.kind {
            Kind::Deliver => self.deliver(source, envelope),
            Kind::Broadcast => self.deliver_to_all(source, envelope),
            Kind::Kick => self.kick_here(source, envelope),
            Kind::PresenceChanged => self.presence_changed(source, envelope),
            Kind::Group => self.deliver_to_group(envelope),
            Kind::Membership => self.change_for_other(envelope),
            Kind::MembersQuestion => self.answer_question(source, envelope),
            Kind::MembersPage => self.take_page(envelope),
            // Reports and hellos are the bus's own.
            Kind::Report | Kind::Hello => Handling::Ignored,
        }
    }
}

impl Router {
    fn deliver(&self, source: &NodeInstance, envelope: Envelope) -> Handling {
        let Some(user) = &envelope.subject else { return malformed(source, "a delivery names no user") };
        let Ok(frame) = WireFrame::from_bytes(envelope.payload) else {
            return malformed(source, "a delivery is not utf-8");
        };
        let fan_out = fan_out::to_user(&self.local, user, &frame, envelope.wants_report);
        match fan_out.settled {
            None => Handling::Ignored,
            Some(_) if fan_out.queued == 0 && fan_out.full > 0 => {
                Handling::Done(Answer { status: ReportStatus::Overloaded, count: 0 })
            }
            Some(_) if fan_out.queued == 0 => {
                Handling::Done(Answer { status: ReportStatus::NotHere, count: 0 })
            }
            Some(settled) => Handling::Waiting(report(settled, DELIVER_PATIENCE).boxed()),
        }
    }

    fn deliver_to_all(&self, source: &NodeInstance, envelope: Envelope) -> Handling {
        let Ok(frame) = WireFrame::from_bytes(envelope.payload) else {
            return malformed(source, "a broadcast is not utf-8");
        };
        match fan_out::to_all(&self.local, &frame, envelope.wants_report).settled {
            None => Handling::Ignored,
            Some(settled) => Handling::Waiting(report_broadcast(settled).boxed()),
        }
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
async fn report(mut settled: Settled, patience: Duration) -> Option<Answer> {
    let in_time = tokio::time::timeout(patience, &mut settled).await.is_ok();
    match settled.written() {
        0 if in_time => Some(Answer { status: ReportStatus::NotHere, count: 0 }),
        0 => None,
        count => Some(Answer { status: ReportStatus::Done, count }),
    }
}

async fn report_broadcast(mut settled: Settled) -> Option<Answer> {
    let _ = tokio::time::timeout(BROADCAST_PATIENCE, &mut settled).await;
    Some(Answer { status: ReportStatus::Done, count: settled.written() })
}
