//! What one client sends to the backend itself.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use super::{admission::SendRight, edge::Edge};
use crate::{
    local::connection::Connection,
    protocol::{error_code::ErrorCode, message::Message, server_frame},
    routing::backend_message::{BackendMessage, NotTold},
};

/// Why a message for the backend is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BackendRefusal {
    /// The client may not.
    #[error("sending to @backend is not granted")]
    NotGranted,
    /// As many are on their way as one client may have.
    #[error("{0} messages for @backend are on their way already, wait for their results")]
    TooManyInFlight(usize),
    /// Nothing was taken.
    #[error(transparent)]
    NotTold(#[from] NotTold),
}

impl BackendRefusal {
    /// The stable word.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::NotGranted => ErrorCode::NotPermitted,
            Self::TooManyInFlight(_) => ErrorCode::RateLimited,
            Self::NotTold(why) => why.code(),
        }
    }
}

/// A client's messages for the backend on their way. They outlive the connection: what was accepted is brought to its
/// end.
pub struct BackendSends {
    edge: Arc<Edge>,
    connection: Arc<Connection>,
    in_flight: Arc<AtomicUsize>,
}

impl BackendSends {
    /// No messages yet.
    #[must_use]
    pub fn new(edge: Arc<Edge>, connection: Arc<Connection>) -> Self {
        Self { edge, connection, in_flight: Arc::default() }
    }

    /// Accepts a message, which is put behind those accepted before; its answer, if it has an id, comes through the
    /// connection's queue once the log of events has it.
    ///
    /// # Errors
    /// [`BackendRefusal`]: the message was not accepted.
    pub fn accept(&self, message: Message, right: &SendRight) -> Result<(), BackendRefusal> {
        if !right.covers_backend() {
            return Err(BackendRefusal::NotGranted);
        }
        let limit = self.edge.hot.now().limits.client_in_flight;
        // Only the session of this connection adds, so nothing comes between.
        if self.in_flight.load(Ordering::Acquire) >= limit {
            return Err(BackendRefusal::TooManyInFlight(limit));
        }
        let (sender, message_id) = (self.connection.user.clone(), message.message_id.clone());
        let message = BackendMessage { sender, connection: self.connection.id, message };
        let telling = self.edge.router.tell_backend(message)?;
        self.in_flight.fetch_add(1, Ordering::AcqRel);
        let (connection, in_flight) = (Arc::clone(&self.connection), Arc::clone(&self.in_flight));
        let metrics = Arc::clone(&self.edge.metrics);
        self.edge.tasks.spawn(async move {
            let told = telling.await;
            in_flight.fetch_sub(1, Ordering::AcqRel);
            metrics
                .backend_message(told.as_ref().map_or_else(|why| why.code().as_str(), |r| r.status.as_str()));
            if let Some(message_id) = &message_id {
                let answer = match told {
                    Ok(result) => server_frame::result(message_id, &result),
                    Err(why) => server_frame::error(Some(message_id), why.code(), &why.to_string()),
                };
                // A connection that is gone or closing reads no result.
                let _ = connection.queue.push(answer, None);
            }
        });
        Ok(())
    }
}
