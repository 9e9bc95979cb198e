//! Keeps the directory true about this node's connections.

use std::{
    collections::{BTreeMap, HashMap},
    hash::BuildHasher,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use futures::StreamExt;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{
    assertion::{Assertion, Part},
    event_writer::EventWriter,
    inbox_desk::InboxDesk,
    known_bans::KnownBans,
    offline_news::OfflineNews,
    ports::{Ban, ClusterBus, Connected, ConnectionRecord, Directory, DirectoryError, UserNodes},
    router::rfc3339,
    session_state::SessionState,
    subject::{Subject, offline_since},
    whereabouts::Whereabouts,
};
#[cfg(test)]
use crate::fault::{self, Fault};
use crate::{
    identity::{ConnectionId, NodeId, NodeInstance, UserId},
    local::{connection::Connection, connection_table::ConnectionTable},
    protocol::{
        close_reason::CloseReason,
        envelope::{Envelope, Kind},
        event::Event,
        millis::whole_millis,
        presence_changed,
        user_verdict::encode_replaced,
    },
};

/// Directory writes of one user happen one after another; users share this many slots.
const SLOTS: usize = 1024;
/// Directory writes in flight while connections are asserted.
const ASSERTIONS_IN_FLIGHT: usize = 256;
/// How often each connection is asserted, whatever happens.
pub(super) const ASSERT_EVERY: Duration = Duration::from_mins(5);
/// Pause before writes that failed are tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// Why a connection is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectRefusal {
    /// The user is banned until then.
    #[error("the user is banned: {reason}")]
    Banned {
        /// End of the ban.
        until: SystemTime,
        /// Why.
        reason: String,
    },
    /// The client's token was issued before others of the user were revoked.
    #[error("the token was revoked, get a new one")]
    Revoked,
    /// The user has as many connections as the login policy allows.
    #[error("the user has {0} connections already, that is the most")]
    TooMany(u32),
    /// The registry is away, and who cannot be registered is not taken.
    #[error("the registry is away, try again later: {0}")]
    RegistryAway(String),
}

/// Keeps the directory true about this node's connections: the table is the truth, the directory follows, one
/// write at a time per user, and what could not be written is written later.
pub struct Registry {
    pub(super) local: Arc<ConnectionTable>,
    directory: Arc<dyn Directory>,
    bus: Arc<dyn ClusterBus>,
    whereabouts: Arc<Whereabouts>,
    events: Option<Arc<EventWriter>>,
    known_bans: Arc<KnownBans>,
    inboxes: Arc<InboxDesk>,
    assertion: Arc<Assertion>,
    slots: Box<[tokio::sync::Mutex<()>]>,
    hasher: std::collections::hash_map::RandomState,
    unsettled: Mutex<HashMap<ConnectionId, Subject>>,
    offline_news: OfflineNews,
    /// Connections whose sessions are to be kept as they are now.
    to_note: Mutex<HashMap<ConnectionId, Subject>>,
    /// One of the two has got something.
    written_later: Notify,
}

impl Registry {
    /// A registry over a table and a directory.
    #[must_use]
    pub fn new(
        events: Option<Arc<EventWriter>>,
        local: Arc<ConnectionTable>,
        directory: Arc<dyn Directory>,
        bus: Arc<dyn ClusterBus>,
        whereabouts: Arc<Whereabouts>,
        known_bans: Arc<KnownBans>,
        inboxes: Arc<InboxDesk>,
    ) -> Self {
        let assertion = Arc::new(Assertion::new(Arc::clone(&directory)));
        Self {
            local,
            directory,
            bus,
            whereabouts,
            events,
            known_bans,
            inboxes,
            assertion,
            slots: (0..SLOTS).map(|_| tokio::sync::Mutex::default()).collect(),
            hasher: std::collections::hash_map::RandomState::new(),
            unsettled: Mutex::default(),
            offline_news: OfflineNews::default(),
            to_note: Mutex::default(),
            written_later: Notify::new(),
        }
    }

    /// Collects what this node has written, for whoever else writes.
    #[must_use]
    pub fn assertion(&self) -> &Arc<Assertion> {
        &self.assertion
    }

