//! Children that somebody edits or deletes come back.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::{Value, json};
use wsc_tests::kubernetes::{
    resource::{
        DISRUPTION_BUDGET, EVENT, INGRESS, NETWORK_POLICY, SECRET, SERVICE, SERVICE_ACCOUNT, STATEFUL_SET,
    },
    wsc_cluster::{TestCluster, stands},
};

use crate::{
    children::all_made,
    stage::{SOON, namespace, smallest, with_operator},
};

/// What the design promises is 2 s; the rest is for a busy machine, which may also stop for once: see [`soon_enough`].
const REPAIRED: Duration = Duration::from_secs(5);

/// Half of all repairs were made in time, however busy the machine was during some of them.
fn soon_enough(mut times: Vec<Duration>) {
    times.sort();
    assert!(times[times.len() / 2] < REPAIRED, "{times:?}");
}

fn exposed() -> Value {
    let mut spec = smallest();
    spec["exposure"] = json!({"type": "Ingress", "hosts": [{"host": "chat.example.org"}]});
    spec
}

#[tokio::test]
async fn every_kind_of_child_is_repaired_after_an_edit() -> Result<()> {
    let (ns, _operator) = with_operator("edits").await?;
    TestCluster::create(&ns, "chat", &exposed()).await?;
    all_made(&ns).await?;
    ns.until(INGRESS, "chat", "the Ingress is made", SOON, |_| true).await?;
    let edits = [
        (SERVICE, "chat", json!({"spec": {"sessionAffinity": "ClientIP"}}), "/spec/sessionAffinity"),
        (
            SERVICE,
            "chat-nodes",
            json!({"spec": {"publishNotReadyAddresses": false}}),
            "/spec/publishNotReadyAddresses",
        ),
        (STATEFUL_SET, "chat", json!({"spec": {"replicas": 7}}), "/spec/replicas"),
        (STATEFUL_SET, "chat-redis", json!({"spec": {"replicas": 0}}), "/spec/replicas"),
        (DISRUPTION_BUDGET, "chat", json!({"spec": {"maxUnavailable": 3}}), "/spec/maxUnavailable"),
        (NETWORK_POLICY, "chat-redis", json!({"spec": {"ingress": [{}]}}), "/spec/ingress"),
        (
            SERVICE_ACCOUNT,
            "chat-hub",
            json!({"automountServiceAccountToken": true}),
            "/automountServiceAccountToken",
        ),
        (INGRESS, "chat", json!({"spec": {"rules": [{"host": "evil.example.org"}]}}), "/spec/rules/0/host"),
        (
            SERVICE,
            "chat-api",
            json!({"metadata": {"labels": {"wsc.dev/cluster": "other"}}}),
            "/metadata/labels",
        ),
    ];
    let mut times = Vec::new();
    for (resource, name, edit, path) in edits {
        let before = ns.get(resource, name).await?.pointer(path).cloned();
        let edited = ns.merge(resource, name, &edit).await?;
        assert_ne!(edited.pointer(path).cloned(), before, "the edit of {name} did nothing");
        let start = Instant::now();
        ns.until(resource, name, &format!("{} {name} is repaired", resource.kind), SOON, |object| {
            object.pointer(path).cloned() == before
        })
        .await?;
        times.push(start.elapsed());
    }
    soon_enough(times);
    Ok(())
}

#[tokio::test]
async fn every_kind_of_child_comes_back_after_its_deletion() -> Result<()> {
    let (ns, _operator) = with_operator("deletes").await?;
    TestCluster::create(&ns, "chat", &exposed()).await?;
    all_made(&ns).await?;
    ns.until(INGRESS, "chat", "the Ingress is made", SOON, |_| true).await?;
    let mut times = Vec::new();
    for (resource, name) in [
        (SERVICE, "chat"),
        (SERVICE, "chat-nodes"),
        (SERVICE, "chat-api"),
        (SERVICE, "chat-redis"),
        (STATEFUL_SET, "chat"),
        (STATEFUL_SET, "chat-redis"),
        (DISRUPTION_BUDGET, "chat"),
        (NETWORK_POLICY, "chat-hub"),
        (SERVICE_ACCOUNT, "chat-hub"),
        (INGRESS, "chat"),
    ] {
        let old = ns.get(resource, name).await?["metadata"]["uid"].clone();
        let start = Instant::now();
        ns.delete(resource, name).await?;
        ns.until(resource, name, &format!("{} {name} is back", resource.kind), SOON, |object| {
            object["metadata"]["uid"] != old && object["metadata"]["deletionTimestamp"].is_null()
        })
        .await?;
        times.push(start.elapsed());
    }
    soon_enough(times);
    Ok(())
}

