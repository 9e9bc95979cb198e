//! A kubelet for the hub pods of one cluster where there are no nodes: pods become Ready, answer as hubs do, and end.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use http::Method;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    fake_hub::{FakeHub, FakeHubs, SharedHubs, lock, serve},
    namespace::Namespace,
    resource::{CONFIG_MAP, POD, call},
};

/// Between two looks at the pods.
const LOOK: Duration = Duration::from_millis(100);
/// From the creation of a pod to its hub.
const START: Duration = Duration::from_millis(300);
/// Between two signs of life of the node.
const HEARTBEAT: Duration = Duration::from_secs(5);

const MERGE: &str = "application/merge-patch+json";
const JSON: &str = "application/json";

/// The next loopback address; a hub has its own, since all use the same port.
static NEXT_ADDRESS: AtomicU32 = AtomicU32::new(0);

/// Hub pods that live. Dropping it stops them.
#[derive(Debug)]
pub struct FakeFleet {
    hubs: SharedHubs,
    seen: Arc<std::sync::Mutex<Seen>>,
    stop: CancellationToken,
}

/// What was seen of the pods as a whole.
#[derive(Debug, Default)]
struct Seen {
    /// Ordinals that are watched.
    expected: u32,
    /// Most of them that were down at once.
    worst: usize,
    /// Pods that serve now.
    serving: usize,
    /// Why the kubelet gave up.
    failed: Option<String>,
}

impl FakeFleet {
    /// Plays kubelet and hubs for a cluster. `clients` come to whatever hub there is; each takes `capacity`.
    ///
    /// # Errors
    /// When the API server refuses the node.
    pub async fn start(namespace: &Namespace, cluster: &str, clients: f64, capacity: f64) -> Result<Self> {
        let hubs: SharedHubs = Arc::default();
        (lock(&hubs).homeless, lock(&hubs).capacity) = (clients, capacity);
        let fleet = Self { hubs, seen: Arc::default(), stop: CancellationToken::new() };
        let kubelet = Kubelet {
            namespace: namespace.clone(),
            cluster: cluster.to_owned(),
            node: format!("node-of-{}", namespace.name),
            hubs: Arc::clone(&fleet.hubs),
            seen: Arc::clone(&fleet.seen),
            stop: fleet.stop.clone(),
            tasks: TaskTracker::new(),
            pods: BTreeMap::new(),
            looked: Instant::now(),
            alive: None,
        };
        kubelet.register().await?;
        let stop = fleet.stop.clone();
        kubelet.tasks.clone().spawn(async move {
            let _ = stop.run_until_cancelled(kubelet.run()).await;
        });
        Ok(fleet)
    }

    /// The hubs and what they were told.
    pub fn hubs(&self) -> std::sync::MutexGuard<'_, FakeHubs> {
        lock(&self.hubs)
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// From now on notes how many of the first `expected` pods are down at once.
    pub fn watch(&self, expected: u32) {
        let mut seen = self.seen();
        (seen.expected, seen.worst) = (expected, 0);
    }

    /// Most of the watched pods that were down at once.
    #[must_use]
    pub fn worst(&self) -> usize {
        self.seen().worst
    }

    /// Pods that serve clients now.
    ///
    /// # Errors
    /// When the kubelet gave up.
    pub fn serving(&self) -> Result<usize> {
        let seen = self.seen();
        if let Some(failed) = &seen.failed {
            bail!("the kubelet of the test gave up: {failed}");
        }
        Ok(seen.serving)
    }

    /// What happened so far, oldest first.
    #[must_use]
    pub fn log(&self) -> Vec<String> {
        self.hubs().log.clone()
    }

    /// The node of a pod is gone: its hub answers nobody and its lease ends.
    pub fn lose(&self, pod: &str) {
        let mut hubs = self.hubs();
        let Some(hub) = hubs.named(pod) else { return };
        hub.lost = true;
        hub.stop.cancel();
        let clients = std::mem::take(&mut hub.connections);
        hubs.homeless += clients;
    }
}

