//! The fence, and requests about pods.

use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, Preconditions};
use serde_json::{Value, json};

use crate::api::WscCluster;
use crate::api::status::WscClusterStatus;
use crate::observe::metrics::Metrics;
use crate::observed::pod::HubPod;
use crate::plan::step::Victim;

use super::apply::FIELD_MANAGER;
use super::error::{ReconcileError, status_code};
use super::status::difference;

/// Writes the status, if it changed or if `fence` asks for a write in any case. The write carries
/// the resourceVersion that was planned from: when it fails, nothing may be done.
///
/// Returns whether a request was sent.
///
/// # Errors
/// [`ReconcileError::Stale`] when the resource changed since it was read; others when the API
/// server cannot be reached or refuses.
pub async fn write_status(
    client: &Client,
    metrics: &Metrics,
    cluster: &WscCluster,
    previous: &WscClusterStatus,
    next: &WscClusterStatus,
    fence: bool,
) -> Result<bool, ReconcileError> {
    let change = difference(previous, next)
        .map_err(|source| ReconcileError::Json { what: "the status".to_owned(), source })?;
    let change = match change {
        Some(change) => change,
        None if fence => Value::Object(serde_json::Map::new()),
        None => return Ok(false),
    };
    let (Some(namespace), Some(name)) =
        (cluster.metadata.namespace.as_deref(), cluster.metadata.name.as_deref())
    else {
        return Err(ReconcileError::Incomplete("name"));
    };
    let patch = json!({
        "metadata": {"resourceVersion": cluster.metadata.resource_version},
        "status": change,
    });
    metrics.wrote("patch", "WscCluster/status");
    Api::<WscCluster>::namespaced(client.clone(), namespace)
        .patch_status(
            name,
            &PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() },
            &Patch::Merge(patch),
        )
        .await
        .map_err(ReconcileError::api("writing the status"))?;
    Ok(true)
}

/// Reads the hub pods from the API server rather than from the cache, right before one is deleted.
///
/// # Errors
/// When the API server cannot be reached or refuses.
pub async fn fresh_pods(
    client: &Client,
    namespace: &str,
    selector: &str,
) -> Result<Vec<HubPod>, ReconcileError> {
    let pods = Api::<Pod>::namespaced(client.clone(), namespace)
        .list(&ListParams::default().labels(selector))
        .await
        .map_err(ReconcileError::api("listing the hub pods"))?;
    Ok(pods.items.iter().filter_map(HubPod::read).collect())
}

/// Deletes a pod, bound to its uid. `force` does not wait for anybody on its node; else the pod keeps its own grace.
/// Returns false when that pod was gone.
///
/// # Errors
/// When the API server cannot be reached or refuses.
pub async fn delete_pod(
    client: &Client,
    metrics: &Metrics,
    namespace: &str,
    victim: &Victim,
    force: bool,
) -> Result<bool, ReconcileError> {
    let delete = DeleteParams {
        preconditions: Some(Preconditions { uid: Some(victim.uid.clone()), resource_version: None }),
        grace_period_seconds: force.then_some(0),
        ..DeleteParams::default()
    };
    metrics.wrote("delete", "Pod");
    match Api::<Pod>::namespaced(client.clone(), namespace).delete(&victim.name, &delete).await {
        Ok(_) => Ok(true),
        Err(error) if matches!(status_code(&error), Some(404 | 409)) => Ok(false),
        Err(error) => Err(ReconcileError::api(format!("deleting pod {}", victim.name))(error)),
    }
}
