//! What clients send to the backend itself: events of the type `message`.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use tokio::sync::oneshot;

use super::{
    event_writer::LogBehind,
    idempotency::{Claim, Principal, Ticket},
    router::{Router, rfc3339},
};
use crate::{
    identity::{ConnectionId, UserId},
    protocol::{
        client_frame::BACKEND,
        error_code::ErrorCode,
        event::{Event, EventMessage},
        message::Message,
        send_result::{SendResult, SendStatus},
    },
};

/// How long a message may take into the log: as long as any send that does not say otherwise.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Why a message for the backend is not known to be in the log of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotTold {
    /// The node keeps no events.
    #[error("events are off on this node, so nobody hears @backend: WSC_EVENTS=true turns them on")]
    EventsOff,
    /// As much waits for the log as may: nothing was taken.
    #[error("too many events wait for the registry already, send it again later")]
    Behind,
    /// Not confirmed in time.
    #[error(
        "the registry did not confirm the message in time: it may have it, send it again with the same message_id"
    )]
    NotInTime,
}

impl NotTold {
    /// The stable word.
    #[must_use]
    pub fn code(self) -> ErrorCode {
        match self {
            Self::EventsOff => ErrorCode::NotFound,
            Self::Behind => ErrorCode::Overloaded,
            Self::NotInTime => ErrorCode::RegistryUnavailable,
        }
    }
}

/// A client's message for the backend.
#[derive(Debug)]
pub struct BackendMessage {
    /// Who.
    pub sender: UserId,
    /// On which connection.
    pub connection: ConnectionId,
    /// What.
    pub message: Message,
}

/// What a message is waiting for.
enum Telling {
    Queued { id: String, ticket: Option<Ticket>, written: oneshot::Receiver<()> },
    UnderWay(oneshot::Receiver<Option<Arc<SendResult>>>),
    Known(Arc<SendResult>),
}

impl Router {
    /// Puts a message for the backend behind the events that wait for the log, at once, so that messages keep the order
    /// of these calls. What is returned ends when the message is in the log: `accepted`, because only the backend could
    /// say that it was delivered. One that the same user sent with the same `message_id` within a minute is not written
    /// again. Not to be given up half way: the message would be taken back.
    ///
    /// # Errors
    /// [`NotTold`], at once when nothing was taken.
    pub fn tell_backend(
        self: &Arc<Self>,
        message: BackendMessage,
    ) -> Result<impl Future<Output = Result<SendResult, NotTold>> + Send + use<>, NotTold> {
        let accepted = Instant::now();
        let mut telling = self.begin_telling(&message)?;
        let router = Arc::clone(self);
        Ok(async move {
            loop {
                match telling {
                    Telling::Known(result) => return Ok((*result).clone()),
                    Telling::UnderWay(result) => {
                        if let Some(known) = result.await.ok().flatten() {
                            return Ok((*known).clone());
                        }
                    }
                    Telling::Queued { id, ticket, written } => {
                        let left = TIMEOUT.saturating_sub(accepted.elapsed());
                        if !matches!(tokio::time::timeout(left, written).await, Ok(Ok(()))) {
                            return Err(NotTold::NotInTime);
                        }
                        let result = SendResult::without_connections(
                            id,
                            SendStatus::Accepted,
                            None,
                            accepted.elapsed(),
                        );
                        if let Some(ticket) = ticket {
                            ticket.settle(&result, false, Instant::now());
                        }
                        return Ok(result);
                    }
                }
                // Whoever was sending it has given up.
                telling = router.begin_telling(&message)?;
            }
        })
    }

    fn begin_telling(&self, from: &BackendMessage) -> Result<Telling, NotTold> {
        let events = self.events().ok_or(NotTold::EventsOff)?;
        let BackendMessage { sender, connection, message } = from;
        let principal = Principal::User(sender.clone());
        let claim = |id| self.idempotency.claim(&principal, id, BACKEND, Instant::now());
        let ticket = match message.message_id.as_ref().map(claim) {
            None => None,
            Some(Claim::First(ticket)) => Some(ticket),
            Some(Claim::UnderWay(result)) => return Ok(Telling::UnderWay(result)),
            Some(Claim::Known(result)) => return Ok(Telling::Known(result)),
        };
        let id = self.next_message_id().to_string();
        let (node, at) = (self.own().node, rfc3339(SystemTime::now()));
        let told = EventMessage::new(id.clone(), sender, message);
        let event = Event::message(sender, *connection, &node, at, told);
        let written = events.emit_and_tell(&event).map_err(|LogBehind| NotTold::Behind)?;
        Ok(Telling::Queued { id, ticket, written })
    }
}
