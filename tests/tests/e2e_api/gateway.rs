//! Exposure by a Gateway: the HTTPRoute that the Gateway API's own definition accepts, and what its controller says of it.

use std::time::Duration;

use anyhow::Result;
use http::Method;
use serde_json::json;
use wsc_tests::kubernetes::{
    go_module::GATEWAY_API,
    operator_process::OperatorProcess,
    resource::{HTTP_ROUTE, WSC_CLUSTER, call},
    wsc_cluster::{TestCluster, condition},
};

use crate::{
    monitoring::{install, served},
    stage::{SOON, namespace, smallest},
};

#[tokio::test]
async fn a_route_is_made_when_the_gateway_api_is_there_and_its_controller_has_the_last_word() -> Result<()> {
    let ns = namespace("gateway").await?;
    let _operator = OperatorProcess::start_with(&ns, &[("WSC_RESYNC", "10s")]).await?;
    let mut spec = smallest();
    spec["exposure"] = json!({
        "type": "Gateway", "gatewayRef": {"name": "edge", "sectionName": "web"},
        "hosts": [{"host": "chat.example.org"}, {"host": "old.example.org", "paths": ["/socket"]}],
        "annotations": {"example.org/mine": "yes"}
    });
    let cluster = TestCluster::create(&ns, "chat", &spec).await?;
    let reason = async |wanted: &str, within: Duration| {
        ns.until(WSC_CLUSTER, "chat", &format!("ExposureReady says {wanted}"), within, |object| {
            condition(object, "ExposureReady")["reason"] == wanted
        })
        .await
    };
    reason("GatewayApiMissing", SOON).await?;
    install(&ns, GATEWAY_API, "config/crd/standard", &["gateway.networking.k8s.io_httproutes"]).await?;
    served(&ns, HTTP_ROUTE).await?;
    let route = ns.until(HTTP_ROUTE, "chat", "a route is made", Duration::from_secs(30), |_| true).await?;
    assert_eq!(route["spec"]["hostnames"], json!(["chat.example.org"]));
    assert_eq!(route["spec"]["parentRefs"][0]["sectionName"], "web");
    assert_eq!(route["spec"]["rules"][0]["backendRefs"][0]["name"], "chat");
    assert_eq!(route["metadata"]["annotations"]["example.org/mine"], "yes");
    let other =
        ns.until(HTTP_ROUTE, "chat-2", "other paths get a route of their own", SOON, |_| true).await?;
    assert_eq!(other["spec"]["rules"][0]["matches"][0]["path"]["value"], "/socket");
    reason("RoutePending", SOON).await?;

    // What a controller would write.
    let says = async |name: &str, status: &str| {
        let parent = json!({
            "parentRef": {"name": "edge"}, "controllerName": "example.org/gateway",
            "conditions": [{"type": "Accepted", "status": status, "reason": "NotAllowedByListeners",
                            "message": "the listener takes no routes from here",
                            "lastTransitionTime": "2026-01-01T00:00:00Z"}]
        });
        let path = format!("{}/status", HTTP_ROUTE.path(&ns.name, name));
        let body = json!({"status": {"parents": [parent]}});
        call(&ns.client, Method::PATCH, &path, Some(("application/merge-patch+json", &body))).await
    };
    says("chat", "True").await?;
    says("chat-2", "False").await?;
    let object = reason("RouteNotAccepted", SOON).await?;
    let message = condition(&object, "ExposureReady")["message"].as_str().unwrap_or_default();
    assert!(message.contains("chat-2") && message.contains("takes no routes from here"), "{message}");
    says("chat-2", "True").await?;
    reason("AsExpected", SOON).await?;

    cluster.change(&json!({"exposure": {"affinity": {"type": "Cookie"}}})).await?;
    reason("Unsupported", SOON).await?;
    cluster.change(&json!({"exposure": {"type": "None", "affinity": {"type": "None"}}})).await?;
    ns.gone(HTTP_ROUTE, "chat", SOON).await?;
    ns.gone(HTTP_ROUTE, "chat-2", SOON).await?;
    Ok(())
}

#[tokio::test]
async fn a_gateway_must_be_named() -> Result<()> {
    let ns = namespace("gateway").await?;
    let spec = json!({"redis": {"managed": {}}, "exposure": {"type": "Gateway"}});
    let refusal = TestCluster::create(&ns, "chat", &spec).await.err().map(|error| error.to_string());
    assert!(refusal.as_ref().is_some_and(|text| text.contains("needs exposure.gatewayRef")), "{refusal:?}");
    Ok(())
}
