//! Hub pods are spread over the nodes.

use std::collections::BTreeMap;

use anyhow::Result;
use http::Method;
use wsc_tests::kubernetes::{
    resource::call,
    wsc_cluster::{TestCluster, small_spec},
};

use crate::{
    crowd::without_a_crowd,
    rollout::pods,
    stage::{STARTED, Stage},
};

#[tokio::test]
async fn hub_pods_are_spread_over_all_nodes() -> Result<()> {
    let stage = Stage::new("spread").await?;
    // No node is drained meanwhile.
    let _all_nodes = without_a_crowd().await;
    let list = call(&stage.ns.client, Method::GET, "/api/v1/nodes", None).await?.unwrap_or_default();
    let open = |node: &&serde_json::Value| {
        node["spec"]["unschedulable"].is_null() && node["spec"]["taints"].is_null()
    };
    let nodes = list["items"].as_array().into_iter().flatten().filter(open).count();
    let chat = TestCluster::create(&stage.ns, "chat", &small_spec(3)).await?;
    chat.ready(3, STARTED).await?;
    let mut spread = BTreeMap::<String, usize>::new();
    for pod in pods(&chat).await? {
        *spread.entry(pod["spec"]["nodeName"].as_str().unwrap_or_default().to_owned()).or_default() += 1;
    }
    println!("{spread:?} on {nodes} nodes");
    assert_eq!(spread.values().sum::<usize>(), 3, "{spread:?}");
    // Evenly: two on one node and one on the other, or one on each of three.
    assert_eq!(spread.len(), nodes.min(3), "{spread:?} on {nodes} nodes");
    Ok(())
}
