//! One client connection as the rest of the hub sees it.

use std::time::SystemTime;

use super::outbound_queue::{OutboundQueue, QueueLimits};
use crate::identity::{ClientId, ConnectionId, UserId};

/// One client connection. Its session drains the queue; everyone else only pushes and closes.
#[derive(Debug)]
pub struct Connection {
    /// Which.
    pub id: ConnectionId,
    /// Whose.
    pub user: UserId,
    /// The device.
    pub client: ClientId,
    /// The client's address.
    pub remote_address: String,
    /// When it was accepted.
    pub connected_at: SystemTime,
    /// Frames on their way to the client.
    pub queue: OutboundQueue,
}

impl Connection {
    /// A connection with an empty queue.
    #[must_use]
    pub fn new(
        id: ConnectionId,
        user: UserId,
        client: ClientId,
        remote_address: String,
        connected_at: SystemTime,
        limits: QueueLimits,
    ) -> Self {
        Self { id, user, client, remote_address, connected_at, queue: OutboundQueue::new(limits) }
    }
}
