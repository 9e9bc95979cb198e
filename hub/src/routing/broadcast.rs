//! A message for everyone.

use std::time::{Duration, Instant, SystemTime};

use super::{
    router::{Router, rfc3339},
    tally::Outcome,
};
use crate::{
    local::fan_out,
    protocol::{
        envelope::{Envelope, Kind},
        message::{Message, SendOptions, Wait},
        send_result::{BroadcastResult, BroadcastStatus},
        server_frame::{self, Outgoing},
    },
};

impl Router {
    /// Sends a message to every connection of every node, each at most once, and says which nodes confirmed.
    pub async fn broadcast(&self, message: &Message, options: &SendOptions) -> BroadcastResult {
        let accepted = Instant::now();
        let id = self.next_message_id().to_string();
        let create_at = rfc3339(SystemTime::now());
        let outgoing = Outgoing { id: &id, sender: None, receiver: None, group: None, create_at: &create_at };
        let frame = server_frame::message(message, &outgoing);
        let wants_report = options.wait == Wait::Delivered;

        let (others, registry_error) = self.other_nodes(options.timeout).await;
        let envelope = Envelope {
            kind: Kind::Broadcast,
            wants_report,
            patience: None,
            number: self.next_number(),
            subject: None,
            payload: frame.bytes().clone(),
        };
        let expected = if wants_report { others.clone() } else { Vec::new() };
        let left = options.timeout.saturating_sub(accepted.elapsed());
        let timeout = if wants_report { left } else { Duration::ZERO };
        let remote = async {
            // Alone, there is nobody to hear it.
            if others.is_empty() && registry_error.is_none() {
                return Ok(Vec::new());
            }
            self.bus.broadcast(expected, envelope, timeout).await
        };
        let local = async {
            let fan_out = fan_out::to_all(&self.local, &frame, wants_report);
            match fan_out.settled {
                Some(settled) => match super::send::confirmed(settled, timeout).await {
                    Outcome::Reached(connections) => connections,
                    _ => 0,
                },
                None => 0,
            }
        };
        let (local_connections, answers) = futures::future::join(local, remote).await;
        let published = answers.is_ok();
        let answers = answers.unwrap_or_default();

        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let nodes_expected = count(others.len()).saturating_add(1);
        let nodes_answered = if wants_report { count(answers.len()).saturating_add(1) } else { 0 };
        let status = if !published || registry_error.is_some() {
            BroadcastStatus::Partial
        } else if !wants_report {
            BroadcastStatus::Accepted
        } else if nodes_answered >= nodes_expected {
            BroadcastStatus::Complete
        } else {
            BroadcastStatus::Partial
        };
        let connections =
            answers.iter().fold(local_connections, |sum, (_, answer)| sum.saturating_add(answer.count));
        BroadcastResult { id, status, nodes_expected, nodes_answered, connections }
    }
}