    /// Takes a connection into the table, then into the directory. While the registry is away only known bans are
    /// applied, and the connection is registered when it is back; or, if `needs_registry`, it is refused.
    ///
    /// # Errors
    /// [`ConnectRefusal`]; the connection is then in neither.
    pub async fn connect(
        &self,
        connection: &Arc<Connection>,
        needs_registry: bool,
    ) -> Result<(), ConnectRefusal> {
        self.local.insert(Arc::clone(connection));
        let refusal = match self.settle(Subject::of(connection)).await {
            Ok(()) => return Ok(()),
            Err(DirectoryError::Banned { until, reason }) => ConnectRefusal::Banned { until, reason },
            Err(DirectoryError::Revoked { .. }) => ConnectRefusal::Revoked,
            Err(DirectoryError::TooMany(most)) => ConnectRefusal::TooMany(most),
            // A newer connection was faster: this one is closed before its welcome.
            Err(DirectoryError::Replaced) => return Ok(()),
            Err(DirectoryError::Unavailable(why)) => {
                match self.known_bans.of(&connection.user, SystemTime::now()) {
                    Some(Ban { until, reason }) => ConnectRefusal::Banned { until, reason },
                    None if needs_registry => ConnectRefusal::RegistryAway(why),
                    None => {
                        self.replace_device_here(connection);
                        return Ok(());
                    }
                }
            }
        };
        self.take_out(connection);
        Err(refusal)
    }

    /// Closes older connections of a device as far as this node has them; the registry does it for all when it is back.
    fn replace_device_here(&self, connection: &Connection) {
        let Some(device) = connection.device() else { return };
        for other in self.local.of_user(&connection.user) {
            if other.client == *device && other.id < connection.id {
                other.queue.close(CloseReason::Replaced);
            }
        }
    }

    fn take_out(&self, connection: &Connection) {
        self.local.remove(connection);
        connection.queue.abandon();
        if self.local.for_user(&connection.user, |_| {}) == 0 {
            self.whereabouts.forget_here(&connection.user);
        }
    }

    /// Takes a connection out of the table, then out of the directory.
    pub async fn disconnect(&self, connection: &Connection) {
        // Whoever was told to go away for good does not take up where it was.
        let sent_off =
            matches!(connection.queue.closing(), Some(CloseReason::Kicked(_) | CloseReason::TokenRevoked));
        self.take_out(connection);
        // An unreachable directory is written later; a ban does not concern a removal.
        let settled = self.settle(Subject::of(connection)).await;
        if let (Ok(()), Some(session)) = (settled, connection.session) {
            // One that is not noted lapses by itself.
            let _ = self.directory.end_session(&connection.user, session, !sent_off).await;
        }
    }

    /// Has the connection's entry written again soon, because something about it has changed; the directory may then
    /// refuse it.
    pub fn settle_again(&self, connection: &Connection) {
        self.unsettled.lock().insert(connection.id, Subject::of(connection));
        self.written_later.notify_one();
    }

    /// What is to be kept of a connection's session has changed: the directory hears it soon.
    pub fn note_session(&self, connection: &Connection) {
        if connection.session.is_some() {
            self.to_note.lock().insert(connection.id, Subject::of(connection));
            self.written_later.notify_one();
        }
    }

    /// Connections whose directory entry is not known to be true.
    #[must_use]
    pub fn unsettled(&self) -> usize {
        self.unsettled.lock().len()
    }

    /// Makes the directory agree with the table about one connection.
    async fn settle(&self, subject: Subject) -> Result<(), DirectoryError> {
        let Subject { user, id, listed, moving } = &subject;
        let (id, listed, moving) = (*id, *listed, *moving);
        let place = self.hasher.hash_one(user) % (SLOTS as u64);
        // SLOTS is far below usize::MAX, so is the remainder.
        let _slot = self.slots[usize::try_from(place).unwrap_or(0)].lock().await;
        let connection = self.local.of_user(user).into_iter().find(|connection| connection.id == id);
        // An earlier write without an answer may have changed the entry, and nobody was told.
        let was_unsettled = self.unsettled.lock().contains_key(&id);
        let (hearing, life) = {
            let registration = self.directory.registration();
            let now = registration.borrow();
            (now.hearing, now.instance.incarnation.number())
        };
        let outcome = match connection {
            Some(connection) => match self.directory.connect(record(&connection)).await {
                Ok(connected) => {
                    self.replace(user, &connected);
                    let tell = connected.changed || was_unsettled;
                    // Under a life that ended its user may have been told offline, so each life tells online anew.
                    let first = connection.listed.swap(life, Ordering::Relaxed) != life;
                    if first && connected.presence.connections.len() == 1 && !connected.returned {
                        self.announce(|node, at| Event::online(user, connected.presence.ver, node, at));
                    }
                    self.learn(user, connected.presence.nodes(), hearing, tell);
                    Ok(())
                }
                Err(error) => {
                    self.obey(&connection, &error);
                    Err(error)
                }
            },
            None => match self.directory.disconnect(user, id, moving).await {
                Ok(nodes) => {
                    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                    let now_us = u64::try_from(now.as_micros()).unwrap_or(u64::MAX);
                    if let Some(ver) = offline_since(&nodes, listed, now_us) {
                        self.went_offline(user, ver).await;
                    }
                    if !nodes.unknown {
                        self.learn(user, nodes, hearing, true);
                    }
                    Ok(())
                }
                Err(error) => Err(error),
            },
        };
        let mut unsettled = self.unsettled.lock();
        if matches!(outcome, Err(DirectoryError::Unavailable(_))) {
            unsettled.insert(id, subject.clone());
            drop(unsettled);
            self.written_later.notify_one();
        } else {
            unsettled.remove(&id);
        }
        outcome
    }

