//! What a fake hub answers the operator: `/admin/status`, `/admin/drain`, `/admin/rebalance` and `/nodes`, at an address of
//! its own.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, SystemTime},
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
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    fake_hub::{FakeHub, SETTLE},
    fake_hubs::{SharedHubs, lock},
    wsc_cluster::API_PORT,
};

/// Longer than any caller waits.
const SILENCE: Duration = Duration::from_secs(30);

#[derive(Clone)]
struct Served {
    uid: String,
    hubs: SharedHubs,
}

type Answer = Result<Json<Value>, (StatusCode, Json<Value>)>;

/// Another loopback address each time, since all hubs use the same port. The process is in it, so that test programs at
/// the same time seldom meet.
fn next_address() -> Ipv4Addr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    let part = |number: u32| u8::try_from(number).unwrap_or(0);
    Ipv4Addr::new(127, part(100 + std::process::id() % 100), part(next / 254 % 256), part(next % 254 + 1))
}

/// Takes an address that nobody has.
///
/// # Errors
/// When there is none.
pub(super) async fn listen() -> Result<(TcpListener, Ipv4Addr)> {
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

/// Answers for the hub of a pod until it is stopped.
pub(super) fn serve(
    listener: TcpListener,
    uid: &str,
    hubs: &SharedHubs,
    stop: CancellationToken,
    tasks: &TaskTracker,
) {
    let router = Router::new()
        .route("/admin/status", get(status))
        .route("/admin/drain", post(drain).delete(cancel))
        .route("/admin/rebalance", post(rebalance))
        .route("/nodes", get(nodes))
        .with_state(Served { uid: uid.to_owned(), hubs: Arc::clone(hubs) });
    tasks.spawn(async move {
        let served = async { axum::serve(listener, router).await };
        // An error would show as a silent hub, which the test notices.
        let _ = stop.run_until_cancelled(served).await;
    });
}

fn refusal(status: StatusCode, detail: &str) -> (StatusCode, Json<Value>) {
    (status, Json(json!({"detail": detail})))
}

fn gone() -> (StatusCode, Json<Value>) {
    refusal(StatusCode::SERVICE_UNAVAILABLE, "this hub ended")
}

fn rfc3339(at: SystemTime) -> String {
    Timestamp::try_from(at).map(|at| at.to_string()).unwrap_or_default()
}

fn whole(connections: f64) -> i64 {
    #[expect(clippy::cast_possible_truncation, reason = "a few thousand at most")]
    let whole = connections.ceil() as i64;
    whole
}

/// Lets in who brings a key, unless the hub is silent.
async fn admit(served: &Served, headers: &HeaderMap) -> Result<(), (StatusCode, Json<Value>)> {
    let silent = {
        let mut hubs = lock(&served.hubs);
        hubs.asked.push(SystemTime::now());
        hubs.hubs.get(&served.uid).is_some_and(|hub| hub.silent || hub.lost)
    };
    if silent {
        tokio::time::sleep(SILENCE).await;
        return Err(gone());
    }
    if headers.get("authorization").is_none() {
        return Err(refusal(StatusCode::UNAUTHORIZED, "no key"));
    }
    Ok(())
}

async fn status(State(served): State<Served>, headers: HeaderMap) -> Answer {
    admit(&served, &headers).await?;
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
        "phase": hub.phase(), "registered": hub.registered,
        "redis": if hub.redis_error.is_some() { "down" } else { "up" }, "redis_error": hub.redis_error,
        "connections": whole(hub.connections), "max_connections": whole(hub.max_connections),
        "hot_hash": hub.hot_hash, "hot_error": hub.hot_error, "pod_uid": served.uid, "node_id": hub.name,
        "incarnation": hub.incarnation, "version": "0.0.0", "drain": drain,
    })))
}

async fn nodes(State(served): State<Served>, headers: HeaderMap) -> Answer {
    admit(&served, &headers).await?;
    let hubs = lock(&served.hubs);
    let cluster = &hubs.hubs.get(&served.uid).ok_or_else(gone)?.cluster;
    let listed = |hub: &&FakeHub| &hub.cluster == cluster && hub.registered && !hub.lost && hub.has_started();
    let nodes: Vec<Value> = hubs
        .hubs
        .values()
        .filter(listed)
        .map(|hub| {
            let status = if hub.drain.is_some() { "draining" } else { "active" };
            json!({"id": hub.name, "incarnation": hub.incarnation, "status": status})
        })
        .collect();
    Ok(Json(Value::Array(nodes)))
}

async fn drain(State(served): State<Served>, headers: HeaderMap, Json(body): Json<Value>) -> Answer {
    admit(&served, &headers).await?;
    let mut hubs = lock(&served.hubs);
    let hub = hubs.hubs.get(&served.uid).ok_or_else(gone)?;
    let expect = &body["expect"];
    if !expect.is_null()
        && (expect["node_id"] != hub.name.as_str() || expect["incarnation"] != hub.incarnation.as_str())
    {
        return Err(refusal(StatusCode::CONFLICT, "another life of this node is meant"));
    }
    let id = body["id"].as_str().ok_or_else(|| refusal(StatusCode::BAD_REQUEST, "no id"))?;
    let rate = body["rate_per_second"].as_f64().unwrap_or(200.0);
    let deadline = body["deadline_ms"].as_u64().map(Duration::from_millis);
    hubs.drain(&served.uid, id, rate, deadline);
    Ok(Json(json!({"phase": "draining"})))
}

async fn cancel(State(served): State<Served>, headers: HeaderMap) -> Answer {
    admit(&served, &headers).await?;
    let mut hubs = lock(&served.hubs);
    let hub = hubs.hubs.get_mut(&served.uid).ok_or_else(gone)?;
    if hub.phase() == "closed" {
        return Err(refusal(StatusCode::CONFLICT, "the last connection is gone"));
    }
    hub.drain = None;
    let entry = format!("cancel {}", hub.name);
    hubs.log.push(entry);
    Ok(Json(json!({"phase": "active"})))
}

async fn rebalance(State(served): State<Served>, headers: HeaderMap, Json(body): Json<Value>) -> Answer {
    admit(&served, &headers).await?;
    let mut hubs = lock(&served.hubs);
    let hub = hubs.hubs.get_mut(&served.uid).ok_or_else(gone)?;
    let close = body["close"].as_f64().unwrap_or_default().min(hub.connections);
    hub.connections -= close;
    let (entry, cluster) = (format!("rebalance {} {}", hub.name, whole(close)), hub.cluster.clone());
    hubs.leave(&cluster, close);
    hubs.log.push(entry);
    Ok(Json(json!({"close": whole(close)})))
}