impl Drop for FakeFleet {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// What the kubelet has done for a pod.
#[derive(Debug)]
struct Kept {
    seen: Instant,
    started: bool,
    ready: bool,
    pulls: bool,
}

#[derive(Debug)]
struct Kubelet {
    namespace: Namespace,
    cluster: String,
    node: String,
    hubs: SharedHubs,
    seen: Arc<std::sync::Mutex<Seen>>,
    stop: CancellationToken,
    tasks: TaskTracker,
    pods: BTreeMap<String, Kept>,
    looked: Instant,
    alive: Option<Instant>,
}

impl Kubelet {
    async fn register(&self) -> Result<()> {
        let body = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": self.node}});
        call(&self.namespace.client, Method::POST, "/api/v1/nodes", Some((JSON, &body))).await.map(|_| ())
    }

    async fn run(mut self) {
        loop {
            if let Err(error) = self.look().await {
                // The namespace is being deleted at the end of a test, and a pod may end between two requests.
                let mut seen = self.seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                let text = format!("{error:#}");
                if !text.contains("404") && !text.contains("409") {
                    seen.failed = Some(text);
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn look(&mut self) -> Result<()> {
        let passed = self.looked.elapsed();
        self.looked = Instant::now();
        lock(&self.hubs).pass(passed);
        self.heartbeat().await?;
        let labels = format!("wsc.dev/cluster={},app.kubernetes.io/name=wsc-hub", self.cluster);
        let path = format!("{}?labelSelector={labels}", POD.path(&self.namespace.name, ""));
        let list = call(&self.namespace.client, Method::GET, &path, None).await?.unwrap_or_default();
        let pods = list["items"].as_array().cloned().unwrap_or_default();
        let uids: BTreeSet<String> =
            pods.iter().filter_map(|pod| Some(pod["metadata"]["uid"].as_str()?.to_owned())).collect();
        self.forget(&uids);
        let mut up = BTreeSet::new();
        for pod in &pods {
            if let Some(ordinal) = self.keep(pod).await? {
                up.insert(ordinal);
            }
        }
        let mut seen = self.seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        seen.serving = up.len();
        let down = (0..seen.expected).filter(|ordinal| !up.contains(ordinal)).count();
        seen.worst = seen.worst.max(down);
        Ok(())
    }

    async fn heartbeat(&mut self) -> Result<()> {
        if self.alive.is_some_and(|at| at.elapsed() < HEARTBEAT) {
            return Ok(());
        }
        self.alive = Some(Instant::now());
        let now = Timestamp::now().to_string();
        let ready = json!({"status": {"conditions": [{
            "type": "Ready", "status": "True", "reason": "Test", "message": "as a test says",
            "lastHeartbeatTime": now, "lastTransitionTime": now,
        }]}});
        let path = format!("/api/v1/nodes/{}/status", self.node);
        call(&self.namespace.client, Method::PATCH, &path, Some((MERGE, &ready))).await?;
        let map = self.namespace.find(CONFIG_MAP, &format!("{}-hot", self.cluster)).await?;
        let text = map.as_ref().and_then(|map| map["data"]["settings.yaml"].as_str());
        lock(&self.hubs).hot_hash =
            text.map(|text| Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect());
        Ok(())
    }

    fn forget(&mut self, there: &BTreeSet<String>) {
        self.pods.retain(|uid, _| there.contains(uid));
        lock(&self.hubs).hubs.retain(|uid, hub| {
            let stays = there.contains(uid);
            if !stays {
                hub.stop.cancel();
            }
            stays
        });
    }

    /// Does for a pod what is due; gives its ordinal if it serves.
    async fn keep(&mut self, pod: &Value) -> Result<Option<u32>> {
        let name = pod["metadata"]["name"].as_str().context("a pod without name")?;
        let uid = pod["metadata"]["uid"].as_str().context("a pod without uid")?;
        let path = POD.path(&self.namespace.name, name);
        let client = self.namespace.client.clone();
        let lost = lock(&self.hubs).hubs.get(uid).is_some_and(|hub| hub.lost);
        if !pod["metadata"]["deletionTimestamp"].is_null() {
            if !lost {
                self.end(uid);
                let now = format!("{path}?gracePeriodSeconds=0");
                call(&client, Method::DELETE, &now, None).await?;
            }
            return Ok(None);
        }
        if pod["spec"]["nodeName"].is_null() {
            let binding = json!({
                "apiVersion": "v1", "kind": "Binding", "metadata": {"name": name},
                "target": {"apiVersion": "v1", "kind": "Node", "name": self.node},
            });
            call(&client, Method::POST, &format!("{path}/binding"), Some((JSON, &binding))).await?;
            return Ok(None);
        }
        let kept = self.pods.entry(uid.to_owned()).or_insert_with(|| Kept {
            seen: Instant::now(),
            started: false,
            ready: false,
            pulls: false,
        });
        if !kept.started {
            let image = pod["spec"]["containers"][0]["image"].as_str().unwrap_or_default();
            if image.ends_with(":bad") {
                if !kept.pulls {
                    kept.pulls = true;
                    let waiting =
                        json!({"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}});
                    report(&client, &path, pod, "Pending", None, &waiting, false).await?;
                }
                return Ok(None);
            }
            if kept.seen.elapsed() < START {
                return Ok(None);
            }
            kept.started = true;
            self.begin(name, uid).await?;
        }
        let (ip, active) = {
            let hubs = lock(&self.hubs);
            let hub = hubs.hubs.get(uid).context("a started pod without hub")?;
            (hub.ip.to_string(), hub.is_active())
        };
        let kept = self.pods.get_mut(uid).context("a pod that is not kept")?;
        // Nobody speaks for a pod whose node is gone but the controller that watches nodes, which is this test.
        if active != kept.ready {
            kept.ready = active;
            let running = json!({"running": {"startedAt": Timestamp::now().to_string()}});
            report(&client, &path, pod, "Running", Some(&ip), &running, active).await?;
        }
        let ordinal = name.rsplit_once('-').and_then(|(_, ordinal)| ordinal.parse().ok());
        Ok(ordinal.filter(|_| active))
    }

    async fn begin(&self, name: &str, uid: &str) -> Result<()> {
        let number = NEXT_ADDRESS.fetch_add(1, Ordering::Relaxed);
        let process = std::process::id();
        let part = |shift: u32| u8::try_from((number >> shift) & 0xff).unwrap_or_default();
        // The second part differs between test programs that run at once, the last never is 0.
        let second = 100 + u8::try_from(process % 100).unwrap_or_default();
        let ip = IpAddr::V4(Ipv4Addr::new(127, second, part(7), (part(0) & 0x7f) + 1));
        let hub = FakeHub {
            name: name.to_owned(),
            life: 1,
            connections: 0.0,
            drain: None,
            lost: false,
            ip,
            stop: self.stop.child_token(),
        };
        lock(&self.hubs).hubs.insert(uid.to_owned(), hub);
        serve(uid, &self.hubs, &self.tasks).await
    }

    fn end(&self, uid: &str) {
        let mut hubs = lock(&self.hubs);
        let Some(hub) = hubs.hubs.remove(uid) else { return };
        hub.stop.cancel();
        hubs.log.push(format!("end {} {:.0}", hub.name, hub.connections));
        hubs.homeless += hub.connections;
    }
}

/// Writes the status of a pod.
async fn report(
    client: &kube::Client,
    path: &str,
    pod: &Value,
    phase: &str,
    ip: Option<&str>,
    state: &Value,
    ready: bool,
) -> Result<()> {
    let now = Timestamp::now().to_string();
    let image = &pod["spec"]["containers"][0]["image"];
    let word = if ready { "True" } else { "False" };
    let conditions: Vec<Value> = [("Ready", word), ("ContainersReady", word), ("PodScheduled", "True")]
        .map(|(kind, status)| json!({"type": kind, "status": status, "lastTransitionTime": now}))
        .to_vec();
    let status = json!({"status": {
        "phase": phase, "podIP": ip, "podIPs": ip.map(|ip| json!([{"ip": ip}])),
        "startTime": pod["metadata"]["creationTimestamp"], "conditions": conditions,
        "containerStatuses": [{
            "name": "hub", "ready": ready, "started": ready, "restartCount": 0, "image": image, "imageID": "",
            "state": state,
        }],
    }});
    call(client, Method::PATCH, &format!("{path}/status"), Some((MERGE, &status))).await.map(|_| ())
}
