//! A message for one user.

use std::time::{Duration, Instant, SystemTime};

use futures::future;

use super::{
    ports::{Answer, BusError},
    retry,
    router::{Router, rfc3339},
    tally::{Outcome, SendTally},
    targets::Targets,
    whereabouts::Freshness,
};
use crate::{
    identity::UserId,
    local::{delivery_tally::Settled, fan_out},
    protocol::{
        envelope::{Envelope, Kind, ReportStatus},
        error_code::ErrorCode,
        message::{Message, SendOptions, Wait},
        send_result::SendResult,
        server_frame::{self, Outgoing},
        wire_frame::WireFrame,
    },
};

impl Router {
    /// Sends a message to every connection of a user, on all nodes, and says what happened. `sender` is none for
    /// the backend.
    pub async fn send_to_user(
        &self,
        sender: Option<&UserId>,
        receiver: &UserId,
        message: &Message,
        options: &SendOptions,
    ) -> SendResult {
        let accepted = Instant::now();
        let id = self.next_message_id().to_string();
        let create_at = rfc3339(SystemTime::now());
        let outgoing =
            Outgoing { id: &id, sender, receiver: Some(receiver), group: None, create_at: &create_at };
        let frame = server_frame::message(message, &outgoing);
        let number = self.next_number();

        let mut tally = SendTally::default();
        let mut retries = 0;
        loop {
            tally.begin_try();
            let freshness = if retries == 0 { Freshness::Known } else { Freshness::Fresh };
            let left = options.timeout.saturating_sub(accepted.elapsed());
            match options.wait {
                Wait::Delivered => {
                    self.try_once(receiver, &frame, number, (freshness, left), &mut tally).await
                }
                Wait::None => self.post_once(receiver, &frame, number, (freshness, left), &mut tally).await,
            }
            if !tally.is_worth_a_retry() {
                break;
            }
            let left = options.timeout.saturating_sub(accepted.elapsed());
            let Some(wait) = retry::wait_before(retries, options.max_retries, left, rand::random()) else {
                break;
            };
            tokio::time::sleep(wait).await;
            retries += 1;
        }

        let (status, connections, nodes, error) = tally.conclude();
        let (status, connections, nodes) = match options.wait {
            Wait::None => (accepted_status(status), 0, Vec::new()),
            Wait::Delivered => (status, connections, nodes),
        };
        SendResult {
            id,
            message_id: message.message_id.clone(),
            status,
            connections,
            nodes,
            total_retries: retries,
            total_duration_ms: u64::try_from(accepted.elapsed().as_millis()).unwrap_or(u64::MAX),
            error,
        }
    }

    /// One try that waits for confirmation from this node's sockets and from the other nodes.
    async fn try_once(
        &self,
        receiver: &UserId,
        frame: &WireFrame,
        number: u64,
        (freshness, left): (Freshness, Duration),
        tally: &mut SendTally,
    ) {
        let own = self.own().node;
        let local = async {
            let fan_out = fan_out::to_user(&self.local, receiver, frame, true);
            match fan_out.settled {
                Some(settled) if fan_out.queued > 0 => confirmed(settled, left).await,
                _ if fan_out.full > 0 => {
                    Outcome::NotSent(ErrorCode::Overloaded, "the connection's queue is full".to_owned())
                }
                _ => Outcome::NotHere,
            }
        };
        let local_settled = tally.is_settled(&own);
        let local = async { if local_settled { None } else { Some(local.await) } };
        let remote = async {
            let Targets { nodes, doubt } = self.targets(receiver, freshness, left).await?;
            let requests = nodes.into_iter().filter(|target| !tally.is_settled(&target.node)).map(|target| {
                let envelope = deliver(receiver, frame, number, true);
                let request = self.bus.request(&target, envelope, left);
                async move { (target.node.clone(), outcome(request.await)) }
            });
            Ok((future::join_all(requests).await, doubt))
        };
        let (local, remote) = future::join(local, remote).await;
        if let Some(local) = local {
            // Nobody here is the normal case on most nodes and no reason to try again.
            if local != Outcome::NotHere {
                tally.note(own, local);
            }
        }
        match remote {
            Ok((outcomes, doubt)) => {
                outcomes.into_iter().for_each(|(node, outcome)| tally.note(node, outcome));
                doubt.into_iter().for_each(|doubt| tally.note_registry_error(doubt.to_owned()));
            }
            Err(detail) => tally.note_registry_error(detail),
        }
    }

