//! A hub that only answers the operator: `/admin/status`, `/admin/drain`, `/admin/rebalance` and `/nodes` at an address of
//! its own, with clients that are but a number.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU16, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::{get, post},
};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

use super::wsc_cluster::API_PORT;

/// What one of them is like now. A test may change it at any time.
#[derive(Debug, Clone)]
pub struct HubState {
    /// Which life of the node this is.
    pub incarnation: String,
    /// Open connections.
    pub connections: u32,
    /// Most connections.
    pub max_connections: u32,
    /// Whether the lease is held.
    pub registered: bool,
    /// What is wrong with Redis: a word, a colon, a sentence.
    pub redis_error: Option<String>,
    /// Hash of the hot settings that are applied.
    pub hot_hash: Option<String>,
    /// Why the file as it is now is not applied.
    pub hot_error: Option<String>,
    /// Answers nobody, though the process runs.
    pub silent: bool,
    /// The drain, if there is one.
    pub drain: Option<PlayedDrain>,
    /// How long it takes clients after a drain began.
    pub settle: Duration,
}

/// A drain that was asked for.
#[derive(Debug, Clone)]
pub struct PlayedDrain {
    /// The caller's name for it.
    pub id: String,
    /// When it began.
    pub since: Instant,
    /// The same by the clock on the wall.
    pub started_at: Timestamp,
    /// Connections closed per second.
    pub rate: u32,
    /// Connections there were when it began.
    pub connections: u32,
}

/// One of them. It stops answering when it is dropped.
#[derive(Debug)]
pub struct PlayedHub {
    /// Name of its pod, which is the node's id.
    pub name: String,
    /// UID of its pod.
    pub pod_uid: String,
    /// Resource it belongs to.
    pub cluster: String,
    /// Where it answers.
    pub address: Ipv4Addr,
    state: Mutex<HubState>,
    roster: Roster,
    server: Mutex<Option<JoinHandle<()>>>,
}

/// Everybody who may be in the node list.
pub type Roster = Arc<Mutex<Vec<Weak<PlayedHub>>>>;

impl Drop for PlayedHub {
    fn drop(&mut self) {
        if let Some(server) = self.server.lock().unwrap_or_else(PoisonError::into_inner).take() {
            server.abort();
        }
    }
}

/// Another loopback address each time; the process is in it, so that tests at the same time do not meet.
fn next_address() -> Ipv4Addr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    let process = u8::try_from(std::process::id() % 100).unwrap_or(0);
    let [high, low] = (next % 50_000).to_be_bytes();
    Ipv4Addr::new(127, 100 + process, high + 1, low.clamp(1, 254))
}

async fn listen() -> Result<(TcpListener, Ipv4Addr)> {
    let mut last = None;
    for _ in 0..1000 {
        let address = next_address();
        match TcpListener::bind(SocketAddr::new(IpAddr::V4(address), API_PORT)).await {
            Ok(listener) => return Ok((listener, address)),
            Err(error) => last = Some(error),
        }
    }
    Err(last.map_or_else(|| anyhow::anyhow!("no address tried"), anyhow::Error::from))
        .with_context(|| format!("no loopback address has port {API_PORT} free"))
}

impl PlayedHub {
    /// Starts one for a pod and adds it to the roster.
    ///
    /// # Errors
    /// When no loopback address is free.
    pub async fn start(name: &str, pod_uid: &str, cluster: &str, roster: &Roster) -> Result<Arc<Self>> {
        let (listener, address) = listen().await?;
        let hub = Arc::new(Self {
            name: name.to_owned(),
            pod_uid: pod_uid.to_owned(),
            cluster: cluster.to_owned(),
            address,
            state: Mutex::new(HubState {
                incarnation: format!("{:08x}.1", rand::random::<u32>()),
                connections: 0,
                max_connections: 50_000,
                registered: true,
                redis_error: None,
                hot_hash: None,
                hot_error: None,
                silent: false,
                drain: None,
                settle: Duration::from_millis(300),
            }),
            roster: Arc::clone(roster),
            server: Mutex::new(None),
        });
        let router = Router::new()
            .route("/admin/status", get(status))
            .route("/admin/drain", post(drain).delete(cancel))
            .route("/admin/rebalance", post(rebalance))
            .route("/nodes", get(nodes))
            .with_state(Arc::downgrade(&hub));
        let server = tokio::spawn(async move {
            // An error would show as a silent hub, which the test notices.
            let _ = axum::serve(listener, router).await;
        });
        *hub.server.lock().unwrap_or_else(PoisonError::into_inner) = Some(server);
        roster.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&hub));
        Ok(hub)
    }

    /// What it is like now.
    pub fn state(&self) -> MutexGuard<'_, HubState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `active`, `draining` or `closed`. Clients leave as time passes.
    pub fn phase(&self) -> &'static str {
        let mut state = self.state();
        let Some(drain) = &state.drain else {
            return "active";
        };
        let closing = drain.since.elapsed().saturating_sub(state.settle).as_secs_f64();
        let left = f64::from(drain.connections) - closing * f64::from(drain.rate);
        let settled = drain.since.elapsed() >= state.settle;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within 0 and a u32")]
        let left = left.max(0.0) as u32;
        state.connections = left;
        if settled && left == 0 { "closed" } else { "draining" }
    }
}

