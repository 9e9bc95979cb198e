//! One client connection as the rest of the hub sees it.

use std::{
    sync::{Arc, atomic::AtomicBool},
    time::SystemTime,
};

use super::{
    memberships::Memberships,
    outbound_queue::{OutboundQueue, QueueLimits},
    queue_budget::QueueBudget,
};
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
    /// Whether the directory took it once.
    pub listed: AtomicBool,
    /// Frames on their way to the client.
    pub queue: OutboundQueue,
    /// The groups it is in; changed by the roster.
    pub groups: Memberships,
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
        let (queue, groups) = (OutboundQueue::new(limits), Memberships::default());
        let listed = AtomicBool::new(false);
        Self { id, user, client, remote_address, connected_at, listed, queue, groups }
    }

    /// The same with a queue that counts against a budget.
    #[must_use]
    pub fn within(mut self, budget: Arc<QueueBudget>) -> Self {
        self.queue = self.queue.within(budget);
        self
    }
}
