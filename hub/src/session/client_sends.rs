//! What one client sends: messages to different users travel at the same time, those to one user in order.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use parking_lot::Mutex;

use super::edge::Edge;
use crate::{
    identity::UserId,
    local::connection::Connection,
    protocol::{
        client_frame::ClientMessage,
        message::{Message, SendOptions, Wait},
        server_frame,
    },
};

/// A client's messages on their way. They outlive the connection: what was accepted is sent to its end.
pub struct ClientSends(Arc<Shared>);

struct Shared {
    edge: Arc<Edge>,
    connection: Arc<Connection>,
    in_flight: AtomicUsize,
    /// Messages that wait for an earlier one to the same receiver; an entry is there while one is being sent.
    waiting: Mutex<HashMap<UserId, VecDeque<Message>>>,
}

/// As many messages are on their way as one client may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} messages are being sent already, wait for their results")]
pub struct TooManyInFlight(usize);

impl ClientSends {
    /// No messages yet.
    #[must_use]
    pub fn new(edge: Arc<Edge>, connection: Arc<Connection>) -> Self {
        Self(Arc::new(Shared { edge, connection, in_flight: AtomicUsize::new(0), waiting: Mutex::default() }))
    }

    /// Accepts a message; its result, if it has an id, comes through the connection's queue.
    ///
    /// # Errors
    /// [`TooManyInFlight`]: the message was not accepted.
    pub fn accept(&self, message: ClientMessage) -> Result<(), TooManyInFlight> {
        let limit = self.0.edge.hot.now().limits.client_in_flight;
        if self.0.in_flight.load(Ordering::Acquire) >= limit {
            return Err(TooManyInFlight(limit));
        }
        self.0.in_flight.fetch_add(1, Ordering::AcqRel);
        let ClientMessage { receiver, message } = message;
        let mut waiting = self.0.waiting.lock();
        if let Some(behind) = waiting.get_mut(&receiver) {
            behind.push_back(message);
            return Ok(());
        }
        waiting.insert(receiver.clone(), VecDeque::new());
        drop(waiting);
        let shared = Arc::clone(&self.0);
        self.0.edge.tasks.spawn(async move { shared.send_in_order(receiver, message).await });
        Ok(())
    }
}

impl Shared {
    /// Sends a message, then those that came for the same receiver meanwhile.
    async fn send_in_order(&self, receiver: UserId, first: Message) {
        let mut next = Some(first);
        while let Some(message) = next {
            self.send(&receiver, &message).await;
            self.in_flight.fetch_sub(1, Ordering::AcqRel);
            let mut waiting = self.waiting.lock();
            next = waiting.get_mut(&receiver).and_then(VecDeque::pop_front);
            if next.is_none() {
                waiting.remove(&receiver);
            }
        }
    }

    async fn send(&self, receiver: &UserId, message: &Message) {
        // Without an id nobody will read the result, so nobody has to wait for it.
        let wait = if message.message_id.is_some() { Wait::Delivered } else { Wait::None };
        let options = SendOptions { wait, ..SendOptions::default() };
        let accepted = Instant::now();
        let sender = Some(&self.connection.user);
        let result = self.edge.router.send_to_user(sender, receiver, message, &options).await;
        self.edge.metrics.sent(result.status, accepted.elapsed());
        if let Some(message_id) = &message.message_id {
            // A connection that is gone or closing reads no result.
            let _ = self.connection.queue.push(server_frame::result(message_id, &result), None);
        }
    }
}
