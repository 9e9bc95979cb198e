//! Names of the children. Each begins with the resource's name.

use crate::api::WscCluster;

/// Name of the resource; empty only for an object that was never on an API server.
pub fn cluster(cluster: &WscCluster) -> &str {
    cluster.metadata.name.as_deref().unwrap_or_default()
}

/// Namespace of the resource and all its children; empty only for an object that was never on an API server.
pub fn namespace(cluster: &WscCluster) -> &str {
    cluster.metadata.namespace.as_deref().unwrap_or_default()
}

fn suffixed(resource: &WscCluster, suffix: &str) -> String {
    format!("{}-{suffix}", cluster(resource))
}

/// StatefulSet of the hub; its pods are `<name>-0`, `<name>-1` and so on, which are also the node ids.
pub fn statefulset(resource: &WscCluster) -> String {
    cluster(resource).to_owned()
}

/// Name of the pod with an ordinal.
pub fn pod(resource: &WscCluster, ordinal: i32) -> String {
    format!("{}-{ordinal}", cluster(resource))
}

/// Headless Service that gives pods their DNS names.
pub fn nodes_service(resource: &WscCluster) -> String {
    suffixed(resource, "nodes")
}

/// Service for WebSocket clients.
pub fn client_service(resource: &WscCluster) -> String {
    cluster(resource).to_owned()
}

/// Service for the control API.
pub fn api_service(resource: &WscCluster) -> String {
    suffixed(resource, "api")
}

/// Generated Secret with the key that verifies tokens.
pub fn auth_secret(resource: &WscCluster) -> String {
    suffixed(resource, "auth")
}

/// Generated Secret with the control API's keys.
pub fn api_secret(resource: &WscCluster) -> String {
    suffixed(resource, "api")
}

/// Generated Secret with the managed Redis's password.
pub fn redis_secret(resource: &WscCluster) -> String {
    suffixed(resource, "redis")
}

/// StatefulSet, Service and NetworkPolicy of the managed Redis.
pub fn redis(resource: &WscCluster) -> String {
    suffixed(resource, "redis")
}

/// HorizontalPodAutoscaler of mode HPA.
pub fn autoscaler(resource: &WscCluster) -> String {
    cluster(resource).to_owned()
}

/// ConfigMap with the settings that reach running nodes.
pub fn hot_settings(resource: &WscCluster) -> String {
    suffixed(resource, "hot")
}

/// PodDisruptionBudget of the hub pods.
pub fn pdb(resource: &WscCluster) -> String {
    cluster(resource).to_owned()
}

/// Ingress.
pub fn ingress(resource: &WscCluster) -> String {
    cluster(resource).to_owned()
}

/// The n-th HTTPRoute, counted from 0.
pub fn http_route(resource: &WscCluster, number: usize) -> String {
    if number == 0 { cluster(resource).to_owned() } else { suffixed(resource, &(number + 1).to_string()) }
}

/// PodMonitor and PrometheusRule.
pub fn monitoring(resource: &WscCluster) -> String {
    cluster(resource).to_owned()
}

/// ServiceAccount of the hub pods, unless the spec names another.
pub fn service_account(resource: &WscCluster) -> String {
    suffixed(resource, "hub")
}

/// NetworkPolicy of the hub pods.
pub fn network_policy(resource: &WscCluster) -> String {
    suffixed(resource, "hub")
}

/// NetworkPolicy of the managed Redis.
pub fn redis_network_policy(resource: &WscCluster) -> String {
    suffixed(resource, "redis")
}

/// Secret that holds the keys that verify tokens: the spec's, or the generated one.
pub fn effective_auth_secret(resource: &WscCluster) -> String {
    match &resource.spec.hub.auth.keys_secret_ref {
        Some(reference) => reference.name.clone(),
        None => auth_secret(resource),
    }
}

/// Secret that holds the control API's keys: the spec's, or the generated one.
pub fn effective_api_secret(resource: &WscCluster) -> String {
    match &resource.spec.hub.api_keys_secret_ref {
        Some(reference) => reference.name.clone(),
        None => api_secret(resource),
    }
}
