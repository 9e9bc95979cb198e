//! Puts the pieces of a cluster together.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    BusCounters, ClusterSettings, LoadSource, MemoryCluster, RedisMode,
    batcher::BatchLimits,
    bus_reader::{BusReader, Hearing, RemoteReply},
    cluster_topology::ClusterTopology,
    event_stream::EventStream,
    group_directory::GroupDirectory,
    key_space::KeySpace,
    lease_view::LeaseView,
    membership::Membership,
    memory::MemoryTasks,
    memory_guard::MemoryGuard,
    moved_users::MovedUsers,
    node_record::RecordSource,
    outbox::Outbox,
    reaper::Reaper,
    redis_address::RedisAddress,
    redis_bus::RedisBus,
    redis_directory::{DirectoryParts, RedisDirectory},
    redis_inbox::RedisInbox,
    redis_link::RedisLink,
    shards::{ShardWorker, Shards},
    standing::Standing,
    wholeness::Wholeness,
};
use crate::{
    identity::{IdentityError, Incarnation, NodeId, NodeInstance},
    routing::{
        inbox::Inbox,
        ports::{ClusterBus, Directory, EventLog, Inbound},
    },
};

/// Longest a leaving node takes to clean up after itself; others finish what it leaves.
const LEAVE: Duration = Duration::from_secs(2);
/// Characters of a start id: 36^12 values, so that two lives never share one.
const START_ID_LENGTH: usize = 12;

/// Why a cluster cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The settings of Redis cannot work.
    #[error("{0}")]
    Redis(String),
    /// Another node of this process has the id.
    #[error("node {0} is there already")]
    NodeTaken(NodeId),
    /// No incarnation could be made.
    #[error("no incarnation: {0}")]
    Incarnation(#[from] IdentityError),
}

/// A node's place in a cluster, before it runs: routing needs the ports first, and the tasks need routing.
pub struct ClusterParts {
    /// To other nodes.
    pub bus: Arc<dyn ClusterBus>,
    /// Who is where.
    pub directory: Arc<dyn Directory>,
    /// Stored messages.
    pub inbox: Arc<dyn Inbox>,
    /// What happened lately.
    pub events: Arc<dyn EventLog>,
    /// What is counted.
    pub counters: Arc<BusCounters>,
    /// What has to run.
    pub tasks: ClusterTasks,
}

/// The tasks of a node's place in a cluster; nothing happens before they run.
pub struct ClusterTasks(Tasks);

enum Tasks {
    Redis(Box<RedisTasks>),
    Memory(MemoryTasks),
}

