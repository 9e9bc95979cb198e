//! The many messages of one call.

use std::time::{Instant, SystemTime};

use tokio::sync::oneshot;

use super::{
    dispatch::Flight,
    idempotency::{Claim, Principal, Ticket},
    message_stamp::rfc3339,
    router::Router,
    send::Composed,
    store::ToStore,
};
use crate::{
    identity::UserId,
    protocol::{
        message_batch::BatchEntry,
        send_result::{SendResult, UsersOnline},
    },
    routing::ports::DirectoryError,
};

/// What one entry is waiting for.
enum Part {
    Sent { composed: Composed, ticket: Option<Ticket> },
    UnderWay(oneshot::Receiver<Option<std::sync::Arc<SendResult>>>),
    Known(SendResult),
}

impl Router {
    /// Sends many messages of the backend at once; the results are in their order. Messages for one receiver arrive in
    /// their order, and what goes to one node travels together. Not to be given up half way, as
    /// [`Router::send_once`].
    pub async fn send_batch(&self, principal: &Principal, entries: &[BatchEntry]) -> Vec<SendResult> {
        let accepted = Instant::now();
        let now = SystemTime::now();
        let create_at = rfc3339(now);
        let mut waiting = Vec::new();
        let mut known: Vec<Option<SendResult>> = Vec::with_capacity(entries.len());
        let mut begun = Vec::with_capacity(entries.len());
        for (place, entry) in entries.iter().enumerate() {
            known.push(None);
            match self.begin(principal, entry, (now, &create_at), accepted) {
                Part::Sent { composed, ticket } => begun.push((place, composed, ticket)),
                Part::UnderWay(result) => waiting.push((place, result)),
                Part::Known(result) => known[place] = Some(result),
            }
        }
        // All that is to be kept is kept before anything leaves: a receiver's messages keep their order.
        let to_store: Vec<_> = begun
            .iter()
            .filter_map(|(place, Composed { id, frame, .. }, _)| {
                let BatchEntry { receiver, message, options } = &entries[*place];
                let name = message.message_id.as_ref().map(|message_id| (principal, message_id));
                options.store.then_some(ToStore { receiver, id, frame, options, name })
            })
            .collect();
        let mut stored = self.store_all(&to_store, accepted).await.into_iter();
        let mut flights = Vec::with_capacity(begun.len());
        let mut sent = Vec::with_capacity(begun.len());
        for (place, Composed { id, frame, ack }, ticket) in begun {
            let BatchEntry { receiver, options, .. } = &entries[place];
            let stored = if options.store { stored.next() } else { None };
            let flight = match stored {
                None => Ok(Flight::new(receiver, frame, *options)),
                Some(stored) => Flight::of_stored(stored, receiver, *options),
            };
            match flight {
                Ok(mut flight) => {
                    self.try_here(&mut flight);
                    flights.push(flight.awaiting(ack));
                    sent.push((place, id, ticket));
                }
                Err(result) => {
                    if let Some(ticket) = ticket {
                        ticket.settle(&result, true, Instant::now());
                    }
                    known[place] = Some(*result);
                }
            }
        }
        self.run(&mut flights, accepted, None).await;
        let now = Instant::now();
        let took = now.duration_since(accepted);
        for (flight, (place, id, ticket)) in flights.into_iter().zip(sent) {
            let result = flight.result(id, &self.own_node, took);
            if let Some(ticket) = ticket {
                ticket.settle(&result, entries[place].options.store, now);
            }
            known[place] = Some(result);
        }
        // Only after the own ones are settled: two calls may wait for each other's.
        for (place, result) in waiting {
            known[place] = result.await.ok().flatten().map(|result| (*result).clone());
        }
        let mut results = Vec::with_capacity(entries.len());
        for (entry, result) in entries.iter().zip(known) {
            let BatchEntry { receiver, message, options } = entry;
            results.push(match result {
                Some(result) => SendResult { message_id: message.message_id.clone(), ..result },
                // Whoever was sending it has given up.
                None => self.send_once(principal, None, receiver, message, options, None).await,
            });
        }
        results
    }

    fn begin(
        &self,
        principal: &Principal,
        entry: &BatchEntry,
        accepted: (SystemTime, &str),
        now: Instant,
    ) -> Part {
        let BatchEntry { receiver, message, options } = entry;
        let claim = message
            .message_id
            .as_ref()
            .map(|id| self.idempotency.claim(principal, id, receiver.as_str(), now));
        let ticket = match claim {
            None => None,
            Some(Claim::First(ticket)) => Some(ticket),
            Some(Claim::UnderWay(result)) => return Part::UnderWay(result),
            Some(Claim::Known(result)) => return Part::Known((*result).clone()),
        };
        Part::Sent { composed: self.compose(None, receiver, message, options, accepted), ticket }
    }

    /// Which of the users are online, and where. At most 1,000 are asked for at once.
    ///
    /// # Errors
    /// [`DirectoryError`] when the registry cannot be asked.
    pub async fn users_online(&self, users: &[UserId]) -> Result<UsersOnline, DirectoryError> {
        let presences = self.directory.locate_many(users).await?;
        if presences.iter().any(|presence| presence.doubtful && presence.connections.is_empty()) {
            let why = "other: the registry is not whole yet, so nobody can be said to be offline";
            return Err(DirectoryError::Unavailable(why.to_owned()));
        }
        let online = users.iter().zip(presences).filter(|(_, presence)| !presence.connections.is_empty());
        let online = online.map(|(user, presence)| {
            let mut nodes: Vec<_> =
                presence.connections.into_iter().map(|present| present.instance.node).collect();
            nodes.sort();
            nodes.dedup();
            (user.clone(), nodes)
        });
        Ok(UsersOnline { online: online.collect() })
    }
}