#[tokio::test]
async fn labels_and_annotations_of_users_stay() -> Result<()> {
    let (ns, _operator) = with_operator("own-labels").await?;
    let cluster = TestCluster::create(&ns, "chat", &smallest()).await?;
    all_made(&ns).await?;
    let mine = json!({"metadata": {"labels": {"team": "blue"}, "annotations": {"example.org/note": "kept"}}});
    ns.merge(SERVICE, "chat", &mine).await?;
    // A change that makes the operator write this very Service.
    cluster.change(&json!({"services": {"client": {"port": 8000}}})).await?;
    let service = ns
        .until(SERVICE, "chat", "the port is 8000", SOON, |service| {
            service["spec"]["ports"][0]["port"] == 8000
        })
        .await?;
    assert_eq!(service["metadata"]["labels"]["team"], "blue");
    assert_eq!(service["metadata"]["annotations"]["example.org/note"], "kept");
    Ok(())
}

#[tokio::test]
async fn generated_keys_are_made_once_and_a_users_change_stays() -> Result<()> {
    let (ns, _operator) = with_operator("keys").await?;
    let cluster = TestCluster::create(&ns, "chat", &smallest()).await?;
    all_made(&ns).await?;
    let before = ns.secret("chat-auth", "default.key").await?;
    assert!(before.trim().len() >= 32);
    let api = (ns.secret("chat-api", "api").await?, ns.secret("chat-api", "admin").await?);
    assert!(api.0.len() >= 24 && api.1.len() >= 24 && api.0 != api.1);
    ns.write_secret("chat-auth", &[("next.key", "a-key-that-the-user-adds-0123456789abcdef")]).await?;
    cluster.change(&json!({"services": {"client": {"port": 8000}}})).await?;
    ns.until(SERVICE, "chat", "the port is 8000", SOON, |service| {
        service["spec"]["ports"][0]["port"] == 8000
    })
    .await?;
    assert_eq!(ns.secret("chat-auth", "default.key").await?, before);
    ns.secret("chat-auth", "next.key").await?;
    Ok(())
}

#[tokio::test]
async fn a_generated_key_that_is_lost_is_made_again_with_a_warning() -> Result<()> {
    let ns = namespace("lost-key").await?;
    let resync = [("WSC_RESYNC", "10s")];
    let _operator =
        wsc_tests::kubernetes::operator_process::OperatorProcess::start_with(&ns, &resync).await?;
    TestCluster::create(&ns, "chat", &smallest()).await?;
    all_made(&ns).await?;
    let before = ns.secret("chat-api", "api").await?;
    ns.delete(SECRET, "chat-api").await?;
    ns.until(SECRET, "chat-api", "the keys are back", Duration::from_secs(40), |_| true).await?;
    assert_ne!(ns.secret("chat-api", "api").await?, before);
    wsc_tests::wait::eventually("there is a warning", SOON, async || {
        let events = ns.list(EVENT).await?;
        let warned = events
            .iter()
            .any(|event| event["type"] == "Warning" && event["note"].to_string().contains("chat-api"));
        Ok(wsc_tests::wait::Look::when(warned, (), format!("{} events", events.len())))
    })
    .await
}

#[tokio::test]
async fn while_paused_nothing_is_repaired_and_afterwards_all_is() -> Result<()> {
    let (ns, _operator) = with_operator("paused").await?;
    let cluster = TestCluster::create(&ns, "chat", &smallest()).await?;
    all_made(&ns).await?;
    cluster.change(&json!({"paused": true})).await?;
    ns.until(
        wsc_tests::kubernetes::resource::WSC_CLUSTER,
        "chat",
        "it says that it is paused",
        SOON,
        |object| stands(object, "Progressing", "False") && object["status"]["phase"] == "Paused",
    )
    .await?;
    ns.merge(SERVICE, "chat", &json!({"spec": {"sessionAffinity": "ClientIP"}})).await?;
    cluster.change(&json!({"replicas": 1})).await?;
    // The status speaks of the new spec, so a whole pass was made after both changes.
    cluster.until("Progressing", "False", SOON).await?;
    assert_eq!(ns.get(SERVICE, "chat").await?["spec"]["sessionAffinity"], "ClientIP");
    assert_eq!(ns.get(STATEFUL_SET, "chat").await?["spec"]["replicas"], 3);
    cluster.change(&json!({"paused": false})).await?;
    ns.until(SERVICE, "chat", "the Service is repaired", SOON, |service| {
        service["spec"]["sessionAffinity"] == "None"
    })
    .await?;
    ns.until(STATEFUL_SET, "chat", "one replica", SOON, |set| set["spec"]["replicas"] == 1).await?;
    Ok(())
}
