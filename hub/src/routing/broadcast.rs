//! A message for everyone.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use super::{
    dispatch,
    router::{Router, rfc3339},
    tally::Outcome,
};
use crate::{
    identity::UserId,
    local::broadcast_walk::BroadcastWalk,
    protocol::{
        broadcast_payload,
        envelope::{Envelope, Kind},
        message::{Message, SendOptions, Wait},
        send_result::{BroadcastResult, BroadcastStatus},
        server_frame::{self, Outgoing},
        wire_frame::WireFrame,
    },
};

/// Connections that get a frame before other tasks get their turn: some 0.1 ms, as for a group. A session that runs between
/// two broadcasts of a burst writes one frame where it could have written many.
const STEP: usize = 1024;

impl Router {
    /// Sends a message to every connection of every node, each at most once, and says which nodes confirmed. The
    /// connections of `excluded` users, which are sorted, get nothing.
    pub async fn broadcast(
        &self,
        message: &Message,
        options: &SendOptions,
        excluded: &[UserId],
    ) -> BroadcastResult {
        let accepted = Instant::now();
        let id = self.next_message_id().to_string();
        let create_at = rfc3339(SystemTime::now());
        let outgoing =
            Outgoing { id: &id, sender: None, receiver: None, group: None, create_at: &create_at, ack: None };
        let frame = server_frame::message(message, &outgoing);
        let wants_report = options.wait != Wait::None;

        let (others, registry_error) = self.other_nodes(options.timeout).await;
        let left = options.timeout.saturating_sub(accepted.elapsed());
        let timeout = if wants_report { left } else { Duration::ZERO };
        let (kind, payload) = match excluded {
            [] => (Kind::Broadcast, frame.bytes().clone()),
            some => (Kind::BroadcastExcept, broadcast_payload::encode(some, frame.bytes())),
        };
        let envelope = Envelope {
            kind,
            wants_report,
            patience: wants_report.then_some(left),
            number: self.next_number(),
            subject: None,
            payload,
        };
        let expected = if wants_report { others.clone() } else { Vec::new() };
        let remote = async {
            // Alone, there is nobody to hear it.
            if others.is_empty() && registry_error.is_none() {
                return Ok(Vec::new());
            }
            self.bus.broadcast(expected, envelope, timeout).await
        };
        let local = self.to_all_here(frame, excluded.to_vec(), wants_report.then_some(timeout));
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

    /// Gives a frame to all connections of this node; with a `patience`, waits so long for the kernel and says how many
    /// got it. One broadcast after the other, so that all connections see them in one order.
    pub(super) fn to_all_here(
        &self,
        frame: WireFrame,
        excluded: Vec<UserId>,
        patience: Option<Duration>,
    ) -> impl Future<Output = u32> + Send + 'static {
        let turn = Arc::clone(&self.broadcast_turn);
        let mut walk = BroadcastWalk::new(Arc::clone(&self.local), frame, excluded, patience.is_some());
        async move {
            let began = Instant::now();
            let turn = turn.lock_owned().await;
            while walk.step(STEP) {
                tokio::task::yield_now().await;
            }
            drop(turn);
            let (Some(settled), Some(patience)) = (walk.finish(), patience) else { return 0 };
            let left = patience.saturating_sub(began.elapsed());
            match dispatch::confirmed(settled, left).await {
                Outcome::Reached(connections) => connections,
                _ => 0,
            }
        }
    }
}
