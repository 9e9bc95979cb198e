//! Stands in for kubelets and hubs on an API server without nodes: the hub pods of a namespace run, become Ready and
//! answer the operator.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anyhow::Result;
use http::Method;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::task::JoinHandle;

use super::{
    namespace::Namespace,
    played_hub::{PlayedHub, Roster},
    resource::{CONFIG_MAP, POD, call},
    wsc_cluster::condition,
};

/// Pause between looks at the pods.
const LOOK_EVERY: Duration = Duration::from_millis(150);
/// An image with this in its name is never there.
pub const NO_SUCH_IMAGE: &str = "not-there";

/// How long things take. Each is drawn anew up to what is given.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// From the pod's creation to Ready.
    pub start: Duration,
    /// From a change of the hot settings to a node that has them.
    pub settings: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { start: Duration::from_millis(400), settings: Duration::from_millis(400) }
    }
}

#[derive(Debug)]
struct Member {
    hub: Arc<PlayedHub>,
    ready_at: Instant,
    /// Hash of hot settings on their way and when they arrive.
    coming: Option<(String, Instant)>,
}

#[derive(Debug, Default)]
struct Members {
    by_uid: BTreeMap<String, Member>,
    roster: Roster,
    /// Clients of each resource, spread over its nodes.
    clients: BTreeMap<String, u32>,
    /// Why the last look failed.
    trouble: Option<String>,
}

/// A fleet. It ends when it is dropped; the pods stay as they are.
#[derive(Debug)]
pub struct PlayedFleet {
    members: Arc<Mutex<Members>>,
    task: JoinHandle<()>,
}

impl Drop for PlayedFleet {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn locked(members: &Mutex<Members>) -> MutexGuard<'_, Members> {
    members.lock().unwrap_or_else(PoisonError::into_inner)
}

impl PlayedFleet {
    /// Begins to look after the hub pods of a namespace.
    #[must_use]
    pub fn start(namespace: &Namespace, pace: Pace) -> Self {
        let members = Arc::<Mutex<Members>>::default();
        let (shared, namespace) = (Arc::clone(&members), namespace.clone());
        let task = tokio::spawn(async move {
            loop {
                // The next look tries again; what stays wrong fails the test by its deadline.
                let looked = look(&namespace, &shared, pace).await;
                locked(&shared).trouble = looked.err().map(|error| format!("{error:#}"));
                tokio::time::sleep(LOOK_EVERY).await;
            }
        });
        Self { members, task }
    }

    /// The hub of the pod that has this name now.
    #[must_use]
    pub fn hub(&self, pod: &str) -> Option<Arc<PlayedHub>> {
        let members = locked(&self.members);
        members.by_uid.values().map(|member| &member.hub).find(|hub| hub.name == pod).cloned()
    }

    /// Why the fleet cannot go on at present, if it cannot.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        locked(&self.members).trouble.clone()
    }

    /// The hubs of a resource.
    #[must_use]
    pub fn hubs(&self, cluster: &str) -> Vec<Arc<PlayedHub>> {
        let members = locked(&self.members);
        let hubs = members.by_uid.values().map(|member| &member.hub);
        hubs.filter(|hub| hub.cluster == cluster).cloned().collect()
    }

    /// From now on a resource has this many clients, as many on each node that takes any.
    pub fn clients(&self, cluster: &str, clients: u32) {
        locked(&self.members).clients.insert(cluster.to_owned(), clients);
    }
}

