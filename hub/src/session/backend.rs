//! What a backend asks of a node, counted. The HTTP API and the library face are both a thin skin over this.

use std::time::Instant;

use super::edge::Edge;
use crate::{
    identity::{GroupName, UserId},
    protocol::{
        message::{KickRequest, Message, SendOptions},
        send_result::{BroadcastResult, KickResult, SendResult},
    },
};

impl Edge {
    /// Sends a message to every connection of a user on all nodes, with retries, and says what happened.
    pub async fn send_to_user(
        &self,
        receiver: &UserId,
        message: &Message,
        options: &SendOptions,
    ) -> SendResult {
        let accepted = Instant::now();
        let result = self.router.send_to_user(None, receiver, message, options).await;
        self.metrics.sent(result.status, accepted.elapsed());
        result
    }

    /// Sends a message to every connection of every node, each at most once.
    pub async fn broadcast(&self, message: &Message, options: &SendOptions) -> BroadcastResult {
        let result = self.router.broadcast(message, options).await;
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

    /// Closes a user's connections on all nodes and counts them.
    pub async fn kick(&self, user: &UserId, request: &KickRequest) -> KickResult {
        let result = self.router.kick(user, request).await;
        self.metrics.kicked.inc_by(u64::from(result.kicked_connections));
        result
    }
}
