//! What one client sends: messages to different users travel at the same time, those to one user in order.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Instant,
};

use parking_lot::Mutex;

use super::edge::Edge;
use crate::{
    identity::UserId,
    local::connection::Connection,
    protocol::{
        ack_token::AckToken,
        client_frame::ClientMessage,
        error_code::ErrorCode,
        message::{Message, SendOptions, Wait},
        server_frame,
    },
    routing::idempotency::Principal,
};

/// A client's messages on their way. They outlive the connection: what was accepted is sent to its end.
pub struct ClientSends(Arc<Shared>);

struct Shared {
    edge: Arc<Edge>,
    connection: Arc<Connection>,
    in_flight: AtomicUsize,
    /// Messages that wait for an earlier one to the same receiver; an entry is there while one is being sent.
    waiting: Mutex<HashMap<UserId, Behind>>,
}

/// What waits behind a message to one receiver.
#[derive(Default)]
struct Behind {
    messages: VecDeque<Message>,
    /// Whether the message in front is tried again.
    retrying: Arc<AtomicBool>,
}

/// Messages that may wait behind one that is tried again. More would only grow old.
const BEHIND_A_RETRY: usize = 16;

/// Why a message was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAccepted {
    /// As many are on their way as one client may have.
    #[error("{0} messages are being sent already, wait for their results")]
    TooManyInFlight(usize),
    /// As many wait for one receiver as may, while it cannot be reached.
    #[error("an earlier message to user:{0} is being tried again, and {BEHIND_A_RETRY} wait behind it")]
    ReceiverOverloaded(UserId),
}

impl NotAccepted {
    /// The word for it.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::TooManyInFlight(_) => ErrorCode::RateLimited,
            Self::ReceiverOverloaded(_) => ErrorCode::Overloaded,
        }
    }
}

impl ClientSends {
    /// No messages yet.
    #[must_use]
    pub fn new(edge: Arc<Edge>, connection: Arc<Connection>) -> Self {
        Self(Arc::new(Shared { edge, connection, in_flight: AtomicUsize::new(0), waiting: Mutex::default() }))
    }

    /// Accepts a message; its result, if it has an id, comes through the connection's queue.
    ///
    /// # Errors
    /// [`NotAccepted`]: the message was not accepted.
    pub fn accept(&self, message: ClientMessage) -> Result<(), NotAccepted> {
        self.0.begin()?;
        let ClientMessage { receiver, message } = message;
        let mut waiting = self.0.waiting.lock();
        if let Some(behind) = waiting.get_mut(&receiver) {
            if behind.messages.len() >= BEHIND_A_RETRY && behind.retrying.load(Ordering::Acquire) {
                self.0.in_flight.fetch_sub(1, Ordering::AcqRel);
                return Err(NotAccepted::ReceiverOverloaded(receiver));
            }
            behind.messages.push_back(message);
            return Ok(());
        }
        let behind = Behind::default();
        let retrying = Arc::clone(&behind.retrying);
        waiting.insert(receiver.clone(), behind);
        drop(waiting);
        let shared = Arc::clone(&self.0);
        self.0.edge.tasks.spawn(async move { shared.send_in_order(receiver, message, &retrying).await });
        Ok(())
    }

    /// Brings the client's word that it has a message to where its sender waits.
    ///
    /// # Errors
    /// [`NotAccepted`]: the word goes nowhere.
    pub fn acknowledge(&self, token: AckToken) -> Result<(), NotAccepted> {
        self.0.begin()?;
        let shared = Arc::clone(&self.0);
        self.0.edge.tasks.spawn(async move {
            shared.edge.router.acknowledge(&shared.connection.user, &token).await;
            shared.in_flight.fetch_sub(1, Ordering::AcqRel);
        });
        Ok(())
    }
}

impl Shared {
    /// Begins one thing that takes time, unless as many are under way as may be.
    fn begin(&self) -> Result<(), NotAccepted> {
        let limit = self.edge.hot.now().limits.client_in_flight;
        // One client's frames are read one after the other, so nobody else adds meanwhile.
        if self.in_flight.load(Ordering::Acquire) >= limit {
            return Err(NotAccepted::TooManyInFlight(limit));
        }
        self.in_flight.fetch_add(1, Ordering::AcqRel);
        Ok(())
    }

    /// Sends a message, then those that came for the same receiver meanwhile.
    async fn send_in_order(&self, receiver: UserId, first: Message, retrying: &AtomicBool) {
        let mut next = Some(first);
        while let Some(message) = next {
            self.send(&receiver, &message, retrying).await;
            retrying.store(false, Ordering::Release);
            self.in_flight.fetch_sub(1, Ordering::AcqRel);
            let mut waiting = self.waiting.lock();
            next = waiting.get_mut(&receiver).and_then(|behind| behind.messages.pop_front());
            if next.is_none() {
                waiting.remove(&receiver);
            }
        }
    }

    async fn send(&self, receiver: &UserId, message: &Message, retrying: &AtomicBool) {
        // Without an id nobody will read the result, so nobody has to wait for it.
        let wait = if message.message_id.is_some() { Wait::Delivered } else { Wait::None };
        let options = SendOptions { wait, ..SendOptions::default() };
        let accepted = Instant::now();
        let user = &self.connection.user;
        let principal = Principal::User(user.clone());
        let router = &self.edge.router;
        let mut result =
            router.send_once(&principal, Some(user), receiver, message, &options, Some(retrying)).await;
        if wait == Wait::None && result.moving {
            // Nobody is held up by waiting for a receiver on the move.
            let options = SendOptions { wait: Wait::Delivered, ..options };
            result =
                router.send_once(&principal, Some(user), receiver, message, &options, Some(retrying)).await;
        }
        self.edge.metrics.sent(result.status, accepted.elapsed());
        if let Some(message_id) = &message.message_id {
            // A connection that is gone or closing reads no result.
            let _ = self.connection.queue.push(server_frame::result(message_id, &result), None);
        }
    }
}
