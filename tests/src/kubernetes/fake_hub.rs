//! A hub as the operator sees it: its admin API on an address of its own, and clients that are only counted.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context as _, Result};
use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    routing::{get, post},
};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::wsc_cluster::API_PORT;

/// How long a draining hub still takes clients; a real one takes 5 s by default.
const SETTLE: Duration = Duration::from_millis(300);

/// A drain.
#[derive(Debug, Clone)]
pub struct FakeDrain {
    /// Its id.
    pub id: String,
    /// Connections per second.
    pub rate: f64,
    started: Instant,
    started_at: SystemTime,
    deadline: Option<Duration>,
}

/// One hub.
#[derive(Debug)]
pub struct FakeHub {
    /// Node id, the name of its pod.
    pub name: String,
    /// Number of its life.
    pub life: u32,
    /// Clients, in parts while a drain closes them.
    pub connections: f64,
    /// Its drain.
    pub drain: Option<FakeDrain>,
    /// Whether it answers nobody.
    pub lost: bool,
    pub(super) ip: IpAddr,
    pub(super) stop: CancellationToken,
}

impl FakeHub {
    /// Whether it takes clients.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.drain.is_none() && !self.lost
    }

    fn phase(&self) -> &'static str {
        match &self.drain {
            None => "active",
            Some(drain) if self.connections <= 0.0 && drain.started.elapsed() >= SETTLE => "closed",
            Some(_) => "draining",
        }
    }

    /// Closes what is due after `passed`; gives how many.
    fn close_due(&mut self, passed: Duration) -> f64 {
        let Some(drain) = &self.drain else { return 0.0 };
        let since = drain.started.elapsed();
        let due = if drain.deadline.is_some_and(|deadline| since >= deadline) {
            self.connections
        } else if since >= SETTLE {
            drain.rate * passed.as_secs_f64()
        } else {
            0.0
        };
        let due = due.min(self.connections);
        self.connections -= due;
        due
    }
}

/// All hubs of a cluster, and what they were told.
#[derive(Debug, Default)]
pub struct FakeHubs {
    /// By UID of the pod.
    pub hubs: BTreeMap<String, FakeHub>,
    /// What happened: `drain chat-2 <id>`, `cancel chat-2`, `rebalance chat-2 40`, `end chat-2 <connections>`.
    pub log: Vec<String>,
    /// Clients without a hub.
    pub homeless: f64,
    /// Connections each hub takes at most.
    pub capacity: f64,
    /// Hash of the hot settings that every hub has.
    pub hot_hash: Option<String>,
}

/// The hubs, shared between their servers and the kubelet.
pub type SharedHubs = Arc<Mutex<FakeHubs>>;

/// The hubs, whatever became of a thread that held them.
pub fn lock(hubs: &SharedHubs) -> MutexGuard<'_, FakeHubs> {
    hubs.lock().unwrap_or_else(PoisonError::into_inner)
}

impl FakeHubs {
    /// Closes what drains have to close and lets clients come back.
    pub fn pass(&mut self, passed: Duration) {
        let closed: f64 = self.hubs.values_mut().map(|hub| hub.close_due(passed)).sum();
        self.homeless += closed;
        let capacity = self.capacity;
        let mut open: Vec<&mut FakeHub> =
            self.hubs.values_mut().filter(|hub| hub.is_active() && hub.connections < capacity).collect();
        #[expect(clippy::cast_precision_loss, reason = "a handful")]
        let share = self.homeless / open.len().max(1) as f64;
        for hub in &mut open {
            let came = share.min(capacity - hub.connections);
            hub.connections += came;
            self.homeless -= came;
        }
    }

    /// The hub of a pod, by name; the newest when an older one still ends.
    pub fn named(&mut self, name: &str) -> Option<&mut FakeHub> {
        self.hubs.values_mut().find(|hub| hub.name == name)
    }

    /// Begins to drain a hub, as `POST /admin/drain` does.
    pub fn drain(&mut self, uid: &str, id: &str, rate: f64, deadline: Option<Duration>) {
        let Some(hub) = self.hubs.get_mut(uid) else { return };
        let (started, started_at) = match &hub.drain {
            Some(drain) if drain.id == id => (drain.started, drain.started_at),
            _ => (Instant::now(), SystemTime::now()),
        };
        hub.drain = Some(FakeDrain { id: id.to_owned(), rate, started, started_at, deadline });
        self.log.push(format!("drain {} {id}", hub.name));
    }
}

#[derive(Clone)]
struct Served {
    uid: String,
    hubs: SharedHubs,
}

type Answer = Result<Json<Value>, (StatusCode, Json<Value>)>;