/// Builds the node's place: over Redis if the settings have one, else alone. Does no I/O; needs no runtime.
///
/// # Errors
/// [`ClusterError`] when the settings cannot work.
pub fn build(settings: ClusterSettings) -> Result<ClusterParts, ClusterError> {
    let Some(redis) = settings.redis.clone() else { return MemoryCluster::default().join(settings) };
    let address = Arc::new(RedisAddress::new(redis).map_err(ClusterError::Redis)?);
    let counters = Arc::new(BusCounters::default());
    let keys = KeySpace::new(&settings.key_prefix);
    let standing = Arc::new(Standing::new(first_instance(settings.node.clone())?, settings.lease));
    let topology =
        (*address.mode() == RedisMode::Cluster).then(|| Arc::new(ClusterTopology::new(Arc::clone(&address))));
    // Envelopes have their own connection, so that a flood of them delays no heartbeat.
    let commands = Arc::new(RedisLink::new(Arc::clone(&address), topology.clone()));
    let publishing = Arc::new(RedisLink::new(Arc::clone(&address), topology.clone()));
    let source = Arc::new(RecordSource::new(settings.clone()));
    let leases = Arc::new(LeaseView::new(Arc::clone(&commands), keys.clone(), Arc::clone(&standing)));
    let wholeness = Arc::new(Wholeness::new(Arc::clone(&standing)));
    let membership = Arc::new(Membership::new(
        Arc::clone(&commands),
        keys.clone(),
        settings.clone(),
        Arc::clone(&source),
        Arc::clone(&leases),
        Arc::clone(&wholeness),
        Arc::clone(&counters),
    ));
    let groups = Arc::new(GroupDirectory::new(
        Arc::clone(&commands),
        keys.clone(),
        Arc::clone(&standing),
        Arc::clone(&leases),
        Arc::clone(&wholeness),
    ));
    let moved = Arc::new(MovedUsers::new(Arc::clone(&commands), keys.clone(), settings.events));
    let directory = Arc::new(RedisDirectory::new(
        Arc::clone(&commands),
        keys.clone(),
        DirectoryParts {
            leases: Arc::clone(&leases),
            membership: Arc::clone(&membership),
            groups: Arc::clone(&groups),
            wholeness,
            moved: Arc::clone(&moved),
        },
        settings.login,
        settings.resume_window,
    ));
    let events = Arc::new(EventStream::new(Arc::clone(&commands), &keys));
    let guard = Arc::new(MemoryGuard::new(Arc::clone(&commands), keys.clone()));
    let inbox = Arc::new(RedisInbox::new(
        Arc::clone(&commands),
        keys.clone(),
        Arc::clone(&leases),
        Arc::clone(&guard),
        settings.inbox,
    ));
    let outbox = Arc::new(Outbox::new(BatchLimits::default(), Arc::clone(&counters)));
    let bus = Arc::new(RedisBus {
        link: Arc::clone(&publishing),
        keys: keys.clone(),
        standing: Arc::clone(&standing),
        outbox: Arc::clone(&outbox),
    });
    let (shards, workers) = Shards::new();
    let reader = Arc::new(BusReader {
        keys: keys.clone(),
        standing: Arc::clone(&standing),
        outbox: Arc::clone(&outbox),
        shards,
        counters: Arc::clone(&counters),
        probe_interval: settings.heartbeat_interval,
        // 20 s of the usual 30 s: a subscription is replaced before its node would be missed.
        silence: settings.lease * 2 / 3,
        hearing: Mutex::new(Hearing::new(Instant::now())),
    });
    let reaper = Arc::new(Reaper {
        link: Arc::clone(&commands),
        keys,
        standing: Arc::clone(&standing),
        leases,
        groups,
        events: settings.events.then(|| Arc::clone(&events)),
        moved: Arc::clone(&moved),
        counters: Arc::clone(&counters),
        outbox,
        interval: settings.heartbeat_interval,
    });
    let tasks = RedisTasks {
        address,
        topology,
        commands,
        publishing,
        source,
        standing,
        membership,
        directory: Arc::clone(&directory),
        bus: Arc::clone(&bus),
        reader,
        workers,
        reaper,
        guard: (settings.inbox.messages > 0).then_some(guard),
        moved,
    };
    Ok(ClusterParts {
        bus,
        directory,
        inbox,
        events,
        counters,
        tasks: ClusterTasks(Tasks::Redis(Box::new(tasks))),
    })
}

/// The first life of a process.
pub(super) fn first_instance(node: NodeId) -> Result<NodeInstance, IdentityError> {
    const ALPHABET: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    let start_id: String =
        (0..START_ID_LENGTH).map(|_| char::from(ALPHABET[rand::random_range(0..ALPHABET.len())])).collect();
    Ok(NodeInstance { node, incarnation: Incarnation::first(&start_id)? })
}

impl ClusterTasks {
    pub(super) fn memory(tasks: MemoryTasks) -> Self {
        Self(Tasks::Memory(tasks))
    }

    /// Starts everything on `tracker`. `load` says what this node carries, for its record. When
    /// `shutdown` is cancelled the node gives its lease up and cleans up after itself for at most 2 s; its sessions are
    /// to be closed before.
    #[expect(clippy::needless_pass_by_value, reason = "the tasks keep it, as they keep the rest")]
    pub fn run(
        self,
        inbound: Arc<dyn Inbound>,
        load: LoadSource,
        tracker: &TaskTracker,
        shutdown: CancellationToken,
    ) {
        match self.0 {
            Tasks::Redis(tasks) => tasks.run(&inbound, load, tracker, shutdown),
            Tasks::Memory(tasks) => tasks.run(&inbound, load, tracker, shutdown),
        }
    }
}

