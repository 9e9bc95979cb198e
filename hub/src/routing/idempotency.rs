//! Results of sends that carried a `message_id`, so that a repeat is answered and nothing is sent twice.

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasher, Hash, RandomState},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::{
    identity::{MessageId, UserId},
    protocol::send_result::{SendResult, SendStatus},
};

/// How long a result is remembered.
const KEPT: Duration = Duration::from_secs(60);
/// Results that are remembered on this node.
const MOST: usize = 1_000_000;
/// Locks over the memory.
const SHARDS: usize = 16;

/// Who asks for a send.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Principal {
    /// A client.
    User(UserId),
    /// A backend, by the name of its API key.
    Key(Arc<str>),
    /// The program that this hub is a library of.
    Library,
}

/// Stands for (principal, message_id, receiver): 128 bits by two hashes whose keys nobody knows, so that two of a
/// million never meet and nobody can make them.
type Key = [u64; 2];

enum Entry {
    UnderWay(Vec<oneshot::Sender<Option<Arc<SendResult>>>>),
    Known(Arc<SendResult>),
}

#[derive(Default)]
struct Shard {
    entries: HashMap<Key, Entry>,
    /// Known ones, oldest first.
    order: VecDeque<(Instant, Key)>,
}

/// What is known of a send that was asked for.
pub enum Claim {
    /// Nothing: it is the caller's to send, and to say what came of it.
    First(Ticket),
    /// It is under way. The result comes here; none when it was given up or is worth sending again.
    UnderWay(oneshot::Receiver<Option<Arc<SendResult>>>),
    /// It was sent, with this result.
    Known(Arc<SendResult>),
}

/// Results of the last minute.
pub struct Idempotency(Arc<Memory>);

struct Memory {
    shards: Box<[Mutex<Shard>]>,
    hashers: [RandomState; 2],
    /// Results per shard.
    most: usize,
    evicted: AtomicU64,
}

impl Default for Idempotency {
    fn default() -> Self {
        Self::holding(MOST)
    }
}

impl Idempotency {
    fn holding(most: usize) -> Self {
        Self(Arc::new(Memory {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hashers: [RandomState::new(), RandomState::new()],
            most: most / SHARDS,
            evicted: AtomicU64::new(0),
        }))
    }

    /// Asks what is known of a send; one caller at a time is told to send it. `receiver`: a user, or a receiver that
    /// is no user.
    pub fn claim(&self, principal: &Principal, message: &MessageId, receiver: &str, now: Instant) -> Claim {
        let key = self.0.key((principal, message, receiver));
        let mut shard = self.0.shard(key).lock();
        shard.expire(now);
        match shard.entries.get_mut(&key) {
            Some(Entry::Known(result)) => Claim::Known(Arc::clone(result)),
            Some(Entry::UnderWay(waiting)) => {
                let (waiter, result) = oneshot::channel();
                waiting.push(waiter);
                Claim::UnderWay(result)
            }
            None => {
                shard.entries.insert(key, Entry::UnderWay(Vec::new()));
                Claim::First(Ticket { memory: Arc::clone(&self.0), key, settled: false })
            }
        }
    }

    /// Forgets what is too old, also where nobody asks any more.
    pub fn expire(&self, now: Instant) {
        for shard in &self.0.shards {
            let mut shard = shard.lock();
            shard.expire(now);
            if shard.entries.is_empty() {
                *shard = Shard::default();
            }
        }
    }

    /// Results forgotten before their time because there were too many.
    #[must_use]
    pub fn evicted(&self) -> u64 {
        self.0.evicted.load(Ordering::Relaxed)
    }
}

impl Memory {
    fn key(&self, what: impl Hash) -> Key {
        [self.hashers[0].hash_one(&what), self.hashers[1].hash_one(&what)]
    }

    fn shard(&self, key: Key) -> &Mutex<Shard> {
        // SHARDS is far below usize::MAX, so is the remainder.
        &self.shards[usize::try_from(key[0] % (SHARDS as u64)).unwrap_or(0)]
    }

    /// Ends what is under way; `known` is what repeats are to be answered with.
    fn settle(&self, key: Key, known: Option<&Arc<SendResult>>, now: Instant) {
        let mut shard = self.shard(key).lock();
        let before = match known {
            Some(result) => {
                if shard.order.len() >= self.most
                    && let Some((_, oldest)) = shard.order.pop_front()
                {
                    shard.entries.remove(&oldest);
                    self.evicted.fetch_add(1, Ordering::Relaxed);
                }
                shard.order.push_back((now, key));
                shard.entries.insert(key, Entry::Known(Arc::clone(result)))
            }
            None => shard.entries.remove(&key),
        };
        drop(shard);
        if let Some(Entry::UnderWay(waiting)) = before {
            for waiter in waiting {
                // Whoever waited may have given up.
                let _ = waiter.send(known.cloned());
            }
        }
    }
}

