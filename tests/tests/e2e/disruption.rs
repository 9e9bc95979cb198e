//! Pods are deleted, evicted and told to end while clients are there and a backend sends, all from outside of the cluster
//! by node ports, as behind a load balancer.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use futures::FutureExt;
use http::Method;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use wsc_tests::{
    api_client::ApiClient,
    kubernetes::{
        resource::{POD, SERVICE, call},
        wsc_cluster::{API_PORT, TestCluster, condition, small_spec},
    },
    returning_load::{Open, PickApi, ReturningClients, SteadySends, Verdict, times_between, user},
    wait::{Look, eventually},
    ws_client::{WsClient, WsRequest},
};

use crate::stage::{STARTED, Stage};

const CLIENTS: usize = 150;
/// A second, `wait: delivered`.
const LIVE: usize = 100;
/// A second, `store`.
const STORED: usize = 50;
/// Connections of the backend; each goes to one pod.
const BACKENDS: usize = 12;
/// Of the pods. One that is killed at its end was not polite.
const GRACE: Duration = Duration::from_secs(35);
const REPORTED: Duration = Duration::from_secs(10);

/// What ends a pod, or its container.
#[derive(Debug, Clone, Copy)]
enum Way {
    /// `kubectl delete pod`.
    Delete,
    /// The eviction API, as `kubectl drain` uses it.
    Evict,
    /// SIGTERM to the hub, whose container is then started again.
    Signal,
}

/// The cluster by its node ports.
struct Outside {
    /// Where clients connect.
    clients: Vec<SocketAddr>,
    apis: Vec<ApiClient>,
    tokens: Vec<String>,
}

impl Outside {
    async fn of(chat: &TestCluster<'_>) -> Result<Self> {
        let ns = chat.namespace;
        let list = call(&ns.client, Method::GET, "/api/v1/nodes", None).await?.context("no nodes")?;
        let nodes: Vec<IpAddr> = list["items"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|node| node["status"]["addresses"].as_array())
            .flatten()
            .filter(|address| address["type"] == "InternalIP")
            .filter_map(|address| address["address"].as_str()?.parse().ok())
            .collect();
        ensure!(!nodes.is_empty(), "no node has an address: {list}");
        let client = node_port(&ns.get(SERVICE, "chat").await?)?;
        let inner = ns.get(SERVICE, "chat-api").await?;
        let body = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "outside-api"},
            "spec": {
                "type": "NodePort", "selector": inner["spec"]["selector"],
                "ports": [{"port": API_PORT, "targetPort": API_PORT}]
            }
        });
        let api = node_port(&ns.create_object(SERVICE, &body).await?)?;
        let key = ns.secret("chat-api", "api").await?;
        let at = |number: usize, port: u16| SocketAddr::new(nodes[number % nodes.len()], port);
        let apis = (0..BACKENDS).map(|number| ApiClient::new(at(number, api), Some(key.trim())));
        let apis = apis.collect::<Result<Vec<_>>>()?;
        let mut tokens = Vec::new();
        for number in 0..CLIENTS {
            tokens.push(chat.token(&user(number)).await?);
        }
        Ok(Self { clients: (0..nodes.len()).map(|number| at(number, client)).collect(), apis, tokens })
    }

    fn open(self: &Arc<Self>) -> Open {
        let outside = Arc::clone(self);
        Arc::new(move |number, offset: Option<String>| {
            let outside = Arc::clone(&outside);
            async move {
                let at = outside.clients[rand::random_range(0..outside.clients.len())];
                let offset = offset.map_or_else(String::new, |offset| format!("&offset={offset}"));
                let request = WsRequest::new(&format!("/ws?client_id=phone{offset}"))
                    .header("Authorization", &format!("Bearer {}", outside.tokens[number]));
                WsClient::upgrade(at, &request).await
            }
            .boxed()
        })
    }

    fn api(self: &Arc<Self>) -> PickApi {
        let outside = Arc::clone(self);
        Arc::new(move || Some(outside.apis[rand::random_range(0..outside.apis.len())].clone()))
    }

    /// Waits until it is answered through every node, by a registry that can say who is nowhere.
    async fn is_open(&self) -> Result<()> {
        for api in &self.apis {
            eventually("the API is reached by the node ports", STARTED, async || {
                Ok(match api.get("/v1/users/nobody").await {
                    Ok(answer) => Look::when(answer.status == 200, (), answer.text),
                    Err(error) => Look::NotYet(format!("{error:#}")),
                })
            })
            .await?;
        }
        Ok(())
    }
}

fn node_port(service: &Value) -> Result<u16> {
    let port = service["spec"]["ports"][0]["nodePort"].as_u64().context("a Service without node port")?;
    Ok(u16::try_from(port)?)
}

