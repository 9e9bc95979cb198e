//! A change of the pods' template reaches all pods, one at a time.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use wsc_tests::{
    kubernetes::{
        resource::{POD, WSC_CLUSTER},
        wsc_cluster::{TestCluster, condition, small_spec, stands},
    },
    wait::{Look, eventually},
};

use crate::stage::{STARTED, Stage};

fn is_ready(pod: &Value) -> bool {
    condition(pod, "Ready")["status"] == "True" && pod["metadata"]["deletionTimestamp"].is_null()
}

/// Hub pods of a cluster.
pub(crate) async fn pods(chat: &TestCluster<'_>) -> Result<Vec<Value>> {
    let all = chat.namespace.list(POD).await?;
    Ok(all
        .into_iter()
        .filter(|pod| pod["metadata"]["labels"]["app.kubernetes.io/name"] == "wsc-hub")
        .collect())
}

/// Waits until all pods have the image and the cluster is Ready; at no moment may more than one pod be down.
pub(crate) async fn rolls_to(chat: &TestCluster<'_>, image: &str, size: usize) -> Result<()> {
    eventually(&format!("all pods run {image}"), Duration::from_secs(240), async || {
        let pods = pods(chat).await?;
        let up = pods.iter().filter(|pod| is_ready(pod)).count();
        ensure!(up + 1 >= size, "{} of {size} pods are down at the same time", size - up);
        let new =
            pods.iter().filter(|pod| pod["spec"]["containers"][0]["image"] == image && is_ready(pod)).count();
        let object = chat.object().await?;
        let done = new == size && pods.len() == size && stands(&object, "Ready", "True");
        Ok(Look::when(done, (), format!("{new} of {size}; {}", object["status"]["operation"])))
    })
    .await
}

#[tokio::test]
async fn a_new_image_replaces_one_pod_at_a_time() -> Result<()> {
    let stage = Stage::new("rollout").await?;
    let chat = TestCluster::create(&stage.ns, "chat", &small_spec(3)).await?;
    chat.ready(3, STARTED).await?;
    let before = [chat.pod_uid(0).await?, chat.pod_uid(1).await?, chat.pod_uid(2).await?];
    chat.change(&json!({"image": {"repository": "wsc-hub", "tag": "dev-next"}})).await?;
    rolls_to(&chat, "wsc-hub:dev-next", 3).await?;
    for (ordinal, old) in (0..).zip(&before) {
        assert_ne!(&chat.pod_uid(ordinal).await?, old);
    }
    let object = chat.object().await?;
    assert_eq!(object["status"]["updatedReplicas"], 3);
    // A cold setting rolls as well.
    chat.change(&json!({"hub": {"events": {"enabled": true}}})).await?;
    stage
        .ns
        .until(WSC_CLUSTER, "chat", "a rollout begins", STARTED, |object| {
            object["status"]["operation"]["type"] == "Rollout"
        })
        .await?;
    rolls_to(&chat, "wsc-hub:dev-next", 3).await
}

#[tokio::test]
async fn an_image_that_is_not_there_stops_the_rollout_and_a_fixed_spec_goes_on() -> Result<()> {
    let stage = Stage::new("bad-image").await?;
    let chat = TestCluster::create(&stage.ns, "chat", &small_spec(3)).await?;
    chat.ready(3, STARTED).await?;
    chat.change(&json!({"image": {"repository": "wsc-hub", "tag": "not-there"}})).await?;
    let stuck = stage
        .ns
        .until(WSC_CLUSTER, "chat", "the rollout is stuck", STARTED, |object| {
            condition(object, "Degraded")["reason"] == "RolloutStuck"
        })
        .await?;
    let message = condition(&stuck, "Degraded")["message"].as_str().unwrap_or_default();
    assert!(message.contains("chat-"), "the pod is named: {message}");
    assert_eq!(stuck["spec"]["image"]["tag"], "not-there", "the spec stays the user's");
    // One pod was tried. The last good template is put back, and that pod replaced by it.
    eventually("all three serve again", STARTED, async || {
        let up = pods(&chat).await?.iter().filter(|pod| is_ready(pod)).count();
        Ok(Look::when(up == 3, (), format!("{up} are ready")))
    })
    .await?;
    assert_eq!(condition(&chat.object().await?, "Ready")["status"], "False");
    chat.change(&json!({"image": {"tag": "dev-next"}})).await?;
    rolls_to(&chat, "wsc-hub:dev-next", 3).await
}
