//! A kubelet for the hub pods of a namespace where there are no nodes: pods are bound, become Ready, and end. What it
//! needs to know comes by watches, so that a thousand pods cost no more requests than what happens to them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Result;
use futures::StreamExt as _;
use http::Method;
use k8s_openapi::{
    api::core::v1::{ConfigMap, Pod},
    jiff::Timestamp,
};
use kube::{
    Api,
    runtime::{WatchStreamExt as _, reflector, reflector::Store, watcher},
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    fake_fleet::Pace,
    fake_hub::{FakeHub, FakeSettings},
    fake_hub_api::{listen, serve},
    fake_hubs::{SharedHubs, lock},
    namespace::Namespace,
    resource::{POD, call},
};

/// Between two looks at the pods.
const LOOK: Duration = Duration::from_millis(100);
/// Between two signs of life of the node.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// Requests at a time.
const AT_ONCE: usize = 16;

const MERGE: &str = "application/merge-patch+json";
const JSON: &str = "application/json";

/// What the kubelet has done for a pod.
#[derive(Debug, Default)]
struct Kept {
    bound: bool,
    pulls: bool,
    ended: bool,
    /// Whether the pod was last reported as Ready.
    ready: Option<bool>,
}

/// What is to be done for a pod.
#[derive(Debug)]
enum Chore {
    Bind,
    BackOff,
    Start,
    Report(bool),
    End,
}

#[derive(Debug)]
pub(super) struct FakeKubelet {
    pub(super) namespace: Namespace,
    pub(super) node: String,
    pub(super) hubs: SharedHubs,
    pub(super) pace: Pace,
    pub(super) stop: CancellationToken,
    pub(super) tasks: TaskTracker,
}

impl FakeKubelet {
    /// Makes the node.
    pub(super) async fn register(&self) -> Result<()> {
        let body = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": self.node}});
        call(&self.namespace.client, Method::POST, "/api/v1/nodes", Some((JSON, &body))).await.map(|_| ())
    }

    /// Keeps the node alive. A task of its own, for what is late here has the pods evicted.
    pub(super) async fn live(self: Arc<Self>) {
        loop {
            let now = Timestamp::now().to_string();
            let ready = json!({"status": {"conditions": [{
                "type": "Ready", "status": "True", "reason": "Test", "message": "as a test says",
                "lastHeartbeatTime": now, "lastTransitionTime": now,
            }]}});
            let path = format!("/api/v1/nodes/{}/status", self.node);
            if let Err(error) =
                call(&self.namespace.client, Method::PATCH, &path, Some((MERGE, &ready))).await
            {
                lock(&self.hubs).trouble = Some(format!("{error:#}"));
            }
            tokio::time::sleep(HEARTBEAT).await;
        }
    }

    /// Looks after the pods, for ever.
    pub(super) async fn run(self: Arc<Self>) {
        let (client, namespace) = (&self.namespace.client, &self.namespace.name);
        let (pods, pod_writer) = reflector::store();
        let (maps, map_writer) = reflector::store();
        let hub_pods = watcher::Config::default().labels("app.kubernetes.io/name=wsc-hub");
        let children = watcher::Config::default().labels("wsc.dev/cluster");
        let watch_pods = watcher(Api::<Pod>::namespaced(client.clone(), namespace), hub_pods)
            .default_backoff()
            .reflect(pod_writer)
            .for_each(|_| std::future::ready(()));
        let watch_maps = watcher(Api::<ConfigMap>::namespaced(client.clone(), namespace), children)
            .default_backoff()
            .reflect(map_writer)
            .for_each(|_| std::future::ready(()));
        tokio::join!(watch_pods, watch_maps, self.look_often(&pods, &maps));
    }