impl Shard {
    fn expire(&mut self, now: Instant) {
        while self.order.front().is_some_and(|(since, _)| now.duration_since(*since) >= KEPT) {
            if let Some((_, key)) = self.order.pop_front() {
                self.entries.remove(&key);
            }
        }
    }
}

/// The right to send what was claimed. Dropping it unused lets the next one send.
pub struct Ticket {
    memory: Arc<Memory>,
    key: Key,
    settled: bool,
}

impl Ticket {
    /// Remembers what came of it. A message that certainly was not sent is not remembered: to send it again is what its
    /// caller has to do. Nor is one of which nobody knows whether it was stored: the inbox knows that when it is repeated.
    pub fn settle(mut self, result: &SendResult, stores: bool, now: Instant) {
        self.settled = true;
        let is_open = stores && result.offset.is_none();
        let known = (result.status != SendStatus::Failed && !is_open)
            .then(|| Arc::new(SendResult { duplicate: true, message_id: None, ..result.clone() }));
        self.memory.settle(self.key, known.as_ref(), now);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.settled {
            self.memory.settle(self.key, None, Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(status: SendStatus) -> SendResult {
        SendResult {
            id: "01J".to_owned(),
            message_id: None,
            status,
            connections: 1,
            nodes: Vec::new(),
            total_retries: 0,
            total_duration_ms: 0,
            attempts: Vec::new(),
            offset: None,
            moving: false,
            duplicate: false,
            error: None,
        }
    }

    fn user(name: &str) -> UserId {
        UserId::new(name).unwrap()
    }

    fn claim(memory: &Idempotency, message: &str, now: Instant) -> Claim {
        let principal = Principal::Key("api".into());
        memory.claim(&principal, &MessageId::new(message).unwrap(), "alice", now)
    }

    fn first(claim: Claim) -> Ticket {
        let Claim::First(ticket) = claim else { panic!("not the first") };
        ticket
    }

    #[test]
    fn a_repeat_is_answered_with_the_first_result_for_a_minute() {
        let (memory, now) = (Idempotency::default(), Instant::now());
        let ticket = first(claim(&memory, "m1", now));
        let Claim::UnderWay(mut early) = claim(&memory, "m1", now) else { panic!("not under way") };
        ticket.settle(&result(SendStatus::Delivered), false, now);
        let waited = early.try_recv().unwrap().unwrap();
        assert!(waited.duplicate && waited.status == SendStatus::Delivered);
        let Claim::Known(known) = claim(&memory, "m1", now + KEPT / 2) else { panic!("not known") };
        assert_eq!(known, waited);
        drop(first(claim(&memory, "m1", now + KEPT)));
    }

    #[test]
    fn principals_receivers_and_messages_are_told_apart() {
        let (memory, now) = (Idempotency::default(), Instant::now());
        let id = |text: &str| MessageId::new(text).unwrap();
        let key = |name: &str| Principal::Key(name.into());
        let mut tickets = Vec::new();
        for (principal, message, receiver) in [
            (key("api"), "m1", "alice"),
            (key("api-2"), "m1", "alice"),
            (Principal::User(user("api")), "m1", "alice"),
            (Principal::Library, "m1", "alice"),
            (key("api"), "m2", "alice"),
            (key("api"), "m1", "bob"),
        ] {
            tickets.push(first(memory.claim(&principal, &id(message), receiver, now)));
        }
    }

    #[test]
    fn what_was_given_up_or_failed_is_sent_by_the_next() {
        let (memory, now) = (Idempotency::default(), Instant::now());
        let ticket = first(claim(&memory, "m1", now));
        let Claim::UnderWay(mut waiting) = claim(&memory, "m1", now) else { panic!("not under way") };
        drop(ticket);
        assert_eq!(waiting.try_recv(), Ok(None));
        first(claim(&memory, "m1", now)).settle(&result(SendStatus::Failed), false, now);
        first(claim(&memory, "m1", now)).settle(&result(SendStatus::Offline), false, now);
        assert!(matches!(claim(&memory, "m1", now), Claim::Known(_)));
    }

    #[test]
    fn memory_is_bounded_and_evictions_are_counted() {
        let (memory, now) = (Idempotency::holding(SHARDS), Instant::now());
        for n in 0..10 * SHARDS {
            first(claim(&memory, &format!("m{n}"), now)).settle(&result(SendStatus::Delivered), false, now);
        }
        let held: usize = memory.0.shards.iter().map(|shard| shard.lock().entries.len()).sum();
        assert!(held <= SHARDS && held as u64 + memory.evicted() == 10 * SHARDS as u64, "{held}");
        memory.expire(now + KEPT);
        assert!(memory.0.shards.iter().all(|shard| shard.lock().entries.is_empty()));
    }
}
