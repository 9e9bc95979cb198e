//! Pods are replaced, removed and evicted under thousands of clients, with the operator and without: nothing is lost,
//! nothing reported wrongly, and clients go at the wanted rate and not more often than they must.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use wsc_tests::kubernetes::{
    drained_node::DrainedNode,
    resource::{POD, WSC_CLUSTER},
    wsc_cluster::{TestCluster, condition},
};

use crate::{
    absent_operator::AbsentOperator,
    crowd::{Crowd, PODS},
    rollout::{pods, rolls_to},
    stage::{STARTED, Stage},
};

fn names(cluster: &TestCluster<'_>, ordinals: impl IntoIterator<Item = u32>) -> Vec<String> {
    ordinals.into_iter().map(|ordinal| cluster.pod(ordinal)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_image_under_load_keeps_every_promise() -> Result<()> {
    let stage = Stage::new("crowd-image").await?;
    let crowd = Crowd::gather(&stage.ns, "crowd-image").await?;
    let cluster = crowd.cluster;
    cluster.change(&json!({"image": {"repository": "wsc-hub", "tag": "dev-next"}})).await?;
    rolls_to(&cluster, "wsc-hub:dev-next", 3).await?;
    let figures = crowd.figures(&names(&cluster, 0..PODS)).await?;
    println!("{figures}");
    figures.keep_every_promise()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubectl_scale_to_fewer_pods_under_load_keeps_every_promise() -> Result<()> {
    let stage = Stage::new("crowd-scale").await?;
    let crowd = Crowd::gather(&stage.ns, "crowd-scale").await?;
    let cluster = crowd.cluster;
    stage.ns.kubectl.run(&["scale", "wsc/crowd-scale", "--replicas=2"]).await?;
    // A smaller wish has to hold for a minute before pods go.
    stage
        .ns
        .until(WSC_CLUSTER, cluster.name, "the operator removes a pod", STARTED, |object| {
            object["status"]["operation"]["type"] == "ScaleDown"
        })
        .await?;
    let leaving = cluster.pod(PODS - 1);
    stage.ns.gone(POD, &leaving, STARTED).await?;
    cluster.ready(PODS - 1, STARTED).await?;
    let figures = crowd.figures(&[leaving]).await?;
    println!("{figures}");
    figures.keep_every_promise()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_drained_under_load_keeps_every_promise() -> Result<()> {
    let stage = Stage::new("crowd-node").await?;
    let crowd = Crowd::gather(&stage.ns, "crowd-node").await?;
    let cluster = crowd.cluster;
    // A Redis of one pod that keeps nothing on a disk cannot move without a loss, and promises no more.
    let redis = stage.ns.get(POD, "crowd-node-redis-0").await?["spec"]["nodeName"].clone();
    let hubs = pods(&cluster).await?;
    let other = hubs.iter().map(|pod| &pod["spec"]["nodeName"]).find(|node| **node != redis);
    let node = other.and_then(Value::as_str).context("no hub is on another node than Redis")?;
    let leaving = hubs.iter().filter(|pod| pod["spec"]["nodeName"] == node);
    let leaving: Vec<String> =
        leaving.filter_map(|pod| pod["metadata"]["name"].as_str()).map(ToOwned::to_owned).collect();
    let selector = format!("app.kubernetes.io/name=wsc-hub,app.kubernetes.io/instance={}", cluster.name);
    let drained = DrainedNode::drain(&stage.ns.kubectl, node, &selector).await?;
    cluster.ready(PODS, STARTED).await?;
    let left = pods(&cluster).await?.iter().filter(|pod| pod["spec"]["nodeName"] == node).count();
    assert_eq!(left, 0, "a node that takes no pods has some");
    drop(drained);
    let figures = crowd.figures(&leaving).await?;
    println!("{figures}");
    figures.keep_every_promise()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_deleted_under_load_without_an_operator_keep_every_promise() -> Result<()> {
    let stage = Stage::alone("crowd-alone").await?;
    let crowd = Crowd::gather(&stage.ns, "crowd-alone").await?;
    let cluster = crowd.cluster;
    let absent = AbsentOperator::of(&stage).await?;
    // As somebody restarts pods by hand: the next when this one serves.
    for ordinal in (0..PODS).rev() {
        let (pod, old) = (cluster.pod(ordinal), cluster.pod_uid(ordinal).await?);
        stage.ns.delete(POD, &pod).await?;
        let new = cluster.replaced(ordinal, &old, STARTED).await?;
        assert_eq!(condition(&new, "Ready")["status"], "True");
        crowd.is_back().await?;
    }
    absent.comes_back().await?;
    cluster.ready(PODS, STARTED).await?;
    let figures = crowd.figures(&names(&cluster, 0..PODS)).await?;
    println!("{figures}");
    figures.keep_every_promise()
}