    /// One try that waits for nobody: what was queued counts as reached.
    async fn post_once(
        &self,
        receiver: &UserId,
        frame: &WireFrame,
        number: u64,
        (freshness, left): (Freshness, Duration),
        tally: &mut SendTally,
    ) {
        let own = self.own().node;
        if !tally.is_settled(&own) {
            let fan_out = fan_out::to_user(&self.local, receiver, frame, false);
            if fan_out.queued > 0 {
                tally.note(own, Outcome::Reached(fan_out.queued));
            }
        }
        match self.targets(receiver, freshness, left).await {
            Ok(Targets { nodes, doubt }) => {
                doubt.into_iter().for_each(|doubt| tally.note_registry_error(doubt.to_owned()));
                for target in
                    nodes.into_iter().filter(|target| !tally.is_settled(&target.node)).collect::<Vec<_>>()
                {
                    let posted = self.bus.post(&target, deliver(receiver, frame, number, false));
                    let answer = posted.map(|()| Answer { status: ReportStatus::Done, count: 1 });
                    tally.note(target.node.clone(), outcome(answer));
                }
            }
            Err(detail) => tally.note_registry_error(detail),
        }
    }
}

/// With nobody waiting, whatever was handed on is accepted.
fn accepted_status(
    status: crate::protocol::send_result::SendStatus,
) -> crate::protocol::send_result::SendStatus {
    use crate::protocol::send_result::SendStatus::{Accepted, Delivered, Failed, Offline, Partial, Unknown};
    match status {
        Offline => Offline,
        Failed => Failed,
        Accepted | Delivered | Unknown | Partial => Accepted,
    }
}

fn deliver(receiver: &UserId, frame: &WireFrame, number: u64, wants_report: bool) -> Envelope {
    Envelope {
        kind: Kind::Deliver,
        wants_report,
        patience: None,
        number,
        subject: Some(receiver.clone()),
        payload: frame.bytes().clone(),
    }
}

/// Waits until this node's sockets took the frame, or time is up.
pub(super) async fn confirmed(mut settled: Settled, left: Duration) -> Outcome {
    let in_time = tokio::time::timeout(left, &mut settled).await.is_ok();
    match settled.written() {
        0 if in_time => Outcome::NotHere,
        0 => Outcome::Silent,
        written => Outcome::Reached(written),
    }
}

fn outcome(answer: Result<Answer, BusError>) -> Outcome {
    match answer {
        Ok(
            Answer { status: ReportStatus::Done, count: 0 } | Answer { status: ReportStatus::NotHere, .. },
        ) => Outcome::NotHere,
        Ok(Answer { status: ReportStatus::Done, count }) => Outcome::Reached(count),
        Ok(Answer { status: ReportStatus::Overloaded, .. }) => {
            Outcome::NotSent(ErrorCode::Overloaded, "the receiver's node is overloaded".to_owned())
        }
        // The node's end takes its users with it; a repeat looks them up afresh.
        Err(BusError::NodeGone(_)) => Outcome::NotHere,
        Err(BusError::NoReport(_)) => Outcome::Silent,
        Err(error @ BusError::Overloaded(_)) => Outcome::NotSent(ErrorCode::Overloaded, error.to_string()),
        Err(error @ BusError::Unavailable(_)) => {
            Outcome::NotSent(ErrorCode::RegistryUnavailable, error.to_string())
        }
    }
}
