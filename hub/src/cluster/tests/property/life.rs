//! One process of a node.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::future::BoxFuture;
use parking_lot::Mutex;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::{runtime::Runtime, task::JoinHandle};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{super::test_node::router, slow_way::SlowWay};
use crate::{
    cluster::{ClusterParts, ClusterSettings, build},
    fault::{self, Fault},
    identity::NodeInstance,
    protocol::envelope::{Envelope, Kind},
    routing::{
        event_writer::EventWriter,
        ports::{Answer, BusError, ClusterBus, Inbound, NodeLoad},
        router::Router,
    },
};

/// Of ten things that nodes tell each other unasked, so many are lost in a lossy plan.
const LOST_OF_TEN: u32 = 3;

/// Loses some of what nobody waits for.
struct LossyBus {
    inner: Arc<dyn ClusterBus>,
    chance: Mutex<StdRng>,
}

impl ClusterBus for LossyBus {
    fn request(
        &self,
        target: &NodeInstance,
        envelope: Envelope,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<Answer, BusError>> {
        self.inner.request(target, envelope, timeout)
    }

    fn post(&self, target: &NodeInstance, envelope: Envelope) -> Result<(), BusError> {
        let may_be_lost = matches!(envelope.kind, Kind::PresenceChanged | Kind::Replace);
        if may_be_lost && self.chance.lock().random_ratio(LOST_OF_TEN, 10) {
            return Ok(());
        }
        self.inner.post(target, envelope)
    }

    fn broadcast(
        &self,
        expected: Vec<NodeInstance>,
        envelope: Envelope,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<Vec<(NodeInstance, Answer)>, BusError>> {
        self.inner.broadcast(expected, envelope, timeout)
    }
}

/// What a life is to be like.
pub(super) struct Nature {
    pub(super) seed: u64,
    pub(super) lossy: bool,
    pub(super) fault: Option<Fault>,
}

/// One process of a node: a runtime of its own, with one thread that a pause stops, and a way of its own to Redis.
pub(super) struct Life {
    pub(super) router: Arc<Router>,
    pub(super) events: Arc<EventWriter>,
    way: SlowWay,
    handle: tokio::runtime::Handle,
    runtime: Mutex<Option<Runtime>>,
    dead: AtomicBool,
    /// Whether it was ever held up, so that its users may have been called offline.
    disturbed: AtomicBool,
}

impl Life {
    /// `settings` name the real Redis, which is on this machine.
    pub(super) async fn start(mut settings: ClusterSettings, nature: Nature) -> Arc<Self> {
        let redis = settings.redis.as_mut().unwrap();
        let way = SlowWay::to(redis.hosts[0].1, nature.seed).await;
        redis.hosts[0].1 = way.port();
        let fault = nature.fault;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .on_thread_start(move || fault::seed(fault))
            .enable_all()
            .build()
            .unwrap();
        let ClusterParts { mut bus, directory, inbox, events, tasks, .. } = build(settings.clone()).unwrap();
        if nature.lossy {
            let chance = Mutex::new(StdRng::seed_from_u64(nature.seed));
            bus = Arc::new(LossyBus { inner: bus, chance });
        }
        let events = Arc::new(EventWriter::new(events));
        let router = router(bus, directory, inbox, Some(Arc::clone(&events)));
        {
            let _inside = runtime.enter();
            // Never told to stop: a life ends by being killed.
            let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
            let inbound = Arc::clone(&router) as Arc<dyn Inbound>;
            tasks.run(inbound, Arc::new(NodeLoad::default), &tracker, stop.clone());
            let (registering, stopped) = (Arc::clone(&router), stop.clone());
            tracker.spawn(async move { registering.registry().run(stopped).await });
            let (groups, stopped) = (Arc::clone(router.groups()), stop.clone());
            tracker.spawn(async move { groups.run(stopped).await });
            let (every, stopped) = (settings.heartbeat_interval, stop.clone());
            let remembering = Arc::clone(&router);
            tracker.spawn(async move { remembering.remember_nodes(every, stopped).await });
            let writing = Arc::clone(&events);
            tracker.spawn(async move { writing.run(stop).await });
        }
        let (dead, disturbed) = (AtomicBool::new(false), AtomicBool::new(false));
        let (handle, runtime) = (runtime.handle().clone(), Mutex::new(Some(runtime)));
        Arc::new(Self { router, events, way, handle, runtime, dead, disturbed })
    }

    /// Runs something on the process; it is gone when the process is killed.
    pub(super) fn spawn<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        self.handle.spawn(work)
    }

    pub(super) fn instance(&self) -> NodeInstance {
        self.router.registration().instance
    }

    pub(super) fn is_registered(&self) -> bool {
        !self.is_dead() && self.router.registration().registered
    }

    /// Ends it without a farewell.
    pub(super) fn kill(&self) {
        self.dead.store(true, Ordering::Release);
        if let Some(runtime) = self.runtime.lock().take() {
            runtime.shutdown_background();
        }
        self.way.cut();
    }

    pub(super) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Acquire)
    }

    /// Stops its only thread, and with it its clocks.
    pub(super) fn pause(&self, time: Duration) {
        self.disturbed.store(true, Ordering::Release);
        drop(self.spawn(async move { std::thread::sleep(time) }));
    }

    /// Ends its connections to Redis.
    pub(super) fn cut(&self) {
        self.disturbed.store(true, Ordering::Release);
        self.way.cut();
    }

    pub(super) fn was_disturbed(&self) -> bool {
        self.disturbed.load(Ordering::Acquire)
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        self.kill();
    }
}