/// Serves a hub until it is stopped.
///
/// # Errors
/// When its address cannot be bound.
pub async fn serve(uid: &str, hubs: &SharedHubs, tasks: &TaskTracker) -> Result<()> {
    let (ip, stop) = {
        let hubs = lock(hubs);
        let hub = hubs.hubs.get(uid).context("no such hub")?;
        (hub.ip, hub.stop.clone())
    };
    let address = SocketAddr::new(ip, API_PORT);
    let listener = tokio::net::TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen at {address}"))?;
    let router = Router::new()
        .route("/admin/status", get(status))
        .route("/admin/drain", post(drain).delete(cancel))
        .route("/admin/rebalance", post(rebalance))
        .route("/nodes", get(nodes))
        .with_state(Served { uid: uid.to_owned(), hubs: Arc::clone(hubs) });
    tasks.spawn(async move {
        let served = async { axum::serve(listener, router).await };
        let _ = stop.run_until_cancelled(served).await;
    });
    Ok(())
}

fn conflict(detail: &str) -> (StatusCode, Json<Value>) {
    (StatusCode::CONFLICT, Json(json!({"detail": detail})))
}

fn gone() -> (StatusCode, Json<Value>) {
    (StatusCode::SERVICE_UNAVAILABLE, Json(json!({"detail": "this hub ended"})))
}

fn rfc3339(at: SystemTime) -> String {
    Timestamp::try_from(at).map(|at| at.to_string()).unwrap_or_default()
}

fn whole(connections: f64) -> i64 {
    #[expect(clippy::cast_possible_truncation, reason = "a few thousand at most")]
    let whole = connections.ceil() as i64;
    whole
}

async fn status(State(served): State<Served>) -> Answer {
    let hubs = lock(&served.hubs);
    let hub = hubs.hubs.get(&served.uid).ok_or_else(gone)?;
    let drain = hub.drain.as_ref().map(|drain| {
        json!({
            "id": drain.id,
            "started_at": rfc3339(drain.started_at),
            "deadline": drain.deadline.map(|deadline| rfc3339(drain.started_at + deadline)),
            "remaining": whole(hub.connections),
            "closed": 0,
            "rate_per_second": if drain.started.elapsed() < SETTLE { 0 } else { whole(drain.rate) },
        })
    });
    Ok(Json(json!({
        "phase": hub.phase(), "registered": true, "redis": "up", "connections": whole(hub.connections),
        "max_connections": whole(hubs.capacity), "hot_hash": hubs.hot_hash, "pod_uid": served.uid,
        "node_id": hub.name, "incarnation": format!("fake.{}", hub.life), "version": "0.0.0", "drain": drain,
    })))
}

async fn drain(State(served): State<Served>, Json(body): Json<Value>) -> Answer {
    let mut hubs = lock(&served.hubs);
    let hub = hubs.hubs.get(&served.uid).ok_or_else(gone)?;
    let expect = &body["expect"];
    let own = format!("fake.{}", hub.life);
    if !expect.is_null() && (expect["node_id"] != hub.name.as_str() || expect["incarnation"] != own.as_str())
    {
        return Err(conflict("another life of this node is meant"));
    }
    let id = body["id"].as_str().unwrap_or_default().to_owned();
    let rate = body["rate_per_second"].as_f64().unwrap_or(200.0);
    let deadline = body["deadline_ms"].as_u64().map(Duration::from_millis);
    hubs.drain(&served.uid, &id, rate, deadline);
    Ok(Json(json!({"phase": "draining"})))
}

async fn cancel(State(served): State<Served>) -> Answer {
    let mut hubs = lock(&served.hubs);
    let hub = hubs.hubs.get_mut(&served.uid).ok_or_else(gone)?;
    if hub.phase() == "closed" {
        return Err(conflict("the last connection is gone"));
    }
    hub.drain = None;
    let entry = format!("cancel {}", hub.name);
    hubs.log.push(entry);
    Ok(Json(json!({"phase": "active"})))
}

async fn rebalance(State(served): State<Served>, Json(body): Json<Value>) -> Answer {
    let mut hubs = lock(&served.hubs);
    let hub = hubs.hubs.get_mut(&served.uid).ok_or_else(gone)?;
    let close = body["close"].as_f64().unwrap_or_default().min(hub.connections);
    hub.connections -= close;
    let entry = format!("rebalance {} {}", hub.name, whole(close));
    hubs.homeless += close;
    hubs.log.push(entry);
    Ok(Json(json!({"close": whole(close)})))
}

async fn nodes(State(served): State<Served>) -> Answer {
    let hubs = lock(&served.hubs);
    let live = hubs.hubs.values().filter(|hub| !hub.lost);
    let nodes: Vec<Value> = live
        .map(|hub| {
            let status = if hub.drain.is_some() { "draining" } else { "active" };
            json!({"id": hub.name, "incarnation": format!("fake.{}", hub.life), "status": status})
        })
        .collect();
    Ok(Json(Value::Array(nodes)))
}