struct RedisTasks {
    address: Arc<RedisAddress>,
    topology: Option<Arc<ClusterTopology>>,
    commands: Arc<RedisLink>,
    publishing: Arc<RedisLink>,
    source: Arc<RecordSource>,
    standing: Arc<Standing>,
    membership: Arc<Membership>,
    directory: Arc<RedisDirectory>,
    bus: Arc<RedisBus>,
    reader: Arc<BusReader>,
    workers: Vec<ShardWorker<RemoteReply>>,
    reaper: Arc<Reaper>,
    /// None when nothing is stored.
    guard: Option<Arc<MemoryGuard>>,
    moved: Arc<MovedUsers>,
}

impl RedisTasks {
    fn run(
        self,
        inbound: &Arc<dyn Inbound>,
        load: LoadSource,
        tracker: &TaskTracker,
        shutdown: CancellationToken,
    ) {
        self.source.load_from(load);
        // The connections outlive the rest, because leaving needs them.
        let unlink = CancellationToken::new();
        if let Some(topology) = self.topology.clone() {
            let unlink = unlink.clone();
            tracker.spawn(async move { topology.run(unlink).await });
        }
        for link in [self.commands, self.publishing] {
            let unlink = unlink.clone();
            tracker.spawn(async move { link.run(unlink).await });
        }
        let (membership, stop) = (Arc::clone(&self.membership), shutdown.clone());
        tracker.spawn(async move { membership.run(stop).await });
        let (directory, stop) = (Arc::clone(&self.directory), shutdown.clone());
        tracker.spawn(async move { directory.run(stop).await });
        let (reaper, stop) = (Arc::clone(&self.reaper), shutdown.clone());
        tracker.spawn(async move { reaper.run(stop).await });
        if let Some(guard) = self.guard {
            let stop = shutdown.clone();
            tracker.spawn(async move { guard.run(stop).await });
        }
        let (moved, standing, stop) = (self.moved, Arc::clone(&self.standing), shutdown.clone());
        tracker.spawn(async move { moved.run(&standing, stop).await });
        let (bus, stop) = (Arc::clone(&self.bus), shutdown.clone());
        tracker.spawn(async move { bus.run_publisher(stop).await });
        let (bus, stop) = (self.bus, shutdown.clone());
        tracker.spawn(async move { bus.run_timer(stop).await });
        tracker.spawn(self.reader.run(self.address, self.topology, shutdown.clone()));
        for worker in self.workers {
            tracker.spawn(worker.run(Arc::clone(inbound), shutdown.clone()));
        }
        let leaving = Leaving {
            standing: self.standing,
            membership: self.membership,
            directory: self.directory,
            reaper: self.reaper,
        };
        tracker.spawn(async move {
            shutdown.cancelled().await;
            if tokio::time::timeout(LEAVE, leaving.leave()).await.is_err() {
                tracing::warn!("leaving the cluster took too long, others will clean up");
            }
            unlink.cancel();
        });
    }
}

/// What is needed to leave cleanly.
struct Leaving {
    standing: Arc<Standing>,
    membership: Arc<Membership>,
    directory: Arc<RedisDirectory>,
    reaper: Arc<Reaper>,
}

impl Leaving {
    /// The lease goes first: from then on everyone takes the node's entries for void.
    async fn leave(&self) {
        if !self.standing.registered() {
            return;
        }
        self.directory.settle().await;
        let instance = self.standing.instance();
        let left = match self.membership.give_up().await {
            Ok(()) => self.reaper.sweep(&instance, Some(Instant::now() + LEAVE)).await.map(drop),
            Err(error) => Err(error),
        };
        match left {
            Ok(()) => tracing::info!(%instance, "left the cluster"),
            Err(error) => {
                tracing::warn!(%instance, %error, "leaving the cluster failed, the lease will lapse");
            }
        }
    }
}