type Answer = Result<Json<Value>, StatusCode>;

/// The hub that is asked. One that is silent keeps the caller waiting for longer than any caller waits.
async fn asked(hub: &Weak<PlayedHub>, headers: &HeaderMap) -> Result<Arc<PlayedHub>, StatusCode> {
    let hub = hub.upgrade().ok_or(StatusCode::SERVICE_UNAVAILABLE)?;
    if hub.state().silent {
        tokio::time::sleep(Duration::from_secs(30)).await;
    }
    if headers.get("authorization").is_none() {
        return Err(StatusCode::UNAUTHORIZED);
    }
    Ok(hub)
}

async fn status(State(hub): State<Weak<PlayedHub>>, headers: HeaderMap) -> Answer {
    let hub = asked(&hub, &headers).await?;
    let phase = hub.phase();
    let state = hub.state();
    Ok(Json(json!({
        "phase": phase,
        "registered": state.registered,
        "redis": if state.redis_error.is_some() { "down" } else { "up" },
        "redis_error": state.redis_error,
        "connections": state.connections,
        "max_connections": state.max_connections,
        "hot_hash": state.hot_hash,
        "hot_error": state.hot_error,
        "pod_uid": hub.pod_uid,
        "node_id": hub.name,
        "incarnation": state.incarnation,
        "version": "played",
        "drain": state.drain.as_ref().map(|drain| json!({
            "id": drain.id,
            "started_at": drain.started_at.to_string(),
            "remaining": state.connections,
            "closed": drain.connections.saturating_sub(state.connections),
            "rate_per_second": drain.rate,
        })),
    })))
}

async fn nodes(State(hub): State<Weak<PlayedHub>>, headers: HeaderMap) -> Answer {
    let hub = asked(&hub, &headers).await?;
    let roster: Vec<Arc<PlayedHub>> = {
        let mut roster = hub.roster.lock().unwrap_or_else(PoisonError::into_inner);
        roster.retain(|other| other.strong_count() > 0);
        roster.iter().filter_map(Weak::upgrade).collect()
    };
    let rows = roster
        .iter()
        .filter(|other| other.cluster == hub.cluster && other.state().registered)
        .map(|other| {
            let status = other.phase();
            json!({"id": other.name, "incarnation": other.state().incarnation, "status": status})
        })
        .collect();
    Ok(Json(Value::Array(rows)))
}

async fn drain(State(hub): State<Weak<PlayedHub>>, headers: HeaderMap, Json(body): Json<Value>) -> Answer {
    let hub = asked(&hub, &headers).await?;
    let expect = &body["expect"];
    let mut state = hub.state();
    if expect.is_object() && (expect["node_id"] != hub.name || expect["incarnation"] != state.incarnation) {
        return Err(StatusCode::CONFLICT);
    }
    let id = body["id"].as_str().ok_or(StatusCode::BAD_REQUEST)?;
    let rate = body["rate_per_second"].as_u64().and_then(|rate| u32::try_from(rate).ok()).unwrap_or(200);
    match &mut state.drain {
        Some(drain) if drain.id == id => drain.rate = rate,
        _ => {
            state.drain = Some(PlayedDrain {
                id: id.to_owned(),
                since: Instant::now(),
                started_at: Timestamp::now(),
                rate,
                connections: state.connections,
            });
        }
    }
    Ok(Json(json!({"phase": "draining"})))
}

async fn cancel(State(hub): State<Weak<PlayedHub>>, headers: HeaderMap) -> Answer {
    let hub = asked(&hub, &headers).await?;
    if hub.phase() == "closed" {
        return Err(StatusCode::CONFLICT);
    }
    hub.state().drain = None;
    Ok(Json(json!({"phase": "active"})))
}

async fn rebalance(
    State(hub): State<Weak<PlayedHub>>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Answer {
    let hub = asked(&hub, &headers).await?;
    let close = body["close"].as_u64().and_then(|close| u32::try_from(close).ok()).unwrap_or(0);
    let mut state = hub.state();
    let close = close.min(state.connections);
    state.connections -= close;
    Ok(Json(json!({"close": close})))
}
