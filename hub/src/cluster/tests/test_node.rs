//! A node with an inbound that remembers.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use futures::FutureExt;
use parking_lot::Mutex;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use ulid::Ulid;

use crate::{
    cluster::{BusCounters, ClusterParts, ClusterSettings, RedisSettings, build},
    identity::{ClientId, ConnectionId, NodeId, NodeInstance, UserId},
    local::connection_table::ConnectionTable,
    protocol::envelope::{Envelope, Kind, ReportStatus},
    routing::{
        event_writer::EventWriter,
        inbox::{Inbox, InboxLimits},
        inbox_desk::InboxDesk,
        ports::{
            Answer, ClusterBus, ConnectionRecord, Directory, Handling, Inbound, LoginPolicy, NodeLoad,
            Presence, Registration,
        },
        router::Router,
    },
};

/// Short enough for tests, in the proportion of the defaults.
pub(super) const LEASE: Duration = Duration::from_millis(900);
/// As above.
pub(super) const INTERVAL: Duration = Duration::from_millis(300);
/// Small enough to be filled.
const INBOX: InboxLimits = InboxLimits { messages: 5, bytes: 1000, ttl: Duration::from_secs(60) };
/// What may take a moment takes at most this.
pub(super) const SOON: Duration = Duration::from_secs(15);

#[derive(Default)]
pub(super) struct Recorder(Mutex<Vec<(NodeInstance, Envelope)>>);

impl Recorder {
    pub(super) fn numbers(&self) -> Vec<u64> {
        self.0.lock().iter().map(|(_, envelope)| envelope.number).collect()
    }
}

impl Inbound for Recorder {
    /// Deliver: one connection at once. Kick: two, after a moment. Broadcast: three.
    fn handle(&self, source: &NodeInstance, envelope: Envelope) -> Handling {
        let kind = envelope.kind;
        self.0.lock().push((source.clone(), envelope));
        let done = |count| Answer { status: ReportStatus::Done, count };
        match kind {
            Kind::Deliver => Handling::Done(done(1)),
            Kind::Kick => Handling::Waiting(
                async move {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    Some(done(2))
                }
                .boxed(),
            ),
            Kind::Broadcast => Handling::Done(done(3)),
            _ => Handling::Ignored,
        }
    }
}

pub(super) struct TestNode {
    pub(super) bus: Arc<dyn ClusterBus>,
    pub(super) directory: Arc<dyn Directory>,
    pub(super) inbox: Arc<dyn Inbox>,
    pub(super) counters: Arc<BusCounters>,
    pub(super) received: Arc<Recorder>,
    tracker: TaskTracker,
    shutdown: CancellationToken,
    runtime: Option<tokio::runtime::Runtime>,
}

pub(super) fn settings(node: &str, redis: Option<RedisSettings>) -> ClusterSettings {
    ClusterSettings {
        redis,
        key_prefix: "t:".to_owned(),
        owner: String::new(),
        node: NodeId::new(node).unwrap(),
        node_ip: "127.0.0.1".to_owned(),
        client_port: 8080,
        api_port: 8081,
        pod_uid: String::new(),
        zone: "z1".to_owned(),
        version: "0.0.0".to_owned(),
        heartbeat_interval: INTERVAL,
        lease: LEASE,
        events: false,
        inbox: INBOX,
        login: LoginPolicy::default(),
        resume_window: Duration::from_secs(120),
    }
}

/// A router over ports, with inboxes that nobody measures.
pub(super) fn router(
    bus: Arc<dyn ClusterBus>,
    directory: Arc<dyn Directory>,
    inbox: Arc<dyn Inbox>,
    events: Option<Arc<EventWriter>>,
) -> Arc<Router> {
    let desk = InboxDesk::new(inbox, INBOX, Box::new(|_| ()));
    Router::new(Arc::new(ConnectionTable::default()), bus, directory, events, desk, 10)
}

impl TestNode {
    /// A node with a runtime of its own, so that it can be killed without a farewell.
    pub(super) fn start(settings: ClusterSettings) -> Self {
        Self::run(build(settings).unwrap())
    }

