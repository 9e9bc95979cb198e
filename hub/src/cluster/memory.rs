//! A cluster inside one process: the default of a node that is alone, and several nodes side by side.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, SystemTime},
};

use futures::{FutureExt, future::BoxFuture};
use parking_lot::Mutex;
use tokio::sync::{oneshot, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    BusCounters, ClusterError, ClusterParts, ClusterSettings, ClusterTasks, LoadSource,
    cluster_parts::first_instance,
    event_ring::EventRing,
    memory_inbox::{Inboxes, MemoryInbox},
    memory_sessions::MemorySessions,
    memory_users::MemoryUsers,
    node_record::RecordSource,
    shards::{Delivery, Reply, ShardWorker, Shards},
};
use crate::{
    identity::{ConnectionId, GroupName, NodeId, NodeInstance, SessionId, UserId},
    observe::current_trace,
    protocol::{
        envelope::{Envelope, ReportStatus},
        event::Event,
    },
    routing::{
        ports::{
            Answer, Ban, BusError, ClusterBus, Connected, ConnectionRecord, Directory, DirectoryError,
            EventLog, GroupNodes, Inbound, LoginPolicy, NodeStatus, Presence, PresentConnection, RedisState,
            Registration, Roll, UserNodes,
        },
        router::rfc3339,
        session_state::SessionState,
    },
};

/// Between two looks at who is overdue.
const LOOK: Duration = Duration::from_millis(500);

struct MemoryNode {
    instance: NodeInstance,
    source: Arc<RecordSource>,
    shards: Arc<Shards<DirectReply>>,
}

#[derive(Default)]
struct State {
    nodes: HashMap<NodeId, MemoryNode>,
    users: MemoryUsers,
    sessions: MemorySessions,
    groups: HashMap<GroupName, BTreeMap<NodeInstance, u32>>,
}

/// The registry of nodes and users, in memory. Clones share it.
#[derive(Clone, Default)]
pub struct MemoryCluster {
    state: Arc<Mutex<State>>,
    events: Arc<EventRing>,
    inboxes: Arc<Mutex<Inboxes>>,
}

impl MemoryCluster {
    /// Adds a node; it is there until its tasks are told to stop.
    ///
    /// # Errors
    /// [`ClusterError::NodeTaken`] when a node of that id is there.
    pub fn join(&self, settings: ClusterSettings) -> Result<ClusterParts, ClusterError> {
        let instance = first_instance(settings.node.clone())?;
        let (login, limits, resume_window) = (settings.login, settings.inbox, settings.resume_window);
        let events = settings.events;
        let source = Arc::new(RecordSource::new(settings));
        let (shards, workers) = Shards::new();
        let node =
            MemoryNode { instance: instance.clone(), source: Arc::clone(&source), shards: Arc::new(shards) };
        {
            let mut state = self.state.lock();
            if state.nodes.contains_key(&instance.node) {
                return Err(ClusterError::NodeTaken(instance.node));
            }
            state.nodes.insert(instance.node.clone(), node);
        }
        let registration = watch::Sender::new(Registration {
            instance: instance.clone(),
            registered: true,
            ever_registered: true,
            epoch: 1,
            hearing: 1,
            redis: RedisState::Embedded,
            lease_expires: None,
            superseded: false,
        });
        let users = Arc::clone(&self.state);
        let nodes = move |user: &UserId| users.lock().users.locate(user, SystemTime::now()).nodes().instances;
        let inbox = MemoryInbox::new(limits, Arc::clone(&self.inboxes), Arc::new(nodes));
        let member = Arc::new(MemoryMember {
            cluster: self.clone(),
            instance,
            source,
            registration,
            login,
            resume_window,
            events,
        });
        Ok(ClusterParts {
            bus: Arc::clone(&member) as Arc<dyn ClusterBus>,
            directory: Arc::clone(&member) as Arc<dyn Directory>,
            inbox: Arc::new(inbox),
            events: Arc::clone(&self.events) as Arc<dyn EventLog>,
            counters: Arc::new(BusCounters::default()),
            tasks: ClusterTasks::memory(MemoryTasks { member, workers }),
        })
    }

    fn leave(&self, instance: &NodeInstance) {
        let mut state = self.state.lock();
        state.nodes.remove(&instance.node);
        state.users.remove_node(instance);
        state.groups.retain(|_, nodes| {
            nodes.remove(instance);
            !nodes.is_empty()
        });
    }
}

/// One node's view of the cluster.
struct MemoryMember {
    cluster: MemoryCluster,
    instance: NodeInstance,
    source: Arc<RecordSource>,
    registration: watch::Sender<Registration>,
    login: LoginPolicy,
    /// How long a client that is gone can take up its session; zero for never.
    resume_window: Duration,
    /// Whether anybody wants to hear who is offline.
    events: bool,
}

/// What a node in memory runs.
pub(super) struct MemoryTasks {
    member: Arc<MemoryMember>,
    workers: Vec<ShardWorker<DirectReply>>,
}

