//! A HorizontalPodAutoscaler works on the resource through its scale subresource.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;
use wsc_tests::kubernetes::{
    resource::{AUTOSCALER, STATEFUL_SET},
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
