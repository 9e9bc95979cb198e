//! What this node does for the inboxes of its connections: replays, acknowledgements, and a look for what was missed.

use std::{
    collections::HashMap,
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use futures::StreamExt;
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    inbox::{Inbox, InboxLimits},
    ports::DirectoryError,
};
use crate::{
    identity::{ConnectionId, UserId},
    local::{
        connection::Connection,
        inbox_feed::{Progress, Replayed, WrongAck},
    },
    protocol::inbox_offset::Offset,
};

/// Pages of all replays that are read at the same time: each is at most a quarter of a connection's queue.
const PAGES_AT_ONCE: usize = 16;
/// Between two writes of one device's acknowledgement.
const ACK_PAUSE: Duration = Duration::from_millis(200);
/// Acknowledgements written at the same time.
const ACKS_AT_ONCE: usize = 64;
/// Longest wait for the last acknowledgement of a connection that ends.
const LAST_ACK: Duration = Duration::from_secs(1);
/// Pause before a page that could not be read is asked for again.
const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// Users whose inboxes are looked at with one question.
const LOOKED_AT_ONCE: usize = 256;

/// What is counted.
#[derive(Debug, Default)]
pub struct InboxCounts {
    /// Messages kept.
    pub stored: AtomicU64,
    /// Repeats of messages that were kept before.
    pub duplicates: AtomicU64,
    /// Older messages that went for newer ones.
    pub trimmed: AtomicU64,
    /// Stores refused because memory is short.
    pub refused_memory: AtomicU64,
    /// Stores refused because Redis is away.
    pub refused_registry: AtomicU64,
    /// Stores refused because the message is larger than an inbox, or inboxes are off.
    pub refused_request: AtomicU64,
    /// Stores that may have been carried out.
    pub unknown: AtomicU64,
    /// Messages sent by replays.
    pub replayed: AtomicU64,
    /// Losses that devices were told of.
    pub gaps: AtomicU64,
    /// Replays begun.
    pub replays: AtomicU64,
    /// Pages that could not be read.
    pub page_errors: AtomicU64,
    /// Acknowledgements written.
    pub acks: AtomicU64,
    /// Writes of acknowledgements that failed; they are tried again.
    pub ack_errors: AtomicU64,
}