impl MemoryTasks {
    pub(super) fn run(
        self,
        inbound: &Arc<dyn Inbound>,
        load: LoadSource,
        tracker: &TaskTracker,
        shutdown: CancellationToken,
    ) {
        self.member.source.load_from(load);
        for worker in self.workers {
            tracker.spawn(worker.run(Arc::clone(inbound), shutdown.clone()));
        }
        let member = self.member;
        tracker.spawn(async move {
            member.tell_who_is_not_back(&shutdown).await;
            member.cluster.leave(&member.instance);
            member.registration.send_modify(|registration| registration.registered = false);
        });
    }
}

/// Answers whoever asked, in the same process.
struct DirectReply(oneshot::Sender<Answer>);

impl Reply for DirectReply {
    fn send(self, answer: Answer) {
        // Whoever asked may have stopped waiting.
        let _ = self.0.send(answer);
    }
}

impl MemoryMember {
    /// Forgets users who were sent away and have not come back in time, and tells it, until told to stop.
    async fn tell_who_is_not_back(&self, shutdown: &CancellationToken) {
        while shutdown.run_until_cancelled(tokio::time::sleep(LOOK)).await.is_some() {
            let gone = self.cluster.state.lock().users.not_back(SystemTime::now());
            let at = rfc3339(SystemTime::now());
            let offline = |(user, ver, node): &(UserId, u64, NodeId)| {
                Event::offline(user, *ver, node, at.clone(), Some("not_back")).to_json()
            };
            let events: Vec<String> = gone.iter().map(offline).collect();
            if self.events && !events.is_empty() {
                // A ring in this process takes them always.
                let _ = self.cluster.events.append(&events).await;
            }
        }
    }

    /// Queues an envelope for a node; the receiver is there if a report is wanted.
    fn hand_over(
        &self,
        target: &NodeInstance,
        envelope: Envelope,
    ) -> Result<oneshot::Receiver<Answer>, BusError> {
        let shards = {
            let state = self.cluster.state.lock();
            let node = state.nodes.get(&target.node).ok_or_else(|| BusError::NodeGone(target.clone()))?;
            Arc::clone(&node.shards)
        };
        let (reply, answer) = oneshot::channel();
        let reply = envelope.wants_report.then_some(DirectReply(reply));
        let source = self.instance.clone();
        shards
            .push(Delivery { source, envelope, reply, trace: current_trace() })
            .map_err(|_| BusError::Overloaded(target.clone()))?;
        Ok(answer)
    }
}