/// The hub's process in a pod. It runs on this machine, or it cannot be signalled: its image holds no program to do so.
fn hub_process(pod_uid: &str) -> Result<Pid> {
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let read = |file: &str| std::fs::read_to_string(entry.path().join(file)).unwrap_or_default();
        let groups = read("cgroup");
        let in_pod = groups.contains(pod_uid) || groups.contains(&pod_uid.replace('-', "_"));
        if in_pod && read("comm").trim() == "wsc-hub" {
            return Pid::from_raw(pid).context("not a process id");
        }
    }
    anyhow::bail!(
        "no process wsc-hub of pod {pod_uid} on this machine: run the test where the cluster's nodes are"
    )
}

/// Ends a pod and waits until it, or its container, is gone.
async fn end(chat: &TestCluster<'_>, ordinal: u32, way: Way) -> Result<Duration> {
    let (ns, pod, uid) = (chat.namespace, chat.pod(ordinal), chat.pod_uid(ordinal).await?);
    let began = Instant::now();
    match way {
        Way::Delete => ns.delete(POD, &pod).await?,
        Way::Evict => {
            let body = json!({
                "apiVersion": "policy/v1", "kind": "Eviction",
                "metadata": {"name": pod, "namespace": ns.name}
            });
            let path = format!("{}/eviction", POD.path(&ns.name, &pod));
            call(&ns.client, Method::POST, &path, Some(("application/json", &body))).await?;
        }
        Way::Signal => {
            kill_process(hub_process(&uid)?, Signal::TERM).context("cannot signal the hub")?;
            let ended = |pod: &Value| pod["status"]["containerStatuses"][0]["restartCount"] == 1;
            let pod = ns.until(POD, &pod, "its container starts again", GRACE + REPORTED, ended).await?;
            let code = &pod["status"]["containerStatuses"][0]["lastState"]["terminated"]["exitCode"];
            ensure!(*code == 0, "the hub ended with {code}");
            return Ok(began.elapsed());
        }
    }
    eventually("the pod is gone", GRACE + REPORTED, async || {
        let now = ns.find(POD, &pod).await?;
        let gone = now.as_ref().is_none_or(|now| now["metadata"]["uid"] != uid.as_str());
        Ok(Look::when(gone, (), now.map_or(Value::Null, |now| now["status"].clone())))
    })
    .await?;
    Ok(began.elapsed())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_that_are_deleted_evicted_or_terminated_under_load_lose_nothing_and_report_nothing_wrongly()
-> Result<()> {
    let stage = Stage::new("disruption").await?;
    let mut spec = small_spec(3);
    spec["services"] = json!({"client": {"type": "NodePort"}});
    // What comes by a node port comes from outside, also where policies are enforced.
    spec["security"] = json!({"networkPolicy": {"enabled": false}});
    let chat = TestCluster::create(&stage.ns, "chat", &spec).await?;
    chat.ready(3, STARTED).await?;
    let outside = Arc::new(Outside::of(&chat).await?);
    outside.is_open().await?;
    let clients = ReturningClients::start(CLIENTS, &outside.open()).await?;
    println!("{CLIENTS} clients: {:?}", clients.nodes());
    let sends = SteadySends::start(CLIENTS, LIVE, STORED, outside.api());

    let mut periods = Vec::new();
    for (ordinal, way) in [(0, Way::Delete), (1, Way::Evict), (2, Way::Signal)] {
        let pod = chat.pod(ordinal);
        // Some sends while nothing happens, to compare with.
        let began = Instant::now();
        tokio::time::sleep(Duration::from_secs(2)).await;
        let (ending, there) = (Instant::now(), clients.nodes().get(&pod).copied().unwrap_or(0));
        periods.push((format!("before {pod}"), began, ending));
        ensure!(there > CLIENTS / 10, "{there} clients at {pod}: {:?}", clients.nodes());
        let took = end(&chat, ordinal, way).await?;
        let ready = |pod: &Value| condition(pod, "Ready")["status"] == "True";
        stage.ns.until(POD, &pod, "it is ready again", STARTED, ready).await?;
        chat.ready(3, STARTED).await?;
        clients.all_connected().await?;
        println!(
            "{way:?} of {pod} with {there} clients: ended after {took:.1?} of {GRACE:?}, all there again after {:.1?}; now {:?}",
            ending.elapsed(),
            clients.nodes()
        );
        assert!(took < GRACE, "{way:?}: it was killed, not ended: {took:?}");
        periods.push((format!("{way:?} {pod}"), ending, Instant::now()));
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let sent = sends.finish().await?;
    let verdict = Verdict::of(&sent, &clients).await;
    for (what, from, until) in periods {
        let (p50, p99, longest) = times_between(&sent, from, until);
        println!("{what}: {:.1?}, sends took p50 {p50:?} p99 {p99:?} longest {longest:?}", until - from);
    }
    println!("{} reconnects, ends {:?}: {verdict}", clients.reconnects(), clients.ends());
    verdict.keeps_every_promise();
    let ends = clients.ends();
    assert!(
        ends.keys().all(|end| end == "Some(1012)" || !(end.starts_with("Some") || end == "None")),
        "{ends:?}"
    );
    Ok(())
}
