//! The router: what the edge and the bus call.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use super::message_stamp::rfc3339;
use super::{
    duplicate_window::DuplicateWindows,
    event_writer::EventWriter,
    group_registry::GroupRegistry,
    idempotency::Idempotency,
    inbox_desk::InboxDesk,
    known_bans::KnownBans,
    membership::Questions,
    message_stamp::MessageIds,
    ports::{ClusterBus, Directory, DirectoryError, NodeRecord, Registration},
    registry::Registry,
    whereabouts::Whereabouts,
};
use crate::{
    identity::{ConnectionId, NodeId, NodeInstance, UserId},
    local::connection_table::ConnectionTable,
    protocol::send_result::{UserConnection, UserLocation},
};

/// Sends, broadcasts, kicks and answers questions, here and across nodes.
pub struct Router {
    pub(super) local: Arc<ConnectionTable>,
    pub(super) bus: Arc<dyn ClusterBus>,
    pub(super) directory: Arc<dyn Directory>,
    pub(super) registry: Registry,
    pub(super) whereabouts: Arc<Whereabouts>,
    pub(super) groups: Arc<GroupRegistry>,
    pub(super) inboxes: Arc<InboxDesk>,
    pub(super) questions: Questions,
    pub(super) known_bans: Arc<KnownBans>,
    pub(super) registration: watch::Receiver<Registration>,
    /// Other nodes when the registry last answered; used to say how many are silent while it is away.
    last_known_nodes: Mutex<Vec<NodeInstance>>,
    /// What the backend wants to hear; none when nobody asked for events.
    events: Option<Arc<EventWriter>>,
    /// This node in whatever life it is.
    pub(super) own_node: NodeId,
    numbers: AtomicU64,
    /// Envelopes of other nodes that were acted on.
    pub(super) repeats: Arc<DuplicateWindows>,
    pub(super) idempotency: Idempotency,
    /// Held while a frame is given to all connections.
    pub(super) broadcast_turn: Arc<tokio::sync::Mutex<()>>,
    pub(super) ids: MessageIds,
}

impl Router {
    /// A router over this node's connections and the cluster's ports. `max_groups`: groups one connection may be in.
    #[must_use]
    pub fn new(
        local: Arc<ConnectionTable>,
        bus: Arc<dyn ClusterBus>,
        directory: Arc<dyn Directory>,
        events: Option<Arc<EventWriter>>,
        inboxes: Arc<InboxDesk>,
        max_groups: usize,
    ) -> Arc<Self> {
        let registration = directory.registration();
        let own_node = registration.borrow().instance.node.clone();
        let (whereabouts, known_bans) = (Arc::new(Whereabouts::default()), Arc::new(KnownBans::default()));
        Arc::new(Self {
            registration,
            own_node,
            registry: Registry::new(
                events.clone(),
                Arc::clone(&local),
                Arc::clone(&directory),
                Arc::clone(&bus),
                Arc::clone(&whereabouts),
                Arc::clone(&known_bans),
                Arc::clone(&inboxes),
            ),
            inboxes,
            whereabouts,
            groups: Arc::new(GroupRegistry::new(Arc::clone(&directory), max_groups)),
            questions: Questions::default(),
            known_bans,
            local,
            bus,
            directory,
            last_known_nodes: Mutex::default(),
            events,
            numbers: AtomicU64::new(1),
            repeats: Arc::default(),
            idempotency: Idempotency::default(),
            broadcast_turn: Arc::default(),
            ids: MessageIds::default(),
        })
    }

    /// This node's connections.
    #[must_use]
    pub fn local(&self) -> &Arc<ConnectionTable> {
        &self.local
    }

    /// Registers connections in the directory.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Hands events to the log; none when events are off.
    #[must_use]
    pub fn events(&self) -> Option<&Arc<EventWriter>> {
        self.events.as_ref()
    }

    /// The node's standing in the cluster now.
    #[must_use]
    pub fn registration(&self) -> Registration {
        self.registration.borrow().clone()
    }

    /// A new id for a message: a ULID, rising on this node.
    #[must_use]
    pub fn next_message_id(&self) -> ulid::Ulid {
        self.ids.next(SystemTime::now())
    }

    /// A new id for a connection.
    #[must_use]
    pub fn next_connection_id(&self) -> ConnectionId {
        ConnectionId::new(self.next_message_id())
    }

    /// Results of sends with a `message_id`.
    #[must_use]
    pub fn idempotency(&self) -> &Idempotency {
        &self.idempotency
    }

    pub(super) fn next_number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn own(&self) -> NodeInstance {
        self.registration.borrow().instance.clone()
    }

    /// Where a user is.
    ///
    /// # Errors
    /// [`DirectoryError`] when the registry cannot be asked.
    pub async fn locate(&self, user: &UserId) -> Result<UserLocation, DirectoryError> {
        let (presence, ban) = tokio::try_join!(self.directory.locate(user), self.directory.ban(user))?;
        let connections: Vec<UserConnection> = presence
            .connections
            .into_iter()
            .map(|present| UserConnection {
                connection_id: present.record.connection,
                client_id: present.record.client,
                node_id: present.instance.node,
                connected_at: rfc3339(present.record.connected_at),
                remote_address: present.record.remote_address,
            })
            .collect();
        let mut nodes: Vec<_> = connections.iter().map(|connection| connection.node_id.clone()).collect();
        nodes.sort();
        nodes.dedup();
        Ok(UserLocation {
            user_id: user.clone(),
            online: !connections.is_empty(),
            nodes,
            connections,
            banned_until: ban.map(|ban| rfc3339(ban.until)),
        })
    }

    /// The nodes whose leases are held, sorted by id.
    ///
    /// # Errors
    /// [`DirectoryError`] when the registry cannot be asked.
    pub async fn nodes(&self) -> Result<Vec<NodeRecord>, DirectoryError> {
        self.directory.nodes().await
    }

    /// Keeps in mind which other nodes there are, so that what is asked while the registry is away can say how many
    /// stay silent. Looks `every` so often and after each registration, until `shutdown`.
    pub async fn remember_nodes(&self, every: Duration, shutdown: CancellationToken) {
        let mut registration = self.registration.clone();
        loop {
            // A registry that is away leaves in force what is known.
            let _ = self.other_nodes(every).await;
            self.idempotency.expire(Instant::now());
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(every) => {}
                registered = registration.wait_for({
                    let epoch = registration.borrow().epoch;
                    move |now| now.epoch != epoch
                }) => if registered.is_err() { return },
            }
        }
    }

    /// The other nodes when the registry last answered.
    pub(super) fn last_known_nodes(&self) -> Vec<NodeInstance> {
        self.last_known_nodes.lock().clone()
    }

    /// The other nodes, or what was last known of them and why it may be old. A registry that hangs is given up
    /// `within` this time.
    pub(super) async fn other_nodes(&self, within: Duration) -> (Vec<NodeInstance>, Option<DirectoryError>) {
        let late = |_| Err(DirectoryError::Unavailable("the registry did not answer in time".to_owned()));
        match tokio::time::timeout(within, self.directory.nodes()).await.unwrap_or_else(late) {
            Ok(records) => {
                let own = self.own().node;
                let others: Vec<_> = records
                    .into_iter()
                    .filter(|record| record.id != own)
                    .map(|record| NodeInstance { node: record.id, incarnation: record.incarnation })
                    .collect();
                self.last_known_nodes.lock().clone_from(&others);
                (others, None)
            }
            Err(error) => (self.last_known_nodes.lock().clone(), Some(error)),
        }
    }
}
