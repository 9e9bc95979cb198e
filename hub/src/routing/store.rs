//! Messages that are kept first and delivered then.

use std::{collections::HashMap, sync::Arc, time::Instant};

use futures::StreamExt;
use sha2::{Digest, Sha256};

use super::{
    dispatch::Flight,
    idempotency::Principal,
    inbox::{Kept, StoreError, StoreRequest},
    inbox_desk::{InboxDesk, count},
    router::Router,
};
use crate::{
    identity::{MessageId, NodeInstance, UserId},
    protocol::{
        envelope::{Envelope, Kind},
        error_code::ErrorCode,
        message::SendOptions,
        send_result::{SendError, SendResult, SendStatus},
        stored_notice::{StoredNotice, with_offset},
        wire_frame::WireFrame,
    },
};

/// Receivers whose messages of one call are stored at the same time.
const RECEIVERS_AT_ONCE: usize = 128;

/// A message that is to be kept.
pub(super) struct ToStore<'a> {
    pub(super) receiver: &'a UserId,
    /// The hub's id of it.
    pub(super) id: &'a str,
    /// What its receivers get, without an offset.
    pub(super) frame: &'a WireFrame,
    pub(super) options: &'a SendOptions,
    /// Who sends it under which name, if it has one.
    pub(super) name: Option<(&'a Principal, &'a MessageId)>,
}

/// What has become of a message that was to be kept.
pub(super) enum Stored {
    /// It is kept now, and to be delivered.
    Now { notice: StoredNotice, nodes: Vec<NodeInstance> },
    /// There is a result already.
    Settled(Box<SendResult>),
}