impl ClusterBus for MemoryMember {
    fn request(
        &self,
        target: &NodeInstance,
        mut envelope: Envelope,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<Answer, BusError>> {
        envelope.wants_report = true;
        let handed = self.hand_over(target, envelope);
        let target = target.clone();
        async move {
            match tokio::time::timeout(timeout, handed?).await {
                Ok(Ok(answer)) => Ok(answer),
                Ok(Err(_)) | Err(_) => Err(BusError::NoReport(target)),
            }
        }
        .boxed()
    }

    fn post(&self, target: &NodeInstance, mut envelope: Envelope) -> Result<(), BusError> {
        envelope.wants_report = false;
        self.hand_over(target, envelope).map(drop)
    }

    fn broadcast(
        &self,
        expected: Vec<NodeInstance>,
        mut envelope: Envelope,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<Vec<(NodeInstance, Answer)>, BusError>> {
        envelope.wants_report = true;
        let everyone: Vec<_> = {
            let state = self.cluster.state.lock();
            state.nodes.values().map(|node| node.instance.clone()).filter(|i| *i != self.instance).collect()
        };
        let mut waits = Vec::with_capacity(everyone.len());
        for instance in everyone {
            let handed = self.hand_over(&instance, envelope.clone());
            if !expected.contains(&instance) {
                continue;
            }
            waits.push(async move {
                let answer = match handed {
                    Ok(answer) => tokio::time::timeout(timeout, answer).await.ok()?.ok()?,
                    Err(BusError::Overloaded(_)) => Answer { status: ReportStatus::Overloaded, count: 0 },
                    Err(_) => return None,
                };
                Some((instance, answer))
            });
        }
        async move { Ok(futures::future::join_all(waits).await.into_iter().flatten().collect()) }.boxed()
    }
}

impl Directory for MemoryMember {
    fn registration(&self) -> watch::Receiver<Registration> {
        self.registration.subscribe()
    }

    fn connect(&self, record: ConnectionRecord) -> BoxFuture<'_, Result<Connected, DirectoryError>> {
        let (session, user, now) = (record.session.clone(), record.user.clone(), SystemTime::now());
        let present = PresentConnection { instance: self.instance.clone(), record };
        let mut state = self.cluster.state.lock();
        let connected = state.users.connect(present, self.login, now);
        if let (Ok(_), Some((session, kept)), false) = (&connected, session, self.resume_window.is_zero()) {
            state.sessions.keep(&user, session, kept, self.resume_window, now);
        }
        drop(state);
        futures::future::ready(connected).boxed()
    }

    fn disconnect<'a>(
        &'a self,
        user: &'a UserId,
        connection: ConnectionId,
        moving: Option<Duration>,
    ) -> BoxFuture<'a, Result<UserNodes, DirectoryError>> {
        let mut state = self.cluster.state.lock();
        let nodes = state.users.disconnect(user, connection, &self.instance, moving, SystemTime::now());
        drop(state);
        futures::future::ready(Ok(nodes)).boxed()
    }

    fn locate<'a>(&'a self, user: &'a UserId) -> BoxFuture<'a, Result<Presence, DirectoryError>> {
        let presence = self.cluster.state.lock().users.locate(user, SystemTime::now());
        futures::future::ready(Ok(presence)).boxed()
    }

    fn asserted(&self, _epoch: u64) -> BoxFuture<'_, ()> {
        // What is here is all there is.
        futures::future::ready(()).boxed()
    }

    fn session<'a>(
        &'a self,
        user: &'a UserId,
        session: SessionId,
    ) -> BoxFuture<'a, Result<Option<SessionState>, DirectoryError>> {
        let kept = self.cluster.state.lock().sessions.get(user, session, SystemTime::now());
        futures::future::ready(Ok(kept)).boxed()
    }

    fn end_session<'a>(
        &'a self,
        user: &'a UserId,
        session: SessionId,
        resumable: bool,
    ) -> BoxFuture<'a, Result<(), DirectoryError>> {
        let window = Some(self.resume_window).filter(|window| resumable && !window.is_zero());
        self.cluster.state.lock().sessions.end(user, session, window, SystemTime::now());
        futures::future::ready(Ok(())).boxed()
    }

    fn forget_sessions<'a>(&'a self, user: &'a UserId) -> BoxFuture<'a, Result<(), DirectoryError>> {
        self.cluster.state.lock().sessions.forget(user);
        futures::future::ready(Ok(())).boxed()
    }

    fn set_ban<'a>(
        &'a self,
        user: &'a UserId,
        ban: Option<&'a Ban>,
    ) -> BoxFuture<'a, Result<(), DirectoryError>> {
        let written = self.cluster.state.lock().users.set_ban(user, ban, SystemTime::now());
        futures::future::ready(written).boxed()
    }

    fn ban<'a>(&'a self, user: &'a UserId) -> BoxFuture<'a, Result<Option<Ban>, DirectoryError>> {
        let ban = self.cluster.state.lock().users.ban(user, SystemTime::now());
        futures::future::ready(Ok(ban)).boxed()
    }

    fn revoke<'a>(&'a self, user: &'a UserId, before: u64) -> BoxFuture<'a, Result<u64, DirectoryError>> {
        let revoked = self.cluster.state.lock().users.revoke(user, before);
        futures::future::ready(revoked).boxed()
    }

    fn all_live<'a>(&'a self, instances: &'a [NodeInstance]) -> BoxFuture<'a, Result<bool, DirectoryError>> {
        let state = self.cluster.state.lock();
        let lives = |instance: &NodeInstance| {
            state.nodes.get(&instance.node).is_some_and(|node| node.instance == *instance)
        };
        futures::future::ready(Ok(instances.iter().all(lives))).boxed()
    }

    fn set_members<'a>(
        &'a self,
        group: &'a GroupName,
        members: u32,
    ) -> BoxFuture<'a, Result<(), DirectoryError>> {
        let mut state = self.cluster.state.lock();
        let nodes = state.groups.entry(group.clone()).or_default();
        match members {
            0 => nodes.remove(&self.instance),
            _ => nodes.insert(self.instance.clone(), members),
        };
        if nodes.is_empty() {
            state.groups.remove(group);
        }
        drop(state);
        futures::future::ready(Ok(())).boxed()
    }

    fn group_nodes<'a>(&'a self, group: &'a GroupName) -> BoxFuture<'a, Result<GroupNodes, DirectoryError>> {
        let state = self.cluster.state.lock();
        let instances =
            state.groups.get(group).map_or_else(Vec::new, |nodes| nodes.keys().cloned().collect());
        drop(state);
        futures::future::ready(Ok(GroupNodes { instances, doubtful: false })).boxed()
    }

    fn locate_many<'a>(
        &'a self,
        users: &'a [UserId],
    ) -> BoxFuture<'a, Result<Vec<Presence>, DirectoryError>> {
        futures::future::try_join_all(users.iter().map(|user| self.locate(user))).boxed()
    }

    fn roll(&self) -> BoxFuture<'_, Result<Roll, DirectoryError>> {
        let state = self.cluster.state.lock();
        let mut nodes: Vec<_> = state
            .nodes
            .values()
            .map(|node| (Arc::clone(&node.source), node.instance.incarnation.clone()))
            .collect();
        drop(state);
        // Counting connections is the caller's code, so it runs outside the lock.
        let mut records: Vec<_> = nodes.drain(..).map(|(source, life)| source.record(life)).collect();
        records.sort_by(|a, b| a.id.cmp(&b.id));
        futures::future::ready(Ok(Roll { records, doubtful: false })).boxed()
    }

    fn set_status(&self, status: NodeStatus) -> BoxFuture<'_, Result<(), DirectoryError>> {
        self.source.set_status(status);
        futures::future::ready(Ok(())).boxed()
    }
}
