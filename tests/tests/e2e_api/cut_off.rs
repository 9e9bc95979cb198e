//! The way between the operator and the API server is cut in the middle of a rollout; the hubs can be reached all the time.

use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use wsc_tests::{
    kubernetes::{
        api_proxy::ApiProxy,
        fake_fleet::FakeFleet,
        namespace::TestNamespace,
        operator_process::OperatorProcess,
        resource::{LEASE, POD},
    },
    tcp_proxy::Flow,
    wait::{Look, eventually},
};

use crate::{
    lifecycle::{ROLLED, has, living, spec, until_told},
    stage::{SOON, namespace},
};

/// Leadership ends so long after the last renewal, by the clock of who leads; a second more for a busy machine.
const LEADS_NO_MORE: Duration = Duration::from_millis(21_000);
/// Until somebody else leads: the lease must stand still for 30 s.
const SUCCEEDED: Duration = Duration::from_secs(120);
/// How long nobody answers for the API server.
const AWAY: Duration = Duration::from_secs(120);

/// An operator whose way to the API server can be cut, and which leads.
async fn behind_a_proxy(ns: &TestNamespace) -> Result<(ApiProxy, OperatorProcess)> {
    let proxy = ApiProxy::start(ns).await?;
    let settings = [("POD_NAME", "first"), ("KUBECONFIG", &proxy.kubeconfig())];
    let operator = OperatorProcess::start_with(ns, &settings).await?;
    eventually("it leads", SOON, async || Ok(Look::when(operator.leads().await?, (), "it does not"))).await?;
    Ok((proxy, operator))
}

/// A drain that is under way for some seconds.
fn slow_drains() -> Value {
    let mut spec = spec(3);
    spec["drain"] = json!({"ratePerSecond": 20});
    spec
}

/// Each pod was drained once and ended once, empty, one after the other.
fn each_once(fleet: &FakeFleet) -> Result<()> {
    let log = fleet.log();
    let steps: Vec<String> =
        log.iter().map(|line| line.split_whitespace().take(2).collect::<Vec<_>>().join(" ")).collect();
    let expected = ["drain chat-2", "end chat-2", "drain chat-1", "end chat-1", "drain chat-0", "end chat-0"];
    ensure!(steps == expected, "{log:?}");
    ensure!(log.iter().filter(|line| line.starts_with("end")).all(|line| line.ends_with(" 0")), "{log:?}");
    ensure!(fleet.worst() == 1, "{} pods were down at once: {log:?}", fleet.worst());
    Ok(())
}

#[tokio::test]
async fn a_leader_that_is_cut_off_asks_no_hub_any_more_and_is_succeeded() -> Result<()> {
    let ns = namespace("cut-off").await?;
    let (proxy, first) = behind_a_proxy(&ns).await?;
    let (cluster, fleet) = living(&ns, &slow_drains(), 300.0).await?;
    let second = OperatorProcess::start_with(&ns, &[("POD_NAME", "second")]).await?;
    cluster.change(&json!({"image": {"tag": "2"}})).await?;
    until_told(&fleet, "a drain began", SOON, |log| has(log, "drain chat-2")).await?;
    // What is on its way arrives when the way is free again, as with packets that are lost and sent again.
    proxy.proxy.set(Flow::Stall, Flow::Stall);
    let cut = SystemTime::now();
    let lease = ns
        .until(LEASE, "wsc-operator", "the second leads", SUCCEEDED, |lease| {
            lease["spec"]["holderIdentity"] == "second"
        })
        .await?;
    ensure!(!first.leads().await?, "two lead: {}", first.output());
    let taken: Timestamp = lease["spec"]["acquireTime"].as_str().context("no time")?.parse()?;
    let taken = SystemTime::from(taken);
    let asked = fleet.hubs().asked.clone();
    ensure!(asked.iter().any(|at| *at < cut), "the first has asked the hubs");
    let late: Vec<Duration> = asked
        .iter()
        .filter(|at| **at < taken)
        .filter_map(|at| at.duration_since(cut).ok().filter(|since| *since > LEADS_NO_MORE))
        .collect();
    ensure!(late.is_empty(), "hubs were asked by nobody's right, so long after the cut: {late:?}");
    cluster.ready(3, ROLLED).await.map_err(|error| error.context(second.output()))?;
    each_once(&fleet)?;

    // What it had sent arrives now, and it learns who leads.
    proxy.proxy.set(Flow::Pass, Flow::Pass);
    let before = first.output().len();
    eventually("the first stands by", SOON, async || {
        let said = first.output();
        Ok(Look::when(said[before..].contains("second holds the lease"), (), &said[before..]))
    })
    .await?;
    cluster.ready(3, SOON).await?;
    each_once(&fleet)?;
    ensure!(second.leads().await? && !first.leads().await?);
    Ok(())
}

/// Names, uids and revisions of the pods.
async fn pods(ns: &TestNamespace) -> Result<Vec<Value>> {
    let pods = ns.list(POD).await?;
    let metadata = pods.iter().map(|pod| &pod["metadata"]);
    Ok(metadata.map(|one| json!([one["name"], one["uid"], one["deletionTimestamp"]])).collect())
}

#[tokio::test]
async fn while_the_api_server_is_away_no_pod_changes_and_afterwards_the_rollout_ends() -> Result<()> {
    let ns = namespace("away").await?;
    let (proxy, operator) = behind_a_proxy(&ns).await?;
    let (cluster, fleet) = living(&ns, &slow_drains(), 300.0).await?;
    cluster.change(&json!({"image": {"tag": "2"}})).await?;
    until_told(&fleet, "a drain began", SOON, |log| has(log, "drain chat-2")).await?;
    proxy.proxy.refuse(true);
    let (cut, before, log) = (Instant::now(), pods(&ns).await?, fleet.log());
    ensure!(log.len() == 1, "{log:?}");
    while cut.elapsed() < AWAY {
        tokio::time::sleep(Duration::from_secs(2)).await;
        ensure!(pods(&ns).await? == before, "a pod changed after {:?}", cut.elapsed());
        ensure!(fleet.log() == log, "{:?} after {:?}", fleet.log(), cut.elapsed());
    }
    ensure!(fleet.serving() == 2, "{} serve, the drained one waits", fleet.serving());
    ensure!(operator.get("/healthz").await?.0 == 200, "{}", operator.output());
    proxy.proxy.refuse(false);
    cluster.ready(3, ROLLED).await.map_err(|error| error.context(operator.output()))?;
    each_once(&fleet)
}
