//! Hub pods that live where there are no nodes: a kubelet runs them, and each has a hub that answers the operator.

use std::{
    sync::{Arc, MutexGuard},
    time::Duration,
};

use anyhow::{Context as _, Result};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    fake_hub::FakeHub,
    fake_hubs::{FakeHubs, SharedHubs, lock},
    fake_kubelet::FakeKubelet,
    namespace::Namespace,
};

/// How long things take.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// From the creation of a pod to Ready; drawn anew up to this.
    pub start: Duration,
    /// From a change of the hot settings to a node that has them; drawn anew up to this.
    pub settings: Duration,
    /// For how long a pod that cannot run says that it has been so when that is first said.
    pub fault_age: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        let short = Duration::from_millis(400);
        Self { start: short, settings: short, fault_age: Duration::ZERO }
    }
}

/// All hub pods of a namespace, alive. It ends when it is dropped; the pods stay as they are. Pods whose image has the
/// tag `bad` never run.
#[derive(Debug)]
pub struct FakeFleet {
    hubs: SharedHubs,
    stop: CancellationToken,
}

impl FakeFleet {
    /// Begins to look after the hub pods of a namespace.
    ///
    /// # Errors
    /// When the API server refuses the node.
    pub async fn start(namespace: &Namespace, pace: Pace) -> Result<Self> {
        let fleet = Self { hubs: Arc::default(), stop: CancellationToken::new() };
        let kubelet = Arc::new(FakeKubelet {
            node: namespace.fake_node(),
            namespace: namespace.clone(),
            hubs: Arc::clone(&fleet.hubs),
            pace,
            stop: fleet.stop.clone(),
            tasks: TaskTracker::new(),
        });
        kubelet.register().await?;
        let (stop, live) = (fleet.stop.clone(), Arc::clone(&kubelet).live());
        kubelet.tasks.spawn(async move { stop.run_until_cancelled(live).await });
        let (stop, run) = (fleet.stop.clone(), Arc::clone(&kubelet).run());
        kubelet.tasks.spawn(async move { stop.run_until_cancelled(run).await });
        Ok(fleet)
    }

    /// The hubs and what they were told.
    pub fn hubs(&self) -> MutexGuard<'_, FakeHubs> {
        lock(&self.hubs)
    }

    /// Looks at the hub of a pod, or changes it.
    ///
    /// # Errors
    /// When the pod has no hub now.
    pub fn with<T>(&self, pod: &str, look: impl FnOnce(&mut FakeHub) -> T) -> Result<T> {
        self.hubs().named(pod).map(look).with_context(|| format!("{pod} has no hub"))
    }

    /// From now on a resource has this many clients: more come to whatever node takes them, or a part of all leaves.
    pub fn clients(&self, cluster: &str, clients: f64) {
        self.hubs().clients(cluster, clients);
    }

    /// From now on notes how many of the first `expected` pods of a resource are down at once.
    pub fn watch(&self, cluster: &str, expected: u32) {
        self.hubs().watch(cluster, expected);
    }

    /// Most of the watched pods of one resource that were down at once.
    #[must_use]
    pub fn worst(&self) -> usize {
        self.hubs().worst()
    }

    /// Pods that serve clients now.
    #[must_use]
    pub fn serving(&self) -> usize {
        self.hubs().serving()
    }

    /// What happened so far, oldest first.
    #[must_use]
    pub fn log(&self) -> Vec<String> {
        self.hubs().log.clone()
    }

    /// Why the fleet cannot go on at present, if it cannot.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.hubs().trouble.clone()
    }

    /// The node of a pod is gone: its hub answers nobody and its lease ends.
    pub fn lose(&self, pod: &str) {
        let mut hubs = self.hubs();
        let Some(hub) = hubs.named(pod) else { return };
        hub.lost = true;
        hub.stop.cancel();
        let (cluster, clients) = (hub.cluster.clone(), std::mem::take(&mut hub.connections));
        hubs.leave(&cluster, clients);
    }
}

impl Drop for FakeFleet {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
