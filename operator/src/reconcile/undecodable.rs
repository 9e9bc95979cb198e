//! Resources that this release cannot read, for example written by a newer definition. They are
//! told so, and do not stop the others.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::{ApiResource, error_boundary::InvalidObject};
use serde_json::{Value, json};

use crate::api::WscCluster;
use crate::api::conditions::{self, ConditionStatus, reasons};
use crate::observe::metrics::Metrics;

use super::apply::FIELD_MANAGER;
use super::error::ReconcileError;

/// Writes `SpecValid=False/Undecodable` and `Ready=False`, unless they are there already.
///
/// # Errors
/// When the API server cannot be reached or refuses.
pub async fn report(
    client: &Client,
    metrics: &Metrics,
    invalid: &InvalidObject,
) -> Result<(), ReconcileError> {
    let (Some(namespace), Some(name)) =
        (invalid.metadata.namespace.as_deref(), invalid.metadata.name.as_deref())
    else {
        return Err(ReconcileError::Incomplete("name"));
    };
    let resource = ApiResource::erase::<WscCluster>(&());
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
    let Some(object) =
        api.get_opt(name).await.map_err(ReconcileError::api("reading an undecodable resource"))?
    else {
        return Ok(());
    };
    let before = present_conditions(&object.data);
    let generation = object.metadata.generation.unwrap_or_default();
    let after = told(&before, &invalid.error, generation, Timestamp::now());
    if before == after {
        return Ok(());
    }
    tracing::warn!(namespace, name, "the resource cannot be read: {}", invalid.error);
    metrics.wrote("patch", "WscCluster/status");
    let patch = json!({
        "metadata": {"resourceVersion": object.metadata.resource_version},
        "status": {"phase": "Invalid", "conditions": after},
    });
    api.patch_status(
        name,
        &PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() },
        &Patch::Merge(patch),
    )
    .await
    .map_err(ReconcileError::api("writing the status"))?;
    Ok(())
}

/// Conditions that can be read; the rest of the status may be what cannot.
fn present_conditions(data: &Value) -> Vec<Condition> {
    data["status"]["conditions"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|condition| serde_json::from_value(condition.clone()).ok())
        .collect()
}

fn told(before: &[Condition], error: &str, generation: i64, now: Timestamp) -> Vec<Condition> {
    let message = format!(
        "this operator cannot read the resource: {error}; correct the named field, or run the operator release that matches the installed definition"
    );
    let mut after = before.to_vec();
    for type_ in [conditions::READY, conditions::SPEC_VALID] {
        conditions::set(
            &mut after,
            type_,
            ConditionStatus::False,
            reasons::UNDECODABLE,
            &message,
            generation,
            &Time(now),
        );
    }
    after
}

#[cfg(test)]
mod tests {
    use k8s_openapi::jiff::Timestamp;
    use serde_json::json;

    use super::{present_conditions, told};

    #[test]
    fn the_field_is_named_and_telling_again_changes_nothing() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let first = told(&[], "invalid type: string, expected i32", 3, at(10));
        assert_eq!(first.len(), 2);
        assert!(first.iter().all(|condition| condition.status == "False"));
        assert!(first[0].message.contains("expected i32"));
        assert_eq!(told(&first, "invalid type: string, expected i32", 3, at(99)), first);
    }

    #[test]
    fn unreadable_conditions_are_dropped_and_good_ones_kept() {
        let data = json!({"status": {"conditions": [
            {"type": "Ready"},
            {"type": "Degraded", "status": "True", "reason": "R", "message": "m",
             "lastTransitionTime": "2026-01-01T00:00:00Z"}
        ]}});
        let kept = present_conditions(&data);
        assert_eq!(kept.len(), 1);
        assert_eq!(kept[0].type_, "Degraded");
        assert!(present_conditions(&json!({})).is_empty());
    }
}
