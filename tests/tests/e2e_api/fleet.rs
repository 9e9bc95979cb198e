//! With pods that answer: Ready waits for hot settings, and the number of nodes follows the connections.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use wsc_tests::kubernetes::{
    fake_fleet::{FakeFleet, Pace},
    namespace::TestNamespace,
    resource::{CONFIG_MAP, POD, WSC_CLUSTER},
    wsc_cluster::{TestCluster, condition},
};

use crate::stage::{SOON, with_operator};

/// Until the operator has asked quiet hubs again, which it does every 30 s, and done what follows.
const NOTICED: Duration = Duration::from_secs(120);

#[tokio::test]
async fn ready_waits_until_every_node_has_the_hot_settings_and_names_those_that_lack_them() -> Result<()> {
    let (ns, _operator) = with_operator("fleet-hot").await?;
    let slow = Pace { settings: Duration::from_secs(3600), ..Pace::default() };
    let fleet = FakeFleet::start(&ns, slow).await?;
    let spec = json!({"replicas": 2, "redis": {"managed": {}}, "rollout": {"minReadySeconds": 0}});
    let chat = TestCluster::create(&ns, "chat", &spec).await?;
    chat.ready(2, SOON).await?;
    let pods = [chat.pod_uid(0).await?, chat.pod_uid(1).await?];

    chat.change(&json!({"hub": {"maxConnections": 77}})).await?;
    let object = chat.until("Ready", "False", SOON).await?;
    let found = condition(&object, "Ready");
    assert_eq!(found["reason"], "ApplyingSettings");
    assert!(found["message"].as_str().is_some_and(|said| said.contains("chat-0, chat-1")), "{found}");
    assert_eq!(condition(&object, "Reconciling")["status"], "True");
    for ordinal in 0..2 {
        ns.until(POD, &chat.pod(ordinal), "its kubelet is hurried", SOON, |pod| {
            pod["metadata"]["annotations"]["wsc.dev/hurried-at"].is_string()
        })
        .await?;
    }
    let wanted = wanted_hash(&ns).await?;
    let take = |pod: &str, hash: &str, error: Option<&str>| {
        fleet.with(pod, |hub| {
            hub.hot_hash = Some(hash.to_owned());
            hub.hot_error = error.map(str::to_owned);
        })
    };
    take("chat-0", &wanted, None)?;
    ns.until(WSC_CLUSTER, "chat", "only the other one is named", SOON, |object| {
        let said = condition(object, "Ready")["message"].as_str().unwrap_or_default();
        said.contains("1 of 2 nodes (chat-1)")
    })
    .await?;
    take("chat-1", "something-older", Some("limits.queue_memory: too small"))?;
    let object = chat.until("Degraded", "True", SOON).await?;
    assert_eq!(condition(&object, "Degraded")["reason"], "SettingsRefused");
    assert_eq!(condition(&object, "Stalled")["status"], "True");
    assert!(condition(&object, "Reconciling").is_null(), "{}", object["status"]);
    take("chat-1", &wanted, None)?;
    let object = chat.ready(2, SOON).await?;
    assert!(condition(&object, "Stalled").is_null() && condition(&object, "Reconciling").is_null());
    assert_eq!([chat.pod_uid(0).await?, chat.pod_uid(1).await?], pods, "no pod was replaced");
    Ok(())
}

/// The hash that the nodes are to report.
async fn wanted_hash(ns: &TestNamespace) -> Result<String> {
    let map = ns.get(CONFIG_MAP, "chat-hot").await?;
    let text = map["data"]["settings.yaml"].as_str().unwrap_or_default();
    Ok(Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect())
}

#[tokio::test]
async fn the_number_of_nodes_follows_the_connections_up_at_once_and_down_after_the_window() -> Result<()> {
    let (ns, _operator) = with_operator("fleet-scale").await?;
    let fleet = FakeFleet::start(&ns, Pace::default()).await?;
    let spec = json!({
        "replicas": 2, "redis": {"managed": {}}, "rollout": {"minReadySeconds": 0},
        "hub": {"maxConnections": 200},
        "autoscaling": {
            "mode": "Connections", "maxReplicas": 5, "targetConnectionsPerNode": 100,
            "scaleDown": {"stabilization": "20s"}
        }
    });
    let chat = TestCluster::create(&ns, "chat", &spec).await?;
    chat.ready(2, SOON).await?;
    fleet.clients("chat", 390.0);
    chat.ready(4, NOTICED).await?;
    let object = chat.object().await?;
    assert_eq!(object["spec"]["replicas"], 2, "the operator never writes the spec");
    assert_eq!(condition(&object, "AutoscalingActive")["status"], "True");
    fleet.clients("chat", 4000.0);
    ns.until(WSC_CLUSTER, "chat", "it says that the spec allows no more", NOTICED, |object| {
        condition(object, "AutoscalingActive")["reason"] == "Limited"
            && object["status"]["desiredReplicas"] == 5
    })
    .await?;
    chat.ready(5, NOTICED).await?;

    // Somebody who does not answer may have clients: nobody goes. Silent first, or the others would be asked in between.
    fleet.with("chat-0", |hub| hub.silent = true)?;
    fleet.clients("chat", 100.0);
    ns.until(WSC_CLUSTER, "chat", "silence keeps all nodes", NOTICED, |object| {
        condition(object, "AutoscalingActive")["reason"] == "NodesUnknown"
    })
    .await?;
    assert_eq!(chat.object().await?["status"]["desiredReplicas"], 5);
    fleet.with("chat-0", |hub| hub.silent = false)?;
    ns.until(WSC_CLUSTER, "chat", "fewer would do, for a while", NOTICED, |object| {
        condition(object, "AutoscalingActive")["reason"] == "Stabilizing"
    })
    .await?;
    ns.until(WSC_CLUSTER, "chat", "two are wished for", NOTICED, |object| {
        object["status"]["desiredReplicas"] == 2
    })
    .await?;
    Ok(())
}
