//! One client connection as the rest of the hub sees it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use super::{
    activity::Activity,
    inbox_feed::InboxFeed,
    memberships::Memberships,
    outbound_queue::{OutboundQueue, QueueLimits},
    queue_budget::QueueBudget,
};
use crate::{
    identity::{ClientId, ConnectionId, SessionId, UserId},
    protocol::millis::millis_since_epoch,
};

/// Stands for a connection without a token.
const NO_TOKEN: u64 = u64::MAX;

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
    /// In which life of the node the directory last took it: its number, 0 for never.
    pub listed: AtomicU32,
    /// Frames on their way to the client.
    pub queue: OutboundQueue,
    /// What it was given of its user's inbox.
    pub inbox: InboxFeed,
    /// The groups it is in; changed by the roster.
    pub groups: Memberships,
    /// By which its client takes up where it was; none when sessions are off.
    pub session: Option<SessionId>,
    /// When it was last used.
    pub activity: Activity,
    /// Milliseconds after which the client was told to come back, and one more; 0 when it was not.
    sent_away: AtomicU32,
    token_issued_at: AtomicU64,
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
        Self {
            id,
            user,
            client,
            remote_address,
            connected_at,
            listed: AtomicU32::new(0),
            queue: OutboundQueue::new(limits),
            inbox: InboxFeed::default(),
            groups: Memberships::default(),
            session: None,
            activity: Activity::default(),
            sent_away: AtomicU32::new(0),
            token_issued_at: AtomicU64::new(NO_TOKEN),
        }
    }

    /// The same with a queue that counts against a budget.
    #[must_use]
    pub fn within(mut self, budget: Arc<QueueBudget>) -> Self {
        self.queue = self.queue.within(budget);
        self
    }

    /// The same with a place in its user's inbox.
    #[must_use]
    pub fn reading(mut self, inbox: InboxFeed) -> Self {
        self.inbox = inbox;
        self
    }

    /// The same with a session.
    #[must_use]
    pub fn with_session(mut self, session: Option<SessionId>) -> Self {
        self.session = session;
        self
    }

    /// The device that the client named; none for a client that named none.
    #[must_use]
    pub fn device(&self) -> Option<&ClientId> {
        Some(&self.client).filter(|client| client.as_str() != self.id.to_string())
    }

    /// Notes after which time the client is told to come back, at most 49 days; none when it is not told after all.
    pub fn set_sent_away(&self, hint: Option<Duration>) {
        let ms = hint.map_or(0, |hint| u32::try_from(hint.as_millis()).unwrap_or(u32::MAX).saturating_add(1));
        self.sent_away.store(ms, Ordering::Release);
    }

    /// After which time the client was told to come back, if it was.
    #[must_use]
    pub fn sent_away(&self) -> Option<Duration> {
        let ms = self.sent_away.load(Ordering::Acquire).checked_sub(1)?;
        Some(Duration::from_millis(ms.into()))
    }

    /// Notes the token that now counts; `issued_at` is its `iat`, if it has one.
    pub fn set_token(&self, issued_at: Option<SystemTime>) {
        let ms = issued_at.map_or(0, millis_since_epoch);
        self.token_issued_at.store(ms.min(NO_TOKEN - 1), Ordering::Release);
    }

    /// When the token was issued, in ms since the epoch; 0 when it does not say, none without a token.
    #[must_use]
    pub fn token_issued_at(&self) -> Option<u64> {
        Some(self.token_issued_at.load(Ordering::Acquire)).filter(|ms| *ms != NO_TOKEN)
    }
}
