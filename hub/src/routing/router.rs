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
    acks::Acks,
    departures::Departures,
    duplicate_window::DuplicateWindows,
    event_writer::EventWriter,
    group_registry::GroupRegistry,
    idempotency::Idempotency,
    inbox_desk::InboxDesk,
    known_bans::KnownBans,
    membership::Questions,
    message_stamp::MessageIds,
    moving::MovingWaits,
    ports::{ClusterBus, Directory, DirectoryError, NodeRecord, NodeStatus, Registration, Roll},
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
    pub(super) departures: Departures,
    pub(super) moving_waits: MovingWaits,
    pub(super) registration: watch::Receiver<Registration>,
    /// Other nodes when the registry last answered; used to say how many are silent while it is away.
    pub(super) last_known_nodes: Mutex<Vec<NodeInstance>>,
    /// What the backend wants to hear; none when nobody asked for events.
    events: Option<Arc<EventWriter>>,
    /// This node in whatever life it is.
    pub(super) own_node: NodeId,
    numbers: AtomicU64,
    /// Envelopes of other nodes that were acted on.
    pub(super) repeats: Arc<DuplicateWindows>,
    pub(super) idempotency: Idempotency,
    pub(super) acks: Arc<Acks>,
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
        let registry = Registry::new(
            events.clone(),
            Arc::clone(&local),
            Arc::clone(&directory),
            Arc::clone(&bus),
            Arc::clone(&whereabouts),
            Arc::clone(&known_bans),
            Arc::clone(&inboxes),
        );
        let assertion = Arc::clone(registry.assertion());
        Arc::new(Self {
            registration,
            own_node,
            registry,
            inboxes,
            whereabouts,
            groups: Arc::new(GroupRegistry::new(Arc::clone(&directory), assertion, max_groups)),
            questions: Questions::default(),
            known_bans,
            departures: Departures::default(),
            moving_waits: MovingWaits::default(),
            local,
            bus,
            directory,
            last_known_nodes: Mutex::default(),
            events,
            numbers: AtomicU64::new(1),
            repeats: Arc::default(),
            idempotency: Idempotency::default(),
            acks: Arc::default(),
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

    /// Tells the registry where this node is in its life.
    ///
    /// # Errors
    /// [`DirectoryError`] when it cannot be told now; it is told with the next heartbeat.
    pub async fn set_status(&self, status: NodeStatus) -> Result<(), DirectoryError> {
        self.directory.set_status(status).await
    }

    /// Users on their way from here to another node.
    #[must_use]
    pub fn departures(&self) -> &Departures {
        &self.departures
    }

    /// Sends that wait for users on the move.
    #[must_use]
    pub fn moving_waits(&self) -> &MovingWaits {
        &self.moving_waits
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

    /// The answer to a question to the registry, which is given up `within` this time.
    pub(super) async fn in_time<T>(
        within: Duration,
        question: impl Future<Output = Result<T, DirectoryError>>,
    ) -> Result<T, DirectoryError> {
        let late = |_| Err(DirectoryError::Unavailable("the registry did not answer in time".to_owned()));
        tokio::time::timeout(within, question).await.unwrap_or_else(late)
    }

    /// These and the other nodes of last known, a node that is among them already left out.
    pub(super) fn with_last_known(&self, nodes: Vec<NodeInstance>) -> Vec<NodeInstance> {
        joined(nodes, &self.last_known_nodes.lock())
    }

    /// The other nodes, or what was last known of them and why it may be old. While the registry is not whole, those last
    /// known are among them: it may have forgotten them. One that hangs is given up `within` this time.
    pub(super) async fn other_nodes(&self, within: Duration) -> (Vec<NodeInstance>, Option<DirectoryError>) {
        let Roll { records, doubtful } = match Self::in_time(within, self.directory.roll()).await {
            Ok(roll) => roll,
            Err(error) => return (self.last_known_nodes.lock().clone(), Some(error)),
        };
        let own = self.own().node;
        let mut others: Vec<_> = records
            .into_iter()
            .filter(|record| record.id != own)
            .map(|record| NodeInstance { node: record.id, incarnation: record.incarnation })
            .collect();
        let mut known = self.last_known_nodes.lock();
        if doubtful {
            others = joined(others, &known);
        }
        known.clone_from(&others);
        drop(known);
        (others, None)
    }
}

/// Two lists of nodes as one, sorted; of a node that is in both, what the first says of it. Pure.
fn joined(mut nodes: Vec<NodeInstance>, more: &[NodeInstance]) -> Vec<NodeInstance> {
    let missing = |one: &&NodeInstance| !nodes.iter().any(|known| known.node == one.node);
    let missing: Vec<_> = more.iter().filter(missing).cloned().collect();
    nodes.extend(missing);
    nodes.sort();
    nodes.dedup();
    nodes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_of_two_lists_is_what_the_first_says() {
        let nodes = |names: &[&str]| names.iter().map(|name| name.parse().unwrap()).collect::<Vec<_>>();
        let known = nodes(&["a#k.1", "b#k.1", "c#k.1"]);
        assert_eq!(joined(nodes(&["d#k.1", "b#k.2"]), &known), nodes(&["a#k.1", "b#k.2", "c#k.1", "d#k.1"]));
        assert_eq!(joined(Vec::new(), &known), known);
        assert_eq!(joined(nodes(&["b#k.1", "b#k.2"]), &[]), nodes(&["b#k.1", "b#k.2"]));
    }
}