    /// Closes a connection that the directory does not accept. For one that is just being made, whoever makes it says
    /// why.
    fn obey(&self, connection: &Connection, error: &DirectoryError) {
        let reason = match error {
            DirectoryError::Unavailable(_) => return,
            DirectoryError::Banned { until, reason } => {
                let ban = Ban { until: *until, reason: reason.clone() };
                self.known_bans.note(&connection.user, Some(ban), SystemTime::now());
                CloseReason::Kicked(format!("banned: {reason}"))
            }
            DirectoryError::Revoked { .. } => CloseReason::TokenRevoked,
            DirectoryError::TooMany(_) | DirectoryError::Replaced => CloseReason::Replaced,
        };
        connection.queue.close(reason);
    }

    /// Closes the connections that a new one replaces, here and on other nodes. Who is not told is closed when its node
    /// asserts it.
    fn replace(&self, user: &UserId, connected: &Connected) {
        if connected.replaced.is_empty() {
            return;
        }
        #[cfg(test)]
        if fault::is(Fault::VictimsNotClosed) {
            return;
        }
        let own = self.directory.registration().borrow().instance.node.clone();
        let mut by_node: BTreeMap<&NodeInstance, Vec<ConnectionId>> = BTreeMap::new();
        for replaced in &connected.replaced {
            by_node.entry(&replaced.instance).or_default().push(replaced.record.connection);
        }
        for (instance, connections) in by_node {
            if instance.node == own {
                self.close_replaced(user, &connections);
                continue;
            }
            let envelope = Envelope {
                kind: Kind::Replace,
                wants_report: false,
                patience: None,
                number: 0,
                subject: Some(user.clone()),
                payload: encode_replaced(&connections),
            };
            let _ = self.bus.post(instance, envelope);
        }
    }

    fn announce(&self, event: impl FnOnce(&NodeId, String) -> Event) {
        if let Some(events) = &self.events {
            let node = self.directory.registration().borrow().instance.node.clone();
            events.emit(&event(&node, rfc3339(SystemTime::now())));
        }
    }

    async fn went_offline(&self, user: &UserId, ver: u64) {
        let Some(events) = &self.events else { return };
        if self.offline_news.note(user, ver) {
            self.tell_offline(std::slice::from_ref(user)).await;
        } else {
            events.count_dropped();
        }
    }

    /// Tells that users are offline who had no connection left, as soon as the registry is known to be whole: one that
    /// lost its data does not know who else is there.
    async fn tell_offline(&self, users: &[UserId]) {
        let Ok(presences) = self.directory.locate_many(users).await else { return };
        for (user, presence) in users.iter().zip(presences) {
            if presence.doubtful && presence.connections.is_empty() {
                continue;
            }
            // One who is back was told online, or will be told offline by whoever ends the last connection.
            if let Some(ver) = self.offline_news.take(user).filter(|_| presence.connections.is_empty()) {
                self.announce(|node, at| Event::offline(user, ver, node, at, None));
            }
        }
    }

