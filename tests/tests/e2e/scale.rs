//! More pods, fewer pods, and evictions.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;
use wsc_tests::{
    kubernetes::{
        resource::{DISRUPTION_BUDGET, POD},
        wsc_cluster::{TestCluster, small_spec},
    },
    ws_client::PATIENCE,
};

use crate::stage::{STARTED, Stage};

fn names(count: u32) -> Vec<String> {
    (0..count).map(|ordinal| format!("chat-{ordinal}")).collect()
}

#[tokio::test]
async fn kubectl_scale_adds_and_removes_nodes() -> Result<()> {
    let stage = Stage::new("scale").await?;
    let chat = TestCluster::create(&stage.ns, "chat", &small_spec(2)).await?;
    chat.ready(2, STARTED).await?;
    stage.ns.kubectl.run(&["scale", "wsc/chat", "--replicas=4"]).await?;
    chat.ready(4, STARTED).await?;
    chat.nodes_are(0, &names(4), PATIENCE).await?;
    let mut alice = chat.connect("alice", 0).await?;
    let mut bob = chat.connect("bob", 3).await?;
    assert_eq!(alice.send_to("bob", "to the new pod").await?, "delivered");
    bob.expect_text("to the new pod").await?;

    stage.ns.kubectl.run(&["scale", "wsc/chat", "--replicas=2"]).await?;
    // A smaller wish has to hold for a minute before pods go.
    bob.expect_close(1012, Duration::from_secs(150)).await?;
    chat.ready(2, STARTED).await?;
    stage.ns.gone(POD, "chat-3", Duration::from_secs(60)).await?;
    stage.ns.gone(POD, "chat-2", Duration::from_secs(60)).await?;
    chat.nodes_are(0, &names(2), PATIENCE).await?;
    alice.expect_nothing().await
}

#[tokio::test]
async fn the_disruption_budget_refuses_a_second_eviction() -> Result<()> {
    let stage = Stage::new("evict").await?;
    let ns = &stage.ns;
    let chat = TestCluster::create(ns, "chat", &small_spec(3)).await?;
    chat.ready(3, STARTED).await?;
    ns.until(DISRUPTION_BUDGET, "chat", "one disruption is allowed", STARTED, |budget| {
        budget["status"]["disruptionsAllowed"] == 1
    })
    .await?;
    let old = chat.pod_uid(0).await?;
    let path = |pod: &str| format!("{}/eviction", POD.path(&ns.name, pod));
    let eviction = |pod: &str| {
        json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod}}).to_string()
    };
    // By kubectl, which takes the first answer: the library tries again until the first pod is back.
    ns.kubectl.run_with(&["create", "--raw", &path("chat-0"), "-f", "-"], &eviction("chat-0")).await?;
    let refusal =
        ns.kubectl.refused(&["create", "--raw", &path("chat-1"), "-f", "-"], &eviction("chat-1")).await?;
    assert!(refusal.contains("TooManyRequests") && refusal.contains("disruption budget"), "{refusal}");
    chat.replaced(0, &old, STARTED).await?;
    chat.ready(3, STARTED).await?;
    Ok(())
}
