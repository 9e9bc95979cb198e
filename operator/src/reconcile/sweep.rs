//! Children that are no longer wanted, by label and owner.

use std::collections::BTreeSet;

use kube::api::{DeleteParams, Preconditions};

use super::apply::Applier;
use super::error::{ReconcileError, status_code};
use super::memory::{ChildKey, ClusterMemory};

/// Deletes every watched child of the resource that is not in `wanted`. Returns what was deleted.
///
/// # Errors
/// When the API server cannot be reached or refuses.
pub async fn sweep(
    applier: &Applier<'_>,
    cluster: &str,
    wanted: &BTreeSet<ChildKey>,
    memory: &mut ClusterMemory,
) -> Result<Vec<ChildKey>, ReconcileError> {
    let mut swept = Vec::new();
    for (resource, object) in applier.caches.children_of(applier.namespace, cluster) {
        let metadata = &object.metadata;
        let (Some(name), Some(uid)) = (&metadata.name, &metadata.uid) else {
            continue;
        };
        let key = (resource.kind.clone(), name.clone());
        let ours = metadata
            .owner_references
            .as_deref()
            .unwrap_or_default()
            .iter()
            .any(|owner| owner.uid == applier.owner);
        if !ours || wanted.contains(&key) || metadata.deletion_timestamp.is_some() {
            continue;
        }
        let delete = DeleteParams {
            preconditions: Some(Preconditions { uid: Some(uid.clone()), resource_version: None }),
            ..DeleteParams::background()
        };
        match applier.api(resource).delete(name, &delete).await {
            Ok(_) => {
                applier.metrics.wrote("delete", &resource.kind);
                tracing::info!(
                    namespace = applier.namespace,
                    kind = resource.kind,
                    child = name,
                    "no longer wanted, deleted"
                );
                swept.push(key.clone());
            }
            // Gone, or another object has the name by now.
            Err(error) if matches!(status_code(&error), Some(404 | 409)) => {}
            Err(error) => {
                return Err(ReconcileError::api(format!("deleting {} {name}", resource.kind))(error));
            }
        }
        memory.applied.remove(&key);
    }
    Ok(swept)
}
