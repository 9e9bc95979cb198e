//! Kinds of objects, and objects as JSON.

use anyhow::{Context as _, Result, bail};
use http::{Method, Request};
use kube::Client;
use serde_json::Value;

/// A namespaced kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resource {
    /// Group and version as in a path, such as `apis/apps/v1`.
    pub api: &'static str,
    /// The plural name in paths.
    pub plural: &'static str,
    /// The kind.
    pub kind: &'static str,
}

const fn resource(api: &'static str, plural: &'static str, kind: &'static str) -> Resource {
    Resource { api, plural, kind }
}

/// Pods.
pub const POD: Resource = resource("api/v1", "pods", "Pod");
/// Services.
pub const SERVICE: Resource = resource("api/v1", "services", "Service");
/// Secrets.
pub const SECRET: Resource = resource("api/v1", "secrets", "Secret");
/// Service accounts.
pub const SERVICE_ACCOUNT: Resource = resource("api/v1", "serviceaccounts", "ServiceAccount");
/// Config maps.
pub const CONFIG_MAP: Resource = resource("api/v1", "configmaps", "ConfigMap");
/// Persistent volume claims.
pub const VOLUME_CLAIM: Resource = resource("api/v1", "persistentvolumeclaims", "PersistentVolumeClaim");
/// Stateful sets.
pub const STATEFUL_SET: Resource = resource("apis/apps/v1", "statefulsets", "StatefulSet");
/// Revisions of stateful sets.
pub const CONTROLLER_REVISION: Resource =
    resource("apis/apps/v1", "controllerrevisions", "ControllerRevision");
/// Disruption budgets.
pub const DISRUPTION_BUDGET: Resource =
    resource("apis/policy/v1", "poddisruptionbudgets", "PodDisruptionBudget");
/// Ingresses.
pub const INGRESS: Resource = resource("apis/networking.k8s.io/v1", "ingresses", "Ingress");
/// Network policies.
pub const NETWORK_POLICY: Resource =
    resource("apis/networking.k8s.io/v1", "networkpolicies", "NetworkPolicy");
/// Horizontal pod autoscalers.
pub const AUTOSCALER: Resource =
    resource("apis/autoscaling/v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler");
/// Pod monitors of the prometheus-operator.
pub const POD_MONITOR: Resource = resource("apis/monitoring.coreos.com/v1", "podmonitors", "PodMonitor");
/// Rules of the prometheus-operator.
pub const PROMETHEUS_RULE: Resource =
    resource("apis/monitoring.coreos.com/v1", "prometheusrules", "PrometheusRule");
/// Routes of the Gateway API.
pub const HTTP_ROUTE: Resource = resource("apis/gateway.networking.k8s.io/v1", "httproutes", "HTTPRoute");
/// Events.
pub const EVENT: Resource = resource("apis/events.k8s.io/v1", "events", "Event");
/// Leases, such as the one of the operator that leads.
pub const LEASE: Resource = resource("apis/coordination.k8s.io/v1", "leases", "Lease");
/// The resource this project is about.
pub const WSC_CLUSTER: Resource = resource("apis/wsc.dev/v1alpha1", "wscclusters", "WscCluster");

/// Every kind that the operator may make.
pub const CHILDREN: [Resource; 9] = [
    SERVICE_ACCOUNT,
    SECRET,
    SERVICE,
    CONFIG_MAP,
    NETWORK_POLICY,
    DISRUPTION_BUDGET,
    STATEFUL_SET,
    AUTOSCALER,
    INGRESS,
];

impl Resource {
    /// The path of all objects in a namespace, or of one.
    #[must_use]
    pub fn path(&self, namespace: &str, name: &str) -> String {
        let end = if name.is_empty() { String::new() } else { format!("/{name}") };
        format!("/{}/namespaces/{namespace}/{}{end}", self.api, self.plural)
    }
}

/// Sends one request; `None` when there is no such object.
///
/// # Errors
/// When the API server refuses, with its message.
pub async fn call(
    client: &Client,
    method: Method,
    path: &str,
    body: Option<(&str, &Value)>,
) -> Result<Option<Value>> {
    let mut request = Request::builder().method(method.clone()).uri(path);
    let mut bytes = Vec::new();
    if let Some((content_type, body)) = body {
        request = request.header("content-type", content_type);
        bytes = serde_json::to_vec(body)?;
    }
    match client.request::<Value>(request.body(bytes)?).await {
        Ok(value) => Ok(Some(value)),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
        Err(kube::Error::Api(status)) => {
            bail!("{method} {path}: {} {}: {}", status.code, status.reason, status.message)
        }
        Err(error) => Err(error).with_context(|| format!("{method} {path}")),
    }
}
