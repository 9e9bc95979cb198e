//! What annotations and `paused` ask for on a fleet that lives: a restart, and that nothing is done.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use wsc_tests::kubernetes::{
    api_server::ApiServer,
    namespace::TestNamespace,
    operator_process::OperatorProcess,
    resource::{POD, SERVICE, STATEFUL_SET, WSC_CLUSTER},
    wsc_cluster::{TestCluster, condition},
};

use crate::{
    lifecycle::{ROLLED, has, image_of, living, spec, until_told},
    quiet::writes,
    stage::{SOON, namespace, with_operator},
};

async fn annotate(ns: &TestNamespace, annotations: &Value) -> Result<()> {
    ns.merge(WSC_CLUSTER, "chat", &json!({"metadata": {"annotations": annotations}})).await.map(|_| ())
}

/// Waits until the status speaks of the spec as it is now.
async fn looked_at(ns: &TestNamespace, cluster: &TestCluster<'_>) -> Result<Value> {
    let wanted = cluster.object().await?["metadata"]["generation"].clone();
    ns.until(WSC_CLUSTER, "chat", "the operator has looked", SOON, |object| {
        object["status"]["observedGeneration"] == wanted
    })
    .await
}

#[tokio::test]
async fn a_restart_drains_and_replaces_every_pod_once() -> Result<()> {
    let (ns, _operator) = with_operator("restart").await?;
    let (cluster, fleet) = living(&ns, &spec(3), 300.0).await?;
    annotate(&ns, &json!({"wsc.dev/restart": "monday"})).await?;
    until_told(&fleet, "all pods were replaced", ROLLED, |log| has(log, "end chat-0")).await?;
    cluster.ready(3, ROLLED).await?;
    let log = fleet.log();
    let steps: Vec<String> =
        log.iter().map(|line| line.split_whitespace().take(2).collect::<Vec<_>>().join(" ")).collect();
    let expected = ["drain chat-2", "end chat-2", "drain chat-1", "end chat-1", "drain chat-0", "end chat-0"];
    ensure!(steps == expected && fleet.worst() == 1, "{} down, {log:?}", fleet.worst());
    for ordinal in 0..3 {
        let pod = ns.get(POD, &cluster.pod(ordinal)).await?;
        ensure!(pod["metadata"]["annotations"]["wsc.dev/restart"] == "monday", "{}", pod["metadata"]);
        ensure!(image_of(&ns, ordinal).await? == "hub:1", "nothing else is changed");
    }
    // The same again asks for nothing; a setting that needs no restart makes the operator look.
    annotate(&ns, &json!({"wsc.dev/restart": "monday", "example.org/note": "as before"})).await?;
    cluster.change(&json!({"hub": {"maxConnections": 999}})).await?;
    cluster.ready(3, ROLLED).await?;
    ensure!(fleet.log() == log, "{:?}", fleet.log());
    Ok(())
}

#[tokio::test]
async fn while_paused_no_pod_is_touched_and_the_status_tells_the_truth() -> Result<()> {
    let (ns, _operator) = with_operator("paused").await?;
    let (cluster, fleet) = living(&ns, &spec(3), 300.0).await?;
    cluster.change(&json!({"paused": true, "image": {"tag": "2"}, "replicas": 4})).await?;
    let object = looked_at(&ns, &cluster).await?;
    ensure!(object["status"]["phase"] == "Paused", "{}", object["status"]);
    ensure!(condition(&object, "Ready")["status"] != "True", "{}", object["status"]);

    fleet.with("chat-2", |hub| hub.registered = false)?;
    fleet.with("chat-1", |hub| hub.redis_error = Some("Unreachable: no route to Redis".to_owned()))?;
    ns.until(WSC_CLUSTER, "chat", "the status says what became of the nodes", SOON, |object| {
        object["status"]["registeredNodes"] == 2 && condition(object, "RedisReady")["status"] == "False"
    })
    .await?;
    fleet.with("chat-2", |hub| hub.registered = true)?;
    fleet.with("chat-1", |hub| hub.redis_error = None)?;
    ns.until(WSC_CLUSTER, "chat", "and that they are well", SOON, |object| {
        object["status"]["registeredNodes"] == 3 && condition(object, "RedisReady")["status"] == "True"
    })
    .await?;
    let set = ns.get(STATEFUL_SET, "chat").await?;
    let image = &set["spec"]["template"]["spec"]["containers"][0]["image"];
    ensure!(set["spec"]["replicas"] == 3 && image == "hub:1", "{} {image}", set["spec"]["replicas"]);
    ensure!(fleet.log().is_empty() && fleet.worst() == 0, "{:?}", fleet.log());

    cluster.change(&json!({"paused": false})).await?;
    cluster.ready(4, ROLLED * 2).await?;
    for ordinal in 0..4 {
        ensure!(image_of(&ns, ordinal).await? == "hub:2");
    }
    ensure!(fleet.worst() == 1, "{:?}", fleet.log());
    Ok(())
}

#[tokio::test]
async fn a_resource_with_reconcile_disabled_is_left_alone() -> Result<()> {
    let ns = namespace("disabled").await?;
    // With no lease, which would be written all the time.
    let _operator = OperatorProcess::start_with(&ns, &[("WSC_LEADER_ELECT", "false")]).await?;
    let (cluster, fleet) = living(&ns, &spec(3), 300.0).await?;
    annotate(&ns, &json!({"wsc.dev/reconcile": "disabled"})).await?;
    ns.until(WSC_CLUSTER, "chat", "it says so", SOON, |object| {
        let said = condition(object, "Progressing")["message"].as_str().unwrap_or_default();
        said.contains("wsc.dev/reconcile")
    })
    .await?;
    let (server, mut offset) = (ApiServer::shared()?, 0);
    server.audit_from(&mut offset, &ns.name)?;
    annotate(&ns, &json!({"wsc.dev/restart": "monday", "wsc.dev/rebalance": "night"})).await?;
    ns.delete(SERVICE, "chat").await?;
    cluster.change(&json!({"image": {"tag": "2"}, "replicas": 4, "hub": {"maxConnections": 7}})).await?;
    looked_at(&ns, &cluster).await?;
    // Two more looks, each of which ends with what it saw.
    for registered in [false, true] {
        fleet.with("chat-0", |hub| hub.registered = registered)?;
        let nodes = if registered { 3 } else { 2 };
        ns.until(WSC_CLUSTER, "chat", "it looks on", SOON, |object| {
            object["status"]["registeredNodes"] == nodes
        })
        .await?;
    }
    let written = writes(&server.audit_from(&mut offset, &ns.name)?);
    let own = |write: &&String| {
        write.contains("/wscclusters/chat") || write.contains("delete") && write.contains("/services/chat")
    };
    let others: Vec<&String> = written.iter().filter(|write| !own(write)).collect();
    ensure!(others.is_empty(), "{others:?}");
    ensure!(ns.find(SERVICE, "chat").await?.is_none() && fleet.log().is_empty(), "{:?}", fleet.log());

    annotate(&ns, &json!({"wsc.dev/reconcile": null})).await?;
    ns.until(SERVICE, "chat", "the Service is back", SOON, |_| true).await?;
    Ok(())
}
