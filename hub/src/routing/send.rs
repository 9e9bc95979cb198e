//! A message for one user.

use std::{
    sync::atomic::AtomicBool,
    time::{Instant, SystemTime},
};

use super::{
    acks::AwaitedAck,
    dispatch::Flight,
    idempotency::{Claim, Principal, Ticket},
    message_stamp::with_rfc3339,
    router::Router,
    store::ToStore,
};
use crate::{
    identity::UserId,
    protocol::{
        message::{Message, SendOptions, Wait},
        send_result::SendResult,
        server_frame::{self, Outgoing},
        wire_frame::WireFrame,
    },
};

impl Router {
    /// Sends a message to every connection of a user, on all nodes, and says what happened. `sender` is none for
    /// the backend; `accepted` is when it was asked for.
    pub async fn send_to_user(
        &self,
        sender: Option<&UserId>,
        receiver: &UserId,
        message: &Message,
        options: &SendOptions,
        accepted: Instant,
    ) -> SendResult {
        self.send_now(None, sender, receiver, message, options, (accepted, None)).await
    }

    /// The same, but a message that `principal` sent with the same `message_id` to the same user within a minute is not
    /// sent again: its first result is the answer, as soon as it is known. `retrying` is set once something is tried
    /// again. Not to be given up half way: a repeat would then be sent.
    pub async fn send_once(
        &self,
        principal: &Principal,
        sender: Option<&UserId>,
        receiver: &UserId,
        message: &Message,
        options: &SendOptions,
        retrying: Option<&AtomicBool>,
    ) -> SendResult {
        let ticket = match self.claim(principal, receiver, message).await {
            Ok(ticket) => ticket,
            Err(known) => return known,
        };
        let timing = (Instant::now(), retrying);
        let result = self.send_now(Some(principal), sender, receiver, message, options, timing).await;
        if let Some(ticket) = ticket {
            ticket.settle(&result, options.store, Instant::now());
        }
        result
    }

    /// The right to send a message, if it needs one, or the result of the same message sent before.
    async fn claim(
        &self,
        principal: &Principal,
        receiver: &UserId,
        message: &Message,
    ) -> Result<Option<Ticket>, SendResult> {
        let Some(message_id) = &message.message_id else { return Ok(None) };
        loop {
            let known = match self.idempotency.claim(principal, message_id, receiver.as_str(), Instant::now())
            {
                Claim::First(ticket) => return Ok(Some(ticket)),
                Claim::Known(known) => Some(known),
                Claim::UnderWay(result) => result.await.ok().flatten(),
            };
            if let Some(known) = known {
                return Err(SendResult { message_id: Some(message_id.clone()), ..(*known).clone() });
            }
        }
    }

    async fn send_now(
        &self,
        principal: Option<&Principal>,
        sender: Option<&UserId>,
        receiver: &UserId,
        message: &Message,
        options: &SendOptions,
        (accepted, retrying): (Instant, Option<&AtomicBool>),
    ) -> SendResult {
        let now = SystemTime::now();
        let Composed { id, frame, ack } =
            with_rfc3339(now, |create_at| self.compose(sender, receiver, message, options, (now, create_at)));
        let mut flight = if options.store {
            let name = principal.zip(message.message_id.as_ref());
            let to_store = ToStore { receiver, id: &id, frame: &frame, options, name };
            // In a box, as below.
            let stored = Box::pin(self.store(&to_store, accepted)).await;
            match Flight::of_stored(stored, receiver, *options) {
                Ok(flight) => flight,
                Err(result) => {
                    return SendResult { message_id: message.message_id.clone(), ..*result };
                }
            }
        } else {
            Flight::new(receiver, frame, *options)
        };
        flight = flight.awaiting(ack);
        self.try_here(&mut flight);
        // Most messages of a node whose users are here end here. The rest is in a box, so that these do not carry it.
        if !self.is_done_here(&flight) {
            Box::pin(self.run(std::slice::from_mut(&mut flight), accepted, retrying)).await;
        }
        let mut result = flight.result(id, &self.own_node, accepted.elapsed());
        result.message_id.clone_from(&message.message_id);
        result
    }

    /// A message for one user as it will travel, accepted at a time and its text.
    pub(super) fn compose(
        &self,
        sender: Option<&UserId>,
        receiver: &UserId,
        message: &Message,
        options: &SendOptions,
        (now, create_at): (SystemTime, &str),
    ) -> Composed {
        let id = self.ids.next(now).to_string();
        let ack = (options.wait == Wait::Acked).then(|| self.acks.expect(receiver));
        let token = ack.as_ref().map(|awaited| awaited.token(self.own()));
        let (receiver, ack_of) = (Some(receiver), token.as_ref());
        let outgoing = Outgoing { id: &id, sender, receiver, group: None, create_at, ack: ack_of };
        let frame = server_frame::message(message, &outgoing);
        Composed { id, frame, ack }
    }
}

/// A message for one user as it will travel.
pub(super) struct Composed {
    /// The hub's id of it.
    pub(super) id: String,
    pub(super) frame: WireFrame,
    /// The receiver's word, where it is waited for.
    pub(super) ack: Option<AwaitedAck>,
}
