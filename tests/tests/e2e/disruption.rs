//! Pods are deleted, evicted and told to end while clients are there and a backend sends, all from outside of the cluster
//! by node ports, as behind a load balancer.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use http::Method;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use wsc_tests::{
    kubernetes::{
        resource::{POD, call},
        wsc_cluster::{TestCluster, condition},
    },
    returning_clients::ReturningClients,
    steady_sends::{SteadySends, times_between},
    verdict::Verdict,
    wait::{Look, eventually},
};

use crate::{
    outside::{Outside, open_spec},
    stage::{STARTED, Stage},
};

const CLIENTS: usize = 150;
/// A second, `wait: delivered`.
const LIVE: usize = 100;
/// A second, `store`.
const STORED: usize = 50;
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
    let chat = TestCluster::create(&stage.ns, "chat", &open_spec(3)).await?;
    chat.ready(3, STARTED).await?;
    let outside = Arc::new(Outside::of(&chat, CLIENTS).await?);
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
    clients.left_in_order()
}