fn up_to(most: Duration) -> Duration {
    most.mul_f64(rand::random())
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

async fn look(namespace: &Namespace, members: &Mutex<Members>, pace: Pace) -> Result<()> {
    let pods: Vec<Value> = namespace
        .list(POD)
        .await?
        .into_iter()
        .filter(|pod| text(pod, "/metadata/labels/app.kubernetes.io~1name") == "wsc-hub")
        .collect();
    let uids: Vec<&str> = pods.iter().map(|pod| text(pod, "/metadata/uid")).collect();
    let roster = {
        let mut members = locked(members);
        members.by_uid.retain(|uid, _| uids.contains(&uid.as_str()));
        Arc::clone(&members.roster)
    };
    let settings = settings(namespace).await?;
    for pod in &pods {
        let (name, uid) = (text(pod, "/metadata/name"), text(pod, "/metadata/uid"));
        let image = text(pod, "/spec/containers/0/image");
        if image.contains(NO_SUCH_IMAGE) {
            cannot_pull(namespace, pod, name, image).await?;
            continue;
        }
        let cluster = text(pod, "/metadata/labels/wsc.dev~1cluster");
        let known = locked(members).by_uid.contains_key(uid);
        if !known {
            let hub = PlayedHub::start(name, uid, cluster, &roster).await?;
            // A pod starts with what is there.
            hub.state().hot_hash = settings.get(cluster).cloned();
            let member = Member { hub, ready_at: Instant::now() + up_to(pace.start), coming: None };
            locked(members).by_uid.insert(uid.to_owned(), member);
        }
        let (hub, started) = {
            let mut members = locked(members);
            let Some(member) = members.by_uid.get_mut(uid) else {
                continue;
            };
            if let Some(newest) = settings.get(cluster) {
                bring(member, newest, pace);
            }
            (Arc::clone(&member.hub), Instant::now() >= member.ready_at)
        };
        let ready = started && hub.phase() == "active";
        let now = condition(pod, "Ready")["status"] == "True";
        if started && (ready != now || text(pod, "/status/podIP").is_empty()) {
            run(namespace, &hub, image, ready).await?;
        }
    }
    spread(&mut locked(members));
    Ok(())
}

/// Hashes of the hot settings by resource.
async fn settings(namespace: &Namespace) -> Result<BTreeMap<String, String>> {
    let maps = namespace.list(CONFIG_MAP).await?;
    let hash = |text: &str| Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(maps
        .iter()
        .filter_map(|map| {
            let cluster = text(map, "/metadata/name").strip_suffix("-hot")?;
            Some((cluster.to_owned(), hash(map.pointer("/data/settings.yaml")?.as_str()?)))
        })
        .collect())
}

/// Brings the newest settings to a node after a while.
fn bring(member: &mut Member, newest: &str, pace: Pace) {
    let mut state = member.hub.state();
    if state.hot_hash.as_deref() == Some(newest) {
        member.coming = None;
        return;
    }
    let now = Instant::now();
    match &member.coming {
        Some((hash, at)) if hash == newest => {
            if now >= *at {
                state.hot_hash = Some(newest.to_owned());
                member.coming = None;
            }
        }
        _ => member.coming = Some((newest.to_owned(), now + up_to(pace.settings))),
    }
}

fn spread(members: &mut Members) {
    for (cluster, clients) in &members.clients {
        let takers: Vec<&PlayedHub> = members
            .by_uid
            .values()
            .filter(|member| Instant::now() >= member.ready_at)
            .map(|member| member.hub.as_ref())
            .filter(|hub| &hub.cluster == cluster && hub.phase() == "active")
            .collect();
        let count = u32::try_from(takers.len()).unwrap_or(u32::MAX).max(1);
        for hub in takers {
            hub.state().connections = clients / count;
        }
    }
}

async fn run(namespace: &Namespace, hub: &PlayedHub, image: &str, ready: bool) -> Result<()> {
    let ip = hub.address.to_string();
    let now = k8s_openapi::jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let word = if ready { "True" } else { "False" };
    let status = json!({"status": {
        "phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}],
        "conditions": [
            {"type": "Ready", "status": word, "lastTransitionTime": now},
            {"type": "PodScheduled", "status": "True", "lastTransitionTime": now}
        ],
        "containerStatuses": [{
            "name": "hub", "ready": ready, "started": true, "restartCount": 0, "image": image, "imageID": "played",
            "state": {"running": {"startedAt": now}}
        }]
    }});
    write(namespace, &hub.name, &hub.pod_uid, status).await
}

async fn cannot_pull(namespace: &Namespace, pod: &Value, name: &str, image: &str) -> Result<()> {
    const REASON: &str = "ImagePullBackOff";
    if text(pod, "/status/containerStatuses/0/state/waiting/reason") == REASON {
        return Ok(());
    }
    let now = k8s_openapi::jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let status = json!({"status": {
        "phase": "Pending",
        "conditions": [{"type": "Ready", "status": "False", "lastTransitionTime": now}],
        "containerStatuses": [{
            "name": "hub", "ready": false, "restartCount": 0, "image": image, "imageID": "",
            "state": {"waiting": {"reason": REASON, "message": format!("Back-off pulling image {image}")}}
        }]
    }});
    write(namespace, name, text(pod, "/metadata/uid"), status).await
}

async fn write(namespace: &Namespace, name: &str, uid: &str, mut status: Value) -> Result<()> {
    // Bound to the uid: by now another pod may have the name.
    status["metadata"] = json!({"uid": uid});
    let path = format!("{}/status", POD.path(&namespace.name, name));
    let patch = Some(("application/merge-patch+json", &status));
    match call(&namespace.client, Method::PATCH, &path, patch).await {
        Ok(_) => Ok(()),
        Err(error) if [" 409 ", " 422 "].iter().any(|code| error.to_string().contains(code)) => Ok(()),
        Err(error) => Err(error),
    }
}
