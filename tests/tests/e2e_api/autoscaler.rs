//! The number of nodes follows the load: by a HorizontalPodAutoscaler that works on the resource through its scale
//! subresource, or by the connections of the nodes.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;
use wsc_tests::kubernetes::{
    resource::{AUTOSCALER, STATEFUL_SET, WSC_CLUSTER},
    wsc_cluster::{TestCluster, condition},
};

use crate::stage::{SOON, with_operator};

#[tokio::test]
async fn an_autoscaler_reads_the_scale_and_lifts_it_to_its_minimum() -> Result<()> {
    let (ns, _operator) = with_operator("hpa").await?;
    let cluster = TestCluster::create(&ns, "chat", &json!({"replicas": 1, "redis": {"managed": {}}})).await?;
    ns.until(STATEFUL_SET, "chat", "one replica", SOON, |set| set["spec"]["replicas"] == 1).await?;
    let autoscaler = json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "chat"},
        "spec": {
            "minReplicas": 2, "maxReplicas": 4,
            "scaleTargetRef": {"apiVersion": "wsc.dev/v1alpha1", "kind": "WscCluster", "name": "chat"},
            "metrics": [{"type": "Resource", "resource": {
                "name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}
            }}]
        }
    });
    ns.create_object(AUTOSCALER, &autoscaler).await?;
    let seen = ns
        .until(AUTOSCALER, "chat", "it is able to scale", Duration::from_secs(60), |object| {
            condition(object, "AbleToScale")["status"] == "True"
        })
        .await?;
    assert!(condition(&seen, "AbleToScale")["reason"].is_string(), "{seen}");
    ns.until(STATEFUL_SET, "chat", "two replicas", Duration::from_secs(60), |set| {
        set["spec"]["replicas"] == 2
    })
    .await?;
    assert_eq!(cluster.object().await?["spec"]["replicas"], 2);
    Ok(())
}

#[tokio::test]
async fn mode_hpa_makes_an_autoscaler_which_the_condition_tells_the_truth_about() -> Result<()> {
    let (ns, _operator) = with_operator("hpa-mode").await?;
    let spec = json!({
        "replicas": 1, "redis": {"managed": {}},
        "autoscaling": {"mode": "HPA", "maxReplicas": 4, "scaleDown": {"stabilization": "7m"}}
    });
    let cluster = TestCluster::create(&ns, "chat", &spec).await?;
    let object = ns.until(AUTOSCALER, "chat", "it is made", SOON, |_| true).await?;
    assert_eq!(
        object["spec"]["scaleTargetRef"],
        json!({"apiVersion": "wsc.dev/v1alpha1", "kind": "WscCluster", "name": "chat"})
    );
    assert_eq!((&object["spec"]["minReplicas"], &object["spec"]["maxReplicas"]), (&json!(2), &json!(4)));
    assert_eq!(object["spec"]["behavior"]["scaleDown"]["stabilizationWindowSeconds"], 420);
    assert_eq!(object["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"], 70);
    // The least number holds from the start, before the autoscaler has written anything.
    ns.until(STATEFUL_SET, "chat", "two replicas", SOON, |set| set["spec"]["replicas"] == 2).await?;
    // There is no metrics server here, and the condition says so in the autoscaler's words.
    let failing = ns
        .until(WSC_CLUSTER, "chat", "the missing metrics are told", Duration::from_secs(90), |object| {
            condition(object, "AutoscalingActive")["reason"] == "AutoscalerFails"
        })
        .await?;
    let found = condition(&failing, "AutoscalingActive");
    assert_eq!(found["status"], "False", "{found}");
    assert!(found["message"].as_str().is_some_and(|message| message.contains("metrics")), "{found}");

    let replicas = cluster.object().await?["spec"]["replicas"].clone();
    cluster.change(&json!({"autoscaling": {"mode": "Disabled"}})).await?;
    ns.gone(AUTOSCALER, "chat", SOON).await?;
    let object = cluster.until("AutoscalingActive", "False", SOON).await?;
    assert_eq!(condition(&object, "AutoscalingActive")["reason"], "Disabled");
    assert_eq!(object["spec"]["replicas"], replicas, "the operator never writes the spec");
    Ok(())
}

#[tokio::test]
async fn by_connections_the_spec_is_only_the_start_and_zero_still_means_none() -> Result<()> {
    let (ns, _operator) = with_operator("connections").await?;
    let spec = json!({
        "replicas": 5, "redis": {"managed": {}},
        "autoscaling": {"mode": "Connections", "minReplicas": 2, "maxReplicas": 4}
    });
    let cluster = TestCluster::create(&ns, "chat", &spec).await?;
    let desired =
        |wanted: i64| move |object: &serde_json::Value| object["status"]["desiredReplicas"] == wanted;
    ns.until(WSC_CLUSTER, "chat", "the start, within the bounds", SOON, desired(4)).await?;
    ns.until(STATEFUL_SET, "chat", "four replicas", SOON, |set| set["spec"]["replicas"] == 4).await?;
    // What somebody scales to says nothing any more, so GitOps and kubectl fight with nobody.
    ns.kubectl.run(&["scale", "wsc/chat", "--replicas=3"]).await?;
    let object = cluster.until("Ready", "False", SOON).await?;
    assert_eq!((&object["status"]["desiredReplicas"], &object["spec"]["replicas"]), (&json!(4), &json!(3)));
    assert_ne!(condition(&object, "AutoscalingActive")["reason"], "Disabled");
    ns.kubectl.run(&["scale", "wsc/chat", "--replicas=0"]).await?;
    let object = ns.until(WSC_CLUSTER, "chat", "none", SOON, desired(0)).await?;
    assert_eq!(condition(&object, "AutoscalingActive")["reason"], "NoReplicas");
    ns.until(STATEFUL_SET, "chat", "no replicas", SOON, |set| set["spec"]["replicas"] == 0).await?;
    ns.kubectl.run(&["scale", "wsc/chat", "--replicas=3"]).await?;
    ns.until(STATEFUL_SET, "chat", "it starts where the spec says", SOON, |set| set["spec"]["replicas"] == 3)
        .await?;
    Ok(())
}