/// Adds to a count.
pub(super) fn count(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

/// Told how long the replay of a connect took.
pub type ReplayTimer = Box<dyn Fn(Duration) + Send + Sync>;

/// What this node does for the inboxes of its connections.
pub struct InboxDesk {
    pub(super) inbox: Arc<dyn Inbox>,
    pub(super) limits: InboxLimits,
    counts: Arc<InboxCounts>,
    timer: ReplayTimer,
    pages: Semaphore,
    tasks: TaskTracker,
    stop: CancellationToken,
    /// Connections with an acknowledgement to be written.
    acks: Mutex<HashMap<ConnectionId, Arc<Connection>>>,
    acks_added: Notify,
}

impl InboxDesk {
    /// A desk over whoever keeps the messages.
    #[must_use]
    pub fn new(inbox: Arc<dyn Inbox>, limits: InboxLimits, timer: ReplayTimer) -> Arc<Self> {
        Arc::new(Self {
            inbox,
            limits,
            counts: Arc::default(),
            timer,
            pages: Semaphore::new(PAGES_AT_ONCE),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            acks: Mutex::default(),
            acks_added: Notify::new(),
        })
    }

    /// What was counted.
    #[must_use]
    pub fn counts(&self) -> &Arc<InboxCounts> {
        &self.counts
    }

    /// Replays that run now.
    #[must_use]
    pub fn replays(&self) -> usize {
        self.tasks.len()
    }

    /// A connection stands in the directory and can be written to: its device gets what it missed.
    pub fn open(self: &Arc<Self>, connection: &Arc<Connection>) {
        if connection.inbox.open() {
            self.replay(Arc::clone(connection));
        }
    }

    /// Begins the replay of a connection that was found to need one.
    pub fn replay(self: &Arc<Self>, connection: Arc<Connection>) {
        count(&self.counts.replays, 1);
        let desk = Arc::clone(self);
        self.tasks.spawn(async move {
            let stop = desk.stop.clone();
            stop.run_until_cancelled(desk.run_replay(&connection)).await;
        });
    }

    async fn run_replay(&self, connection: &Connection) {
        let began = Instant::now();
        let device = connection.inbox.keeps_cursor().then_some(&connection.client);
        let mut refused = 0;
        loop {
            // A frame that finds no room twice is larger than what is kept free for it.
            let empty = refused > 1;
            if !poll_fn(|cx| connection.queue.poll_room(empty, cx)).await {
                return;
            }
            let Ok(turn) = self.pages.acquire().await else { return };
            let wish = connection.inbox.wish(&connection.queue);
            let page = match self.inbox.page(&connection.user, device, wish).await {
                Ok(page) => page,
                Err(error) => {
                    drop(turn);
                    count(&self.counts.page_errors, 1);
                    tracing::debug!(connection = %connection.id, %error, "an inbox cannot be read now");
                    tokio::time::sleep(RETRY_PAUSE).await;
                    continue;
                }
            };
            let mut replayed = Replayed::default();
            let progress = connection.inbox.take(&page, &connection.queue, &mut replayed);
            drop(turn);
            count(&self.counts.replayed, replayed.messages);
            count(&self.counts.gaps, replayed.gaps);
            match progress {
                Progress::More => refused = 0,
                Progress::NoRoom => refused += 1,
                Progress::CaughtUp(first) => {
                    if first {
                        (self.timer)(began.elapsed());
                    }
                    return;
                }
                Progress::Closed => return,
            }
        }
    }

    /// Looks whether any of these connections, which stand in the directory, has missed something.
    pub async fn look(self: &Arc<Self>, connections: &[Arc<Connection>]) {
        let mut by_user: HashMap<&UserId, Vec<&Arc<Connection>>> = HashMap::new();
        for connection in connections {
            by_user.entry(&connection.user).or_default().push(connection);
        }
        let users: Vec<UserId> = by_user.keys().map(|user| (*user).clone()).collect();
        for part in users.chunks(LOOKED_AT_ONCE) {
            let heads = match self.inbox.heads(part).await {
                Ok(heads) => heads,
                // The next assertion looks again.
                Err(error) => {
                    tracing::debug!(%error, "inboxes cannot be looked at now");
                    return;
                }
            };
            for (user, head) in part.iter().zip(heads) {
                let Some(head) = head else { continue };
                for connection in by_user.get(user).map_or(&[][..], Vec::as_slice) {
                    if connection.inbox.look(head) {
                        self.replay(Arc::clone(connection));
                    }
                }
            }
        }
    }

    /// A client acknowledges what it has; written a moment later.
    ///
    /// # Errors
    /// [`WrongAck`]: it is not taken.
    pub fn acknowledge(&self, connection: &Arc<Connection>, offset: Offset) -> Result<(), WrongAck> {
        if connection.inbox.acknowledge(offset)? {
            self.acks.lock().insert(connection.id, Arc::clone(connection));
            self.acks_added.notify_one();
        }
        Ok(())
    }

    /// A connection has ended: what it acknowledged last is written.
    pub async fn close(&self, connection: &Connection) {
        connection.inbox.end();
        self.acks.lock().remove(&connection.id);
        // A device that comes back says itself how far it is.
        let _ = tokio::time::timeout(LAST_ACK, self.write_ack(connection)).await;
    }

    /// True when there is more to write.
    async fn write_ack(&self, connection: &Connection) -> Result<bool, DirectoryError> {
        let Some(upto) = connection.inbox.ack_to_write() else { return Ok(false) };
        let device = connection.inbox.keeps_cursor().then_some(&connection.client);
        self.inbox.acknowledge(&connection.user, device, upto).await?;
        count(&self.counts.acks, 1);
        Ok(connection.inbox.ack_written(upto))
    }

    /// Writes acknowledgements, until `shutdown`; then ends what replays are left.
    pub async fn run(self: Arc<Self>, shutdown: CancellationToken) {
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = self.acks_added.notified() => {}
            }
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = tokio::time::sleep(ACK_PAUSE) => {}
            }
            self.write_acks().await;
        }
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    async fn write_acks(&self) {
        let due: Vec<_> = std::mem::take(&mut *self.acks.lock()).into_values().collect();
        futures::stream::iter(due)
            .for_each_concurrent(ACKS_AT_ONCE, |connection| async move {
                let again = match self.write_ack(&connection).await {
                    Ok(more) => more,
                    Err(_) => {
                        count(&self.counts.ack_errors, 1);
                        // A connection that has ended says no more; what it said is known by its client.
                        connection.queue.closing().is_none()
                    }
                };
                if again {
                    self.acks.lock().insert(connection.id, connection);
                    self.acks_added.notify_one();
                }
            })
            .await;
    }
}