impl Router {
    /// Keeps messages; those for one receiver in their order. The answers are in the order of the messages.
    pub(super) async fn store_all(&self, messages: &[ToStore<'_>], accepted: Instant) -> Vec<Stored> {
        let mut of_receiver: HashMap<&UserId, Vec<usize>> = HashMap::new();
        for (place, message) in messages.iter().enumerate() {
            of_receiver.entry(message.receiver).or_default().push(place);
        }
        let stored: Vec<Vec<(usize, Stored)>> = futures::stream::iter(of_receiver.into_values())
            .map(|places| async move {
                let mut stored = Vec::with_capacity(places.len());
                for place in places {
                    stored.push((place, self.store(&messages[place], accepted).await));
                }
                stored
            })
            .buffer_unordered(RECEIVERS_AT_ONCE)
            .collect()
            .await;
        let mut stored: Vec<_> = stored.into_iter().flatten().collect();
        stored.sort_unstable_by_key(|(place, _)| *place);
        stored.into_iter().map(|(_, stored)| stored).collect()
    }

    /// Keeps a message.
    pub(super) async fn store(&self, message: &ToStore<'_>, accepted: Instant) -> Stored {
        let settled = |status, code, detail: String| {
            let error = Some(SendError { code, detail });
            Stored::Settled(Box::new(SendResult::without_connections(
                message.id.to_owned(),
                status,
                error,
                accepted.elapsed(),
            )))
        };
        let (desk, frame) = (&self.inboxes, message.frame.bytes());
        let counts = desk.counts();
        if desk.limits.messages == 0 {
            count(&counts.refused_request, 1);
            let detail = "stored messages are off: WSC_INBOX_MAX_MESSAGES is 0".to_owned();
            return settled(SendStatus::Failed, ErrorCode::BadRequest, detail);
        }
        let (bytes, most) = (u64::try_from(frame.len()).unwrap_or(u64::MAX), desk.limits.bytes);
        if bytes > most {
            count(&counts.refused_request, 1);
            let detail = format!("the message takes {bytes} bytes, an inbox holds at most {most}");
            return settled(SendStatus::Failed, ErrorCode::PayloadTooLarge, detail);
        }
        let key = message.name.map(|(principal, name)| key(principal, name));
        let request = StoreRequest {
            user: message.receiver,
            id: message.id,
            frame,
            key: key.as_deref(),
            ttl: message.options.ttl,
        };
        let left = message.options.timeout.saturating_sub(accepted.elapsed());
        let late = |_| Err(StoreError::Unknown("no answer in time".to_owned()));
        let kept = match tokio::time::timeout(left, desk.inbox.store(request)).await.unwrap_or_else(late) {
            Ok(kept) => kept,
            Err(error) => {
                let (counter, status, code) = match error {
                    StoreError::Unavailable(_) => {
                        (&counts.refused_registry, SendStatus::Failed, ErrorCode::RegistryUnavailable)
                    }
                    StoreError::Unknown(_) => {
                        (&counts.unknown, SendStatus::Unknown, ErrorCode::RegistryUnavailable)
                    }
                    StoreError::NoRoom(_) => {
                        (&counts.refused_memory, SendStatus::Failed, ErrorCode::Overloaded)
                    }
                };
                count(counter, 1);
                return settled(status, code, error.to_string());
            }
        };
        self.note_kept(message, kept, accepted)
    }

    fn note_kept(&self, message: &ToStore<'_>, kept: Kept, accepted: Instant) -> Stored {
        let Kept { offset, prev, duplicate_of, trimmed, nodes } = kept;
        let counts = self.inboxes.counts();
        if let Some(id) = duplicate_of {
            count(&counts.duplicates, 1);
            // Whoever stored it first may not have learned that it did, and told nobody.
            let notice = StoredNotice { offset, prev, frame: None };
            self.tell(message.receiver, &notice, &nodes);
            let first = SendResult::without_connections(id, SendStatus::Stored, None, accepted.elapsed());
            let offset = Some(offset.to_string());
            return Stored::Settled(Box::new(SendResult { duplicate: true, offset, ..first }));
        }
        count(&counts.stored, 1);
        count(&counts.trimmed, trimmed);
        let frame = with_offset(message.frame.bytes(), offset);
        Stored::Now { notice: StoredNotice { offset, prev, frame }, nodes: self.without_own(nodes) }
    }

    /// Tells everyone who has the user that there is something in the inbox; nobody waits.
    fn tell(&self, user: &UserId, notice: &StoredNotice, nodes: &[NodeInstance]) {
        self.give_here(user, notice, false);
        for node in self.without_own(nodes.to_vec()) {
            let envelope = Envelope {
                kind: Kind::Stored,
                wants_report: false,
                patience: None,
                number: 0,
                subject: Some(user.clone()),
                payload: notice.encode(),
            };
            // Who is not told reads it when it asserts its users.
            let _ = self.bus.post(&node, envelope);
        }
    }

    /// What this node does for the inboxes of its connections.
    #[must_use]
    pub fn inboxes(&self) -> &Arc<InboxDesk> {
        &self.inboxes
    }
}

impl<'a> Flight<'a> {
    /// The message on its way, if it is, or its result.
    pub(super) fn of_stored(
        stored: Stored,
        receiver: &'a UserId,
        options: SendOptions,
    ) -> Result<Self, Box<SendResult>> {
        match stored {
            Stored::Now { notice, nodes } => Ok(Self::stored(receiver, notice, nodes, options)),
            Stored::Settled(result) => Err(result),
        }
    }
}

/// Stands for a message of a principal in a user's slot.
fn key(principal: &Principal, message: &MessageId) -> String {
    let (kind, name) = match principal {
        Principal::User(user) => ("user", user.as_str()),
        Principal::Key(name) => ("key", &**name),
        Principal::Library => ("library", ""),
    };
    let mut hash = Sha256::new();
    // Neither a kind nor a message id holds a slash, so no two of them read the same.
    hash.update(format!("{kind}/{message}/{name}"));
    hash.finalize()[..16].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_tell_principals_and_messages_apart() {
        let id = |text: &str| MessageId::new(text).unwrap();
        let user = Principal::User(UserId::new("api").unwrap());
        let keys = [
            key(&Principal::Key("api".into()), &id("m1")),
            key(&Principal::Key("api".into()), &id("m2")),
            key(&Principal::Key("api2".into()), &id("m1")),
            key(&user, &id("m1")),
            key(&Principal::Library, &id("m1")),
        ];
        for (place, one) in keys.iter().enumerate() {
            assert_eq!(one.len(), 32);
            assert!(keys[..place].iter().all(|other| other != one), "{place}");
        }
        assert_eq!(keys[0], key(&Principal::Key("api".into()), &id("m1")));
    }
}
