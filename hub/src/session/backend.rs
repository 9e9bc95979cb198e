//! What a backend asks of a node, counted. The HTTP API and the library face are both a thin skin over this.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::edge::Edge;
use crate::{
    identity::{GroupName, UserId},
    observe::follow_trace,
    protocol::{
        error_code::ErrorCode,
        message::{KickRequest, Message, SendOptions},
        message_batch::BatchEntry,
        send_result::{BroadcastResult, KickResult, SendError, SendResult, SendStatus},
    },
    routing::idempotency::Principal,
    routing::ports::DirectoryError,
};

impl Edge {
    /// Sends a message to every connection of a user on all nodes, with retries, and says what happened. One with a
    /// `message_id` is sent to its end even when the caller goes away, so that a repeat of it finds its result; one that
    /// is stored too, so that whoever has the receiver hears of it.
    pub async fn send_to_user(
        self: &Arc<Self>,
        principal: Principal,
        receiver: &UserId,
        message: &Message,
        options: &SendOptions,
    ) -> SendResult {
        let accepted = Instant::now();
        let result = if message.message_id.is_none() && !options.store {
            self.router.send_to_user(None, receiver, message, options, accepted).await
        } else {
            let edge = Arc::clone(self);
            let (receiver, message, options) = (receiver.clone(), message.clone(), *options);
            let sending = self.tasks.spawn(follow_trace(async move {
                edge.router.send_once(&principal, None, &receiver, &message, &options, None).await
            }));
            sending.await.unwrap_or_else(|_| self.interrupted())
        };
        self.metrics.sent(result.status, accepted.elapsed());
        result
    }

    /// Sends many messages at once, to their ends even when the caller goes away; the results are in their order.
    pub async fn send_batch(
        self: &Arc<Self>,
        principal: Principal,
        entries: Vec<BatchEntry>,
    ) -> Vec<SendResult> {
        let (accepted, count) = (Instant::now(), entries.len());
        let edge = Arc::clone(self);
        let sending = async move { edge.router.send_batch(&principal, &entries).await };
        let sending = self.tasks.spawn(follow_trace(sending));
        let results = sending.await.unwrap_or_else(|_| (0..count).map(|_| self.interrupted()).collect());
        let took = accepted.elapsed();
        for same in results.chunk_by(|one, next| one.status == next.status) {
            if let Some(first) = same.first() {
                self.metrics.sent_many(first.status, took, same.len());
            }
        }
        results
    }

    /// What is true of a send whose task ended without a result.
    fn interrupted(&self) -> SendResult {
        let detail = "the send was interrupted".to_owned();
        let error = Some(SendError { code: ErrorCode::Internal, detail });
        let id = self.router.next_message_id().to_string();
        SendResult::without_connections(id, SendStatus::Unknown, error, Duration::ZERO)
    }

    /// Sends a message to every connection of every node but those of `excluded` users, which are sorted; to each at
    /// most once.
    pub async fn broadcast(
        &self,
        message: &Message,
        options: &SendOptions,
        excluded: &[UserId],
    ) -> BroadcastResult {
        let result = self.router.broadcast(message, options, excluded).await;
        self.metrics.broadcast(result.status);
        result
    }

    /// Sends a message to the members of a group on all nodes, each at most once.
    pub async fn send_to_group(
        &self,
        group: &GroupName,
        message: &Message,
        options: &SendOptions,
    ) -> BroadcastResult {
        let result = self.router.send_to_group(None, group, message, options).await;
        self.metrics.group_send(result.status);
        result
    }

    /// Closes a user's connections on all nodes, with a ban first if one is wanted, and counts them.
    ///
    /// # Errors
    /// [`DirectoryError`] when the ban cannot be written: then nothing was done.
    pub async fn kick(&self, user: &UserId, request: &KickRequest) -> Result<KickResult, DirectoryError> {
        let result = self.router.kick(user, request).await?;
        self.metrics.kicked.inc_by(u64::from(result.kicked_connections));
        Ok(result)
    }
}
