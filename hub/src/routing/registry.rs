//! Keeps the directory true about this node's connections.

use std::{
    collections::HashMap,
    hash::BuildHasher,
    sync::{Arc, atomic::Ordering},
    time::{Duration, SystemTime},
};

use futures::StreamExt;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{
    event_writer::EventWriter,
    ports::{ClusterBus, ConnectionRecord, Directory, DirectoryError, UserNodes},
    router::rfc3339,
    whereabouts::Whereabouts,
};
use crate::{
    identity::{ConnectionId, NodeId, UserId},
    local::{connection::Connection, connection_table::ConnectionTable},
    protocol::{
        envelope::{Envelope, Kind},
        event::Event,
        presence_changed,
    },
};

/// Directory writes of one user happen one after another; users share this many slots.
const SLOTS: usize = 1024;
/// Directory writes in flight while connections are asserted.
const ASSERTIONS_IN_FLIGHT: usize = 64;
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
}

/// Keeps the directory true about this node's connections: the table is the truth, the directory follows, one
/// write at a time per user, and what could not be written is written later.
pub struct Registry {
    local: Arc<ConnectionTable>,
    directory: Arc<dyn Directory>,
    bus: Arc<dyn ClusterBus>,
    whereabouts: Arc<Whereabouts>,
    events: Option<Arc<EventWriter>>,
    slots: Box<[tokio::sync::Mutex<()>]>,
    hasher: std::collections::hash_map::RandomState,
    unsettled: Mutex<HashMap<ConnectionId, UserId>>,
    unsettled_added: Notify,
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
    ) -> Self {
        Self {
            local,
            directory,
            bus,
            whereabouts,
            events,
            slots: (0..SLOTS).map(|_| tokio::sync::Mutex::default()).collect(),
            hasher: std::collections::hash_map::RandomState::new(),
            unsettled: Mutex::default(),
            unsettled_added: Notify::new(),
        }
    }

    /// Takes a connection into the table, then into the directory. A registry that is away refuses nobody: the
    /// connection is registered when it is back.
    ///
    /// # Errors
    /// [`ConnectRefusal`]; the connection is then in neither.
    pub async fn connect(&self, connection: &Arc<Connection>) -> Result<(), ConnectRefusal> {
        self.local.insert(Arc::clone(connection));
        match self.settle(&connection.user, connection.id).await {
            Err(DirectoryError::Banned { until, reason }) => {
                self.local.remove(connection);
                connection.queue.abandon();
                Err(ConnectRefusal::Banned { until, reason })
            }
            Err(DirectoryError::Unavailable(_)) | Ok(()) => Ok(()),
        }
    }

    /// Takes a connection out of the table, then out of the directory.
    pub async fn disconnect(&self, connection: &Connection) {
        self.local.remove(connection);
        connection.queue.abandon();
        // An unreachable directory is written later; a ban does not concern a removal.
        if self.local.for_user(&connection.user, |_| {}) == 0 {
            self.whereabouts.forget_here(&connection.user);
        }
        let _ = self.settle(&connection.user, connection.id).await;
    }

    /// Connections whose directory entry is not known to be true.
    #[must_use]
    pub fn unsettled(&self) -> usize {
        self.unsettled.lock().len()
    }

    /// Makes the directory agree with the table about one connection.
    async fn settle(&self, user: &UserId, id: ConnectionId) -> Result<(), DirectoryError> {
        let place = self.hasher.hash_one(user) % (SLOTS as u64);
        // SLOTS is far below usize::MAX, so is the remainder.
        let _slot = self.slots[usize::try_from(place).unwrap_or(0)].lock().await;
        let connection = self.local.of_user(user).into_iter().find(|connection| connection.id == id);
        // An earlier write without an answer may have changed the entry, and nobody was told.
        let was_unsettled = self.unsettled.lock().contains_key(&id);
        let hearing = self.directory.registration().borrow().hearing;
        let outcome = match connection {
            Some(connection) => self.directory.connect(record(&connection)).await.map(|connected| {
                let tell = connected.changed || was_unsettled;
                let first = !connection.listed.swap(true, Ordering::Relaxed);
                if first && connected.presence.connections.len() == 1 {
                    self.announce(|node, at| Event::online(user, connected.presence.ver, node, at));
                }
                self.learn(user, connected.presence.nodes(), hearing, tell);
            }),
            None => self.directory.disconnect(user, id).await.map(|nodes| {
                if nodes.instances.is_empty() {
                    self.announce(|node, at| Event::offline(user, nodes.ver, node, at, None));
                }
                self.learn(user, nodes, hearing, true);
            }),
        };
        let mut unsettled = self.unsettled.lock();
        if matches!(outcome, Err(DirectoryError::Unavailable(_))) {
            unsettled.insert(id, user.clone());
            drop(unsettled);
            self.unsettled_added.notify_one();
        } else {
            unsettled.remove(&id);
        }
        outcome
    }

    fn announce(&self, event: impl FnOnce(&NodeId, String) -> Event) {
        if let Some(events) = &self.events {
            let node = self.directory.registration().borrow().instance.node.clone();
            events.emit(&event(&node, rfc3339(SystemTime::now())));
        }
    }

    /// Takes in where a user is by the registry's answer, and tells the user's other nodes if it was news.
    fn learn(&self, user: &UserId, nodes: UserNodes, hearing: u64, tell: bool) {
        let UserNodes { ver, instances } = nodes;
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

    /// Asserts every connection again after each new registration, and writes what could not be written before.
    /// Runs until `shutdown`.
    pub async fn run(&self, shutdown: CancellationToken) {
        let mut registration = self.directory.registration();
        let mut asserted_epoch = registration.borrow_and_update().epoch;
        loop {
            let waiting = !self.unsettled.lock().is_empty();
            tokio::select! {
                () = shutdown.cancelled() => return,
                changed = registration.changed() => if changed.is_err() { return },
                () = self.unsettled_added.notified(), if !waiting => continue,
                () = tokio::time::sleep(RETRY_PAUSE), if waiting => {}
            }
            let (registered, epoch) = {
                let now = registration.borrow_and_update();
                (now.registered, now.epoch)
            };
            if !registered {
                continue;
            }
            if epoch != asserted_epoch {
                asserted_epoch = epoch;
                let all: Vec<_> = self.local.all().into_iter().map(|c| (c.id, c.user.clone())).collect();
                tracing::info!(connections = all.len(), epoch, "asserting all connections in the registry");
                self.settle_all(all).await;
            }
            let unsettled: Vec<_> =
                self.unsettled.lock().iter().map(|(id, user)| (*id, user.clone())).collect();
            self.settle_all(unsettled).await;
        }
    }

    async fn settle_all(&self, connections: Vec<(ConnectionId, UserId)>) {
        futures::stream::iter(connections)
            .for_each_concurrent(ASSERTIONS_IN_FLIGHT, |(id, user)| async move {
                if let Err(DirectoryError::Banned { .. }) = self.settle(&user, id).await {
                    for connection in self.local.of_user(&user) {
                        let reason = crate::protocol::close_reason::CloseReason::Kicked("banned".to_owned());
                        connection.queue.close(reason);
                    }
                }
            })
            .await;
    }
}

fn record(connection: &Connection) -> ConnectionRecord {
    ConnectionRecord {
        user: connection.user.clone(),
        connection: connection.id,
        client: connection.client.clone(),
        connected_at: connection.connected_at,
        remote_address: connection.remote_address.clone(),
    }
}