    /// Takes in where a user is by the registry's answer, and tells the user's other nodes if it was news.
    fn learn(&self, user: &UserId, nodes: UserNodes, hearing: u64, tell: bool) {
        let UserNodes { ver, instances, .. } = nodes;
        let own = self.directory.registration().borrow().instance.node.clone();
        let others: Vec<_> = instances.iter().filter(|instance| instance.node != own).cloned().collect();
        if tell && !others.is_empty() {
            let payload = presence_changed::encode(&instances);
            for other in &others {
                let envelope = Envelope {
                    kind: Kind::PresenceChanged,
                    wants_report: false,
                    patience: None,
                    number: ver,
                    subject: Some(user.clone()),
                    payload: payload.clone(),
                };
                // Who cannot be told learns it when it asserts its users.
                let _ = self.bus.post(other, envelope);
            }
        }
        if self.local.for_user(user, |_| {}) > 0 {
            self.whereabouts.learn_here(user, ver, others, hearing);
        } else {
            self.whereabouts.forget_here(user);
        }
    }

    /// Asserts every connection again after each new registration and, a part at a time, every five minutes; and
    /// writes what could not be written before. Runs until `shutdown`.
    pub async fn run(&self, shutdown: CancellationToken) {
        let shards = self.local.shard_count();
        let mut ticks = tokio::time::interval(ASSERT_EVERY / u32::try_from(shards).unwrap_or(1).max(1));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut registration = self.directory.registration();
        let (mut written_epoch, mut asserted_epoch, mut heard, mut shard) = (0, 0, 0, 0);
        loop {
            let (registered, epoch, hearing) = {
                let now = registration.borrow_and_update();
                (now.registered, now.epoch, now.hearing)
            };
            if registered && epoch != written_epoch {
                written_epoch = epoch;
                let all: Vec<_> = self.local.all().iter().map(|c| Subject::of(c)).collect();
                let (connections, began) = (all.len(), Instant::now());
                self.settle_all(all).await;
                let took_ms = whole_millis(began.elapsed());
                tracing::info!(connections, epoch, took_ms, "all connections were asserted in the registry");
            }
            if registered && hearing != heard {
                // News of stored messages may have been missed; those that were asserted just now are looked at twice.
                heard = hearing;
                self.inboxes.look(&self.local.all()).await;
            }
            if registered && !self.offline_news.is_empty() {
                for users in self.offline_news.users().chunks(ASSERTIONS_IN_FLIGHT) {
                    self.tell_offline(users).await;
                }
            }
            let mut waiting = !self.unsettled.lock().is_empty();
            if registered && waiting {
                let unsettled: Vec<_> = self.unsettled.lock().values().cloned().collect();
                self.settle_all(unsettled).await;
                waiting = !self.unsettled.lock().is_empty();
            }
            if registered {
                let noted = std::mem::take(&mut *self.to_note.lock());
                self.settle_all(noted.into_values().collect()).await;
            }
            if registered && !waiting && written_epoch != asserted_epoch {
                asserted_epoch = written_epoch;
                self.assertion.note(Part::Connections, asserted_epoch).await;
            }
            tokio::select! {
                () = shutdown.cancelled() => return,
                changed = registration.changed() => if changed.is_err() { return },
                () = self.written_later.notified(), if !waiting => {}
                () = tokio::time::sleep(RETRY_PAUSE), if waiting || !self.offline_news.is_empty() => {}
                _ = ticks.tick() => {
                    shard = (shard + 1) % shards.max(1);
                    let part: Vec<_> = self.local.of_shard(shard).iter().map(|c| Subject::of(c)).collect();
                    if registered {
                        self.settle_all(part).await;
                    }
                }
            }
        }
    }

    async fn settle_all(&self, connections: Vec<Subject>) {
        let settled = futures::stream::iter(connections).map(|subject| async move {
            let (user, id) = (subject.user.clone(), subject.id);
            // What the directory does not accept was closed, what it did not hear stays unsettled.
            self.settle(subject).await.ok()?;
            self.local.of_user(&user).into_iter().find(|connection| connection.id == id)
        });
        let settled: Vec<_> = settled.buffer_unordered(ASSERTIONS_IN_FLIGHT).collect().await;
        // From now on whatever is stored is told to this node: what is older is found here.
        let standing: Vec<_> = settled.into_iter().flatten().collect();
        self.inboxes.look(&standing).await;
    }
}

fn record(connection: &Connection) -> ConnectionRecord {
    ConnectionRecord {
        user: connection.user.clone(),
        connection: connection.id,
        client: connection.client.clone(),
        connected_at: connection.connected_at,
        remote_address: connection.remote_address.clone(),
        token_issued_at: connection.token_issued_at(),
        session: connection.session.map(|session| (session, SessionState::of(connection))),
    }
}