    pub(super) fn run(parts: ClusterParts) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (tracker, shutdown) = (TaskTracker::new(), CancellationToken::new());
        let received = Arc::new(Recorder::default());
        let ClusterParts { bus, directory, inbox, counters, tasks, .. } = parts;
        {
            let _inside = runtime.enter();
            let inbound = Arc::clone(&received) as Arc<dyn Inbound>;
            tasks.run(
                inbound,
                Arc::new(|| NodeLoad { connections: 7, ..NodeLoad::default() }),
                &tracker,
                shutdown.clone(),
            );
            // In place of the router's registry, which writes all users again first.
            let (directory, stop) = (Arc::clone(&directory), shutdown.clone());
            tracker.spawn(async move {
                let mut registration = directory.registration();
                let mut done = 0;
                loop {
                    let now = registration.borrow_and_update().clone();
                    if now.registered && now.epoch != done {
                        done = now.epoch;
                        directory.asserted(done).await;
                    }
                    tokio::select! {
                        () = stop.cancelled() => return,
                        changed = registration.changed() => if changed.is_err() { return },
                    }
                }
            });
        }
        Self { bus, directory, inbox, counters, received, tracker, shutdown, runtime: Some(runtime) }
    }

    pub(super) async fn registered(settings: ClusterSettings) -> Self {
        let soon_whole = settings.lease < SOON;
        let node = Self::start(settings);
        node.wait_registered().await;
        if soon_whole {
            node.wait_whole().await;
        }
        node
    }

    /// Waits until it can be said that somebody is nowhere.
    pub(super) async fn wait_whole(&self) {
        eventually("the registry is whole", async || self.directory.locate(&user("nobody")).await.is_ok())
            .await;
    }

    pub(super) async fn wait_registered(&self) {
        eventually("the node is registered", async || self.registration().registered).await;
    }

    pub(super) fn registration(&self) -> Registration {
        self.directory.registration().borrow().clone()
    }

    pub(super) fn instance(&self) -> NodeInstance {
        self.registration().instance
    }

    pub(super) fn redis_error(&self) -> String {
        match self.registration().redis {
            crate::routing::ports::RedisState::Down(why)
            | crate::routing::ports::RedisState::Refused(why) => why,
            other => other.word().to_owned(),
        }
    }

    /// Ends all of it at once, as a killed process does.
    pub(super) fn kill(mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }

    /// Ends it in good order.
    pub(super) async fn stop(self) {
        self.shutdown.cancel();
        self.tracker.close();
        tokio::time::timeout(SOON, self.tracker.wait()).await.expect("all tasks end");
    }

    pub(super) async fn connect(&self, user: &UserId) -> (ConnectionId, Presence) {
        let record = record(user);
        let presence = self.directory.connect(record.clone()).await.unwrap().presence;
        (record.connection, presence)
    }
}

impl Drop for TestNode {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

pub(super) fn user(name: &str) -> UserId {
    UserId::new(name).unwrap()
}

pub(super) fn record(user: &UserId) -> ConnectionRecord {
    let connection = ConnectionId::new(Ulid::generate());
    ConnectionRecord {
        user: user.clone(),
        connection,
        client: ClientId::new(connection.to_string()).unwrap(),
        connected_at: SystemTime::UNIX_EPOCH + Duration::from_millis(1_732_356_000_123),
        remote_address: "127.0.0.1:4711".to_owned(),
        token_issued_at: None,
        session: None,
    }
}

pub(super) fn envelope(kind: Kind, number: u64, subject: &str) -> Envelope {
    let subject = (!subject.is_empty()).then(|| user(subject));
    Envelope {
        kind,
        wants_report: false,
        patience: None,
        number,
        subject,
        payload: Bytes::from_static(b"{\"content\":\"hi\"}"),
    }
}

/// Waits until a condition holds.
pub(super) async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !condition().await {
        assert!(Instant::now() < deadline, "not in {SOON:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