    async fn look_often(&self, pods: &Store<Pod>, maps: &Store<ConfigMap>) {
        let mut kept = BTreeMap::new();
        let mut files = HotFiles::default();
        let mut looked = Instant::now();
        loop {
            lock(&self.hubs).pass(looked.elapsed());
            looked = Instant::now();
            // The next look tries again; what stays wrong fails the test by its deadline.
            let trouble = self.look(&pods.state(), &files.settings(maps), &mut kept).await;
            lock(&self.hubs).trouble = trouble;
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn look(
        &self,
        pods: &[Arc<Pod>],
        settings: &BTreeMap<String, FakeSettings>,
        kept: &mut BTreeMap<String, Kept>,
    ) -> Option<String> {
        let there: BTreeSet<String> = pods.iter().filter_map(|pod| pod.metadata.uid.clone()).collect();
        kept.retain(|uid, _| there.contains(uid));
        let chores: Vec<(Arc<Pod>, Chore)> = {
            let mut hubs = lock(&self.hubs);
            hubs.keep(&there);
            for hub in hubs.hubs.values_mut() {
                if let Some(newest) = settings.get(&hub.cluster) {
                    hub.bring(newest, self.pace.settings);
                }
            }
            let mut chores = Vec::new();
            for pod in pods {
                let Some(uid) = pod.metadata.uid.as_ref() else { continue };
                let kept = kept.entry(uid.clone()).or_default();
                chores.extend(due(pod, kept, hubs.hubs.get(uid)).map(|chore| (Arc::clone(pod), chore)));
            }
            chores
        };
        let done: Vec<_> = futures::stream::iter(chores)
            .map(|(pod, chore)| async move {
                let outcome = self.attend(&pod, &chore, settings).await;
                (pod.metadata.uid.clone().unwrap_or_default(), chore, outcome)
            })
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        let mut trouble = None;
        for (uid, chore, outcome) in done {
            match outcome {
                Err(error) => trouble = Some(format!("{chore:?}: {error:#}")),
                Ok(()) => note(kept.entry(uid).or_default(), &chore),
            }
        }
        lock(&self.hubs).saw(&up(pods, kept));
        trouble
    }

    async fn attend(
        &self,
        pod: &Pod,
        chore: &Chore,
        settings: &BTreeMap<String, FakeSettings>,
    ) -> Result<()> {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        let path = POD.path(&self.namespace.name, name);
        let client = &self.namespace.client;
        let answer = match chore {
            Chore::Bind => {
                let binding = json!({
                    "apiVersion": "v1", "kind": "Binding", "metadata": {"name": name, "uid": uid},
                    "target": {"apiVersion": "v1", "kind": "Node", "name": self.node},
                });
                call(client, Method::POST, &format!("{path}/binding"), Some((JSON, &binding))).await
            }
            Chore::End => {
                lock(&self.hubs).end(uid);
                let now = json!({"gracePeriodSeconds": 0, "preconditions": {"uid": uid}});
                call(client, Method::DELETE, &path, Some((JSON, &now))).await
            }
            Chore::Start => return self.start(name, uid, pod, settings).await,
            Chore::BackOff => {
                let waiting = json!({"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}});
                let status = status(pod, "Pending", None, &waiting, false, self.pace.fault_age);
                call(client, Method::PATCH, &format!("{path}/status"), Some((MERGE, &status))).await
            }
            Chore::Report(ready) => {
                let ip = lock(&self.hubs).hubs.get(uid).map(|hub| hub.address.to_string());
                let Some(ip) = ip else { return Ok(()) };
                let running = json!({"running": {"startedAt": Timestamp::now().to_string()}});
                let status = status(pod, "Running", Some(&ip), &running, *ready, Duration::ZERO);
                call(client, Method::PATCH, &format!("{path}/status"), Some((MERGE, &status))).await
            }
        };
        match answer {
            // Between two looks a pod may end, and another have its name.
            Err(error) if [" 409 ", " 422 "].iter().any(|code| error.to_string().contains(code)) => Ok(()),
            answer => answer.map(|_| ()),
        }
    }

    async fn start(
        &self,
        name: &str,
        uid: &str,
        pod: &Pod,
        settings: &BTreeMap<String, FakeSettings>,
    ) -> Result<()> {
        let (listener, address) = listen().await?;
        let stop = self.stop.child_token();
        let mut hub = FakeHub {
            name: name.to_owned(),
            cluster: cluster_of(pod).to_owned(),
            incarnation: format!("{:08x}.1", rand::random::<u32>()),
            connections: 0.0,
            max_connections: 50_000.0,
            registered: true,
            redis_error: None,
            hot_hash: None,
            hot_error: None,
            silent: false,
            lost: false,
            drain: None,
            ready_at: Instant::now() + self.pace.start.mul_f64(rand::random()),
            coming: None,
            address,
            stop: stop.clone(),
        };
        // A pod starts with what is there.
        if let Some(settings) = settings.get(&hub.cluster) {
            hub.apply(settings);
        }
        lock(&self.hubs).hubs.insert(uid.to_owned(), hub);
        serve(listener, uid, &self.hubs, stop, &self.tasks);
        Ok(())
    }
}

fn cluster_of(pod: &Pod) -> &str {
    let label = pod.metadata.labels.as_ref().and_then(|labels| labels.get("wsc.dev/cluster"));
    label.map_or("", String::as_str)
}

fn ordinal_of(pod: &Pod) -> Option<u32> {
    pod.metadata.name.as_deref()?.rsplit_once('-')?.1.parse().ok()
}

fn image_of(pod: &Pod) -> &str {
    let container = pod.spec.as_ref().and_then(|spec| spec.containers.first());
    container.and_then(|container| container.image.as_deref()).unwrap_or_default()
}

/// What is to be done for a pod next.
fn due(pod: &Pod, kept: &Kept, hub: Option<&FakeHub>) -> Option<Chore> {
    let bound = pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some());
    if pod.metadata.deletion_timestamp.is_some() {
        // Nobody speaks for a pod whose node is gone, but the controller that watches nodes, which is the test.
        let ends = bound && !kept.ended && !hub.is_some_and(|hub| hub.lost);
        return ends.then_some(Chore::End);
    }
    if !bound {
        return (!kept.bound).then_some(Chore::Bind);
    }
    let Some(hub) = hub else {
        if image_of(pod).ends_with(":bad") {
            return (!kept.pulls).then_some(Chore::BackOff);
        }
        return Some(Chore::Start);
    };
    let told = kept.ready == Some(hub.is_active());
    (hub.has_started() && !told).then_some(Chore::Report(hub.is_active()))
}

fn note(kept: &mut Kept, chore: &Chore) {
    match chore {
        Chore::Bind => kept.bound = true,
        Chore::BackOff => kept.pulls = true,
        Chore::End => kept.ended = true,
        Chore::Report(ready) => kept.ready = Some(*ready),
        Chore::Start => {}
    }
}

/// Ordinals that serve clients, by resource.
fn up(pods: &[Arc<Pod>], kept: &BTreeMap<String, Kept>) -> BTreeMap<String, BTreeSet<u32>> {
    let mut up: BTreeMap<String, BTreeSet<u32>> = BTreeMap::new();
    for pod in pods {
        let serving = up.entry(cluster_of(pod).to_owned()).or_default();
        let ready = pod.metadata.uid.as_ref().and_then(|uid| kept.get(uid)?.ready).unwrap_or(false);
        if ready && pod.metadata.deletion_timestamp.is_none() {
            serving.extend(ordinal_of(pod));
        }
    }
    up
}

/// The hot settings of each resource, read again only where the file is another: a thousand hashes ten times a second
/// would keep a core busy.
#[derive(Debug, Default)]
struct HotFiles {
    read: BTreeMap<String, (Option<String>, FakeSettings)>,
}

impl HotFiles {
    fn settings(&mut self, maps: &Store<ConfigMap>) -> BTreeMap<String, FakeSettings> {
        let mut now = BTreeMap::new();
        for map in maps.state() {
            let cluster = map.metadata.name.as_deref().and_then(|name| name.strip_suffix("-hot"));
            let Some(cluster) = cluster else { continue };
            let version = &map.metadata.resource_version;
            let known = self.read.remove(cluster).filter(|(before, _)| before == version);
            let read = known.or_else(|| Some((version.clone(), read(&map)?)));
            now.extend(read.map(|read| (cluster.to_owned(), read)));
        }
        self.read = now;
        self.read.iter().map(|(cluster, (_, settings))| (cluster.clone(), settings.clone())).collect()
    }
}

fn read(map: &ConfigMap) -> Option<FakeSettings> {
    let text = map.data.as_ref()?.get("settings.yaml")?;
    let line = text.lines().find_map(|line| line.strip_prefix("max_connections: "))?;
    let hash = Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect();
    Some(FakeSettings { hash, max_connections: line.trim().parse().ok()? })
}

/// The status of a pod, bound to its uid: by now another pod may have the name. `age` is how long it has been so.
fn status(pod: &Pod, phase: &str, ip: Option<&str>, state: &Value, ready: bool, age: Duration) -> Value {
    let since = (Timestamp::now() - age).to_string();
    let word = if ready { "True" } else { "False" };
    let conditions: Vec<Value> = [("Ready", word), ("ContainersReady", word), ("PodScheduled", "True")]
        .map(|(kind, status)| json!({"type": kind, "status": status, "lastTransitionTime": since}))
        .to_vec();
    json!({"metadata": {"uid": pod.metadata.uid}, "status": {
        "phase": phase, "podIP": ip, "podIPs": ip.map(|ip| json!([{"ip": ip}])),
        "startTime": pod.metadata.creation_timestamp, "conditions": conditions,
        "containerStatuses": [{
            "name": "hub", "ready": ready, "started": ip.is_some(), "restartCount": 0, "image": image_of(pod),
            "imageID": "", "state": state,
        }],
    }})
}
