//! Rollouts and scale-downs with pods that live: what the hubs are told, and what happens to clients.

use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use wsc_tests::{
    kubernetes::{
        fake_fleet::{FakeFleet, Pace},
        namespace::TestNamespace,
        operator_process::OperatorProcess,
        resource::{EVENT, POD, STATEFUL_SET, WSC_CLUSTER},
        wsc_cluster::{TestCluster, condition},
    },
    wait::{Look, eventually},
};

use crate::stage::{SOON, namespace, with_operator};

/// How long three pods may take, one after the other. Ten seconds are usual; the rest is for a busy machine.
pub(crate) const ROLLED: Duration = Duration::from_secs(120);
/// How long the pods of a new cluster may take.
pub(crate) const LIVES: Duration = Duration::from_secs(60);

pub(crate) fn spec(replicas: u32) -> Value {
    json!({
        "replicas": replicas,
        "redis": {"managed": {}},
        "image": {"repository": "hub", "tag": "1"},
        "hub": {"maxConnections": 1000},
        "rollout": {"minReadySeconds": 0}
    })
}

/// A cluster whose pods live, with clients on them.
pub(crate) async fn living<'a>(
    ns: &'a TestNamespace,
    spec: &Value,
    clients: f64,
) -> Result<(TestCluster<'a>, FakeFleet)> {
    living_at(ns, spec, clients, Pace::default()).await
}

/// The same at a pace of the test's own.
pub(crate) async fn living_at<'a>(
    ns: &'a TestNamespace,
    spec: &Value,
    clients: f64,
    pace: Pace,
) -> Result<(TestCluster<'a>, FakeFleet)> {
    let replicas = u32::try_from(spec["replicas"].as_u64().unwrap_or(3))?;
    let fleet = FakeFleet::start(ns, pace).await?;
    let cluster = TestCluster::create(ns, "chat", spec).await?;
    cluster.ready(replicas, LIVES).await.with_context(|| format!("fleet: {:?}", fleet.trouble()))?;
    fleet.watch("chat", replicas);
    // When all are there, so that each gets as many.
    fleet.clients("chat", clients);
    eventually("all clients have a hub", SOON, async || {
        let open: f64 = fleet.hubs().hubs.values().map(|hub| hub.connections).sum();
        Ok(Look::when(open > clients - 0.5, (), open))
    })
    .await?;
    Ok((cluster, fleet))
}

/// Waits until the log of the hubs satisfies a condition; gives it.
pub(crate) async fn until_told(
    fleet: &FakeFleet,
    what: &str,
    within: Duration,
    holds: impl Fn(&[String]) -> bool,
) -> Result<Vec<String>> {
    eventually(what, within, async || {
        let log = fleet.log();
        let seen = format!("{log:?}, fleet: {:?}", fleet.trouble());
        Ok(if holds(&log) { Look::Holds(log) } else { Look::NotYet(seen) })
    })
    .await
}

pub(crate) fn has(log: &[String], entry: &str) -> bool {
    log.iter().any(|line| line.starts_with(entry))
}

pub(crate) async fn image_of(ns: &TestNamespace, ordinal: u32) -> Result<String> {
    let pod = ns.get(POD, &format!("chat-{ordinal}")).await?;
    Ok(pod["spec"]["containers"][0]["image"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn a_rollout_moves_the_clients_of_one_pod_after_the_other() -> Result<()> {
    let (ns, operator) = with_operator("rollout").await?;
    let (cluster, fleet) = living(&ns, &spec(3), 300.0).await?;
    cluster.change(&json!({"image": {"tag": "2"}})).await?;
    let log = until_told(&fleet, "all pods were replaced", ROLLED, |log| has(log, "end chat-0")).await?;
    cluster.ready(3, LIVES).await.map_err(|error| error.context(operator.output()))?;
    let steps: Vec<String> =
        log.iter().map(|line| line.split_whitespace().take(2).collect::<Vec<_>>().join(" ")).collect();
    let expected = ["drain chat-2", "end chat-2", "drain chat-1", "end chat-1", "drain chat-0", "end chat-0"];
    assert_eq!(steps, expected, "{log:?}");
    for line in &log {
        let last = line.rsplit(' ').next().unwrap_or_default();
        let fine = if line.starts_with("end") {
            last == "0"
        } else {
            last.starts_with("wsc-operator/rollout-chat-")
        };
        assert!(fine, "{line}: clients go before the pod, under the operator's own name");
    }
    assert_eq!(fleet.worst(), 1, "pods down at once");
    for ordinal in 0..3 {
        assert_eq!(image_of(&ns, ordinal).await?, "hub:2");
    }
    let status = cluster.object().await?["status"].clone();
    assert!(status["operation"].is_null(), "{status}");
    assert_eq!(status["updatedReplicas"], 3);
    Ok(())
}

#[tokio::test]
async fn two_pods_go_at_once_where_the_spec_allows_it() -> Result<()> {
    let (ns, _operator) = with_operator("two-at-once").await?;
    let mut spec = spec(4);
    spec["rollout"]["maxUnavailable"] = json!(2);
    spec["drain"] = json!({"ratePerSecond": 50});
    let (cluster, fleet) = living(&ns, &spec, 400.0).await?;
    cluster.change(&json!({"image": {"tag": "2"}})).await?;
    let log = until_told(&fleet, "all pods were replaced", ROLLED, |log| {
        log.iter().filter(|line| line.starts_with("end")).count() == 4
    })
    .await?;
    assert!(log[0].starts_with("drain chat-3") && log[1].starts_with("drain chat-2"), "{log:?}");
    cluster.ready(4, LIVES).await?;
    assert_eq!(fleet.worst(), 2, "{log:?}");
    assert!(log.iter().filter(|line| line.starts_with("end")).all(|line| line.ends_with(" 0")), "{log:?}");
    Ok(())
}

#[tokio::test]
async fn nobody_is_drained_into_full_nodes() -> Result<()> {
    let (ns, _operator) = with_operator("no-room").await?;
    let (cluster, fleet) = living(&ns, &spec(2), 1800.0).await?;
    cluster.change(&json!({"image": {"tag": "2"}})).await?;
    ns.until(WSC_CLUSTER, "chat", "it says that there is no room", SOON, |object| {
        condition(object, "Progressing")["reason"] == "NoRoom"
            && condition(object, "Ready")["status"] == "False"
    })
    .await?;
    assert_eq!(fleet.log(), Vec::<String>::new());
    // A scale-up makes room, and the rollout goes on by itself.
    cluster.change(&json!({"replicas": 5})).await?;
    until_told(&fleet, "a drain began", ROLLED, |log| has(log, "drain chat-")).await?;
    Ok(())
}

#[tokio::test]
async fn a_single_node_sends_its_clients_home_at_once() -> Result<()> {
    let (ns, _operator) = with_operator("single").await?;
    let mut spec = spec(1);
    spec["drain"] = json!({"ratePerSecond": 1});
    let (cluster, fleet) = living(&ns, &spec, 500.0).await?;
    cluster.change(&json!({"image": {"tag": "2"}})).await?;
    let log = until_told(&fleet, "the pod was replaced", SOON, |log| has(log, "end chat-0")).await?;
    assert!(log.last().is_some_and(|line| line == "end chat-0 0"), "{log:?}");
    cluster.ready(1, LIVES).await?;
    Ok(())
}

#[tokio::test]
async fn a_foreign_drain_is_left_alone_and_counts_as_down() -> Result<()> {
    let (ns, _operator) = with_operator("foreign").await?;
    let (cluster, fleet) = living(&ns, &spec(3), 30.0).await?;
    let uid = cluster.pod_uid(0).await?;
    fleet.hubs().drain(&uid, "maintenance", 1000.0, None);
    ns.until(POD, "chat-0", "the drained pod is not Ready", SOON, |pod| {
        condition(pod, "Ready")["status"] == "False"
    })
    .await?;
    cluster.change(&json!({"image": {"tag": "2"}})).await?;
    ns.until(WSC_CLUSTER, "chat", "it says whom it waits for", SOON, |object| {
        let message = object["status"]["operation"]["message"].as_str().unwrap_or_default();
        message.contains("chat-0") && message.contains("'maintenance' drains")
    })
    .await?;
    assert_eq!(fleet.log(), ["drain chat-0 maintenance"]);
    // Who drained it deletes it, and the rollout goes on.
    ns.delete(POD, "chat-0").await?;
    until_told(&fleet, "the others were replaced", ROLLED, |log| has(log, "end chat-1")).await?;
    cluster.ready(3, LIVES).await?;
    assert!(!has(&fleet.log(), "cancel"), "{:?}", fleet.log());
    assert!(fleet.worst() <= 1, "{} down at once", fleet.worst());
    Ok(())
}

/// A StatefulSet with more replicas than wished for, as after an edit, so that the minute before a scale-down is over.
pub(crate) async fn overgrown(
    ns: &TestNamespace,
    cluster: &TestCluster<'_>,
    fleet: &FakeFleet,
    to: u32,
) -> Result<()> {
    cluster.change(&json!({"paused": true})).await?;
    ns.until(WSC_CLUSTER, "chat", "it is paused", SOON, |object| object["status"]["phase"] == "Paused")
        .await?;
    ns.merge(STATEFUL_SET, "chat", &json!({"spec": {"replicas": to}})).await?;
    eventually("the pods serve", SOON, async || {
        let serving = fleet.serving();
        Ok(Look::when(serving == usize::try_from(to)?, (), format!("{serving} serve")))
    })
    .await?;
    // Clients have spread to the new pods only when some come.
    let mut hubs = fleet.hubs();
    for hub in hubs.hubs.values_mut().filter(|hub| hub.connections < 1.0) {
        hub.connections = 100.0;
    }
    Ok(())
}

#[tokio::test]
async fn a_scale_down_drains_the_highest_pods_and_lowers_step_by_step() -> Result<()> {
    let (ns, _operator) = with_operator("down").await?;
    let (cluster, fleet) = living(&ns, &spec(2), 200.0).await?;
    overgrown(&ns, &cluster, &fleet, 4).await?;
    cluster.change(&json!({"paused": false})).await?;
    let log = until_told(&fleet, "two pods ended", ROLLED, |log| has(log, "end chat-2")).await?;
    // The second begins when the number is lowered for the first, which may take its time to end.
    let at = |entry: &str| log.iter().position(|line| line == entry);
    let first = at("drain chat-3 wsc-operator/scale-down-2");
    assert!(first.is_some() && first < at("drain chat-2 wsc-operator/scale-down-2"), "{log:?}");
    assert!(at("end chat-3 0").is_some() && at("end chat-2 0").is_some() && log.len() == 4, "{log:?}");
    cluster.ready(2, LIVES).await?;
    assert_eq!(ns.get(STATEFUL_SET, "chat").await?["spec"]["replicas"], 2);
    assert_eq!(fleet.worst(), 0, "the pods that stay serve all the time");
    Ok(())
}

#[tokio::test]
async fn a_scale_up_takes_back_the_drain_of_a_scale_down() -> Result<()> {
    let (ns, _operator) = with_operator("cancel").await?;
    let mut spec = spec(2);
    spec["drain"] = json!({"ratePerSecond": 1});
    let (cluster, fleet) = living(&ns, &spec, 200.0).await?;
    overgrown(&ns, &cluster, &fleet, 3).await?;
    let uid = cluster.pod_uid(2).await?;
    cluster.change(&json!({"paused": false})).await?;
    until_told(&fleet, "the drain began", SOON, |log| has(log, "drain chat-2")).await?;
    cluster.change(&json!({"replicas": 3})).await?;
    until_told(&fleet, "the drain was taken back", SOON, |log| has(log, "cancel chat-2")).await?;
    cluster.ready(3, LIVES).await?;
    assert_eq!(cluster.pod_uid(2).await?, uid, "it is the same pod");
    assert!(!has(&fleet.log(), "end"), "{:?}", fleet.log());
    Ok(())
}

#[tokio::test]
async fn stopping_drains_all_and_starting_brings_them_back() -> Result<()> {
    let (ns, _operator) = with_operator("stop").await?;
    let (cluster, fleet) = living(&ns, &spec(3), 300.0).await?;
    cluster.change(&json!({"stopped": true})).await?;
    let log = until_told(&fleet, "all ended", ROLLED, |log| {
        log.iter().filter(|line| line.starts_with("end")).count() == 3
    })
    .await?;
    assert!(log[..3].iter().all(|line| line.ends_with("wsc-operator/stop")), "{log:?}");
    assert!(log[3..].iter().all(|line| line.ends_with(" 0")), "{log:?}");
    ns.until(WSC_CLUSTER, "chat", "it is stopped", SOON, |object| {
        object["status"]["phase"] == "Stopped" && object["status"]["operation"].is_null()
    })
    .await?;
    cluster.change(&json!({"stopped": false})).await?;
    cluster.ready(3, LIVES).await?;
    Ok(())
}

#[tokio::test]
async fn a_rebalance_is_carried_out_once() -> Result<()> {
    let (ns, _operator) = with_operator("rebalance").await?;
    let (cluster, fleet) = living(&ns, &spec(3), 0.0).await?;
    let uid = cluster.pod_uid(1).await?;
    if let Some(hub) = fleet.hubs().hubs.get_mut(&uid) {
        hub.connections = 300.0;
    }
    ns.merge(WSC_CLUSTER, "chat", &json!({"metadata": {"annotations": {"wsc.dev/rebalance": "run-7"}}}))
        .await?;
    let log =
        until_told(&fleet, "connections were moved", Duration::from_secs(45), |log| !log.is_empty()).await?;
    assert_eq!(log, ["rebalance chat-1 200"]);
    ns.until(WSC_CLUSTER, "chat", "it is on record", SOON, |object| {
        object["status"]["rebalanced"] == "run-7" && object["status"]["operation"].is_null()
    })
    .await?;
    cluster.ready(3, SOON).await?;
    assert_eq!(fleet.log().len(), 1, "once");
    Ok(())
}

#[tokio::test]
async fn a_bad_image_is_put_back_and_a_good_one_rolls_forward() -> Result<()> {
    let (ns, _operator) = with_operator("bad-image").await?;
    let (cluster, fleet) = living(&ns, &spec(3), 90.0).await?;
    cluster.change(&json!({"image": {"tag": "bad"}})).await?;
    // A fault must last a minute.
    let stuck = ns
        .until(WSC_CLUSTER, "chat", "the rollout is stuck", ROLLED, |object| {
            condition(object, "Degraded")["reason"] == "RolloutStuck"
        })
        .await?;
    assert_eq!(stuck["spec"]["image"]["tag"], "bad", "the spec stays the user's");
    eventually("all three serve again", ROLLED, async || {
        let serving = fleet.serving();
        Ok(Look::when(serving == 3, (), format!("{serving} serve")))
    })
    .await?;
    assert_eq!(image_of(&ns, 2).await?, "hub:1");
    let object = ns
        .until(WSC_CLUSTER, "chat", "it rests", SOON, |object| object["status"]["operation"].is_null())
        .await?;
    assert_eq!(condition(&object, "Ready")["status"], "False", "the spec is not fulfilled");
    assert!(
        condition(&object, "Degraded")["message"].as_str().is_some_and(|text| text.contains("no such image")),
        "{object}"
    );
    assert_eq!(fleet.worst(), 1);
    assert!(!has(&fleet.log(), "drain chat-1"), "nobody else was touched: {:?}", fleet.log());
    let events = ns.list(EVENT).await?;
    assert!(events.iter().any(|event| event["reason"] == "TemplatePutBack"), "{events:?}");

    cluster.change(&json!({"image": {"tag": "2"}})).await?;
    cluster.ready(3, ROLLED).await?;
    for ordinal in 0..3 {
        assert_eq!(image_of(&ns, ordinal).await?, "hub:2");
    }
    assert_eq!(fleet.worst(), 1);
    Ok(())
}

#[tokio::test]
async fn the_pod_of_a_lost_node_is_removed_once_its_lease_is_gone() -> Result<()> {
    let (ns, _operator) = with_operator("lost").await?;
    let (cluster, fleet) = living(&ns, &spec(3), 90.0).await?;
    let uid = cluster.pod_uid(1).await?;
    fleet.lose("chat-1");
    // As the controller does that evicts pods of unreachable nodes.
    let path = format!("{}?gracePeriodSeconds=1", POD.path(&ns.name, "chat-1"));
    wsc_tests::kubernetes::resource::call(&ns.client, http::Method::DELETE, &path, None).await?;
    cluster.replaced(1, &uid, ROLLED).await?;
    cluster.ready(3, LIVES).await?;
    let events = ns.list(EVENT).await?;
    assert!(events.iter().any(|event| event["reason"] == "LostPodRemoved"), "{events:?}");
    Ok(())
}

#[tokio::test]
async fn two_operators_at_once_take_no_more_pods_than_one() -> Result<()> {
    let ns = namespace("two-operators").await?;
    let settings = [("WSC_LEADER_ELECT", "false")];
    let _first = OperatorProcess::start_with(&ns, &settings).await?;
    let _second = OperatorProcess::start_with(&ns, &settings).await?;
    let (cluster, fleet) = living(&ns, &spec(3), 300.0).await?;
    cluster.change(&json!({"image": {"tag": "2"}})).await?;
    let log = until_told(&fleet, "all pods were replaced", ROLLED, |log| has(log, "end chat-0")).await?;
    cluster.ready(3, LIVES).await?;
    assert_eq!(fleet.worst(), 1, "{log:?}");
    let ends: Vec<&String> = log.iter().filter(|line| line.starts_with("end")).collect();
    assert_eq!(ends, ["end chat-2 0", "end chat-1 0", "end chat-0 0"], "{log:?}");
    Ok(())
}
