//! What others wrote into the spec of a child beside what the operator asks for.
//!
//! Server-side apply puts back every field that the operator owns, but leaves alone what somebody
//! else added: a second port of a Service, `minAvailable` of a PodDisruptionBudget, which even makes
//! ours invalid. The API server's list of managed fields says whose each field is.

use kube::api::DynamicObject;
use serde_json::{Map, Value};

use super::apply::FIELD_MANAGER;

/// Never removed: load balancers and the API server itself write them into a Service, and
/// `metadata` of a pod template is where `kubectl rollout restart` leaves its mark.
const LEFT_ALONE: [&str; 9] = [
    "metadata",
    "clusterIP",
    "clusterIPs",
    "externalIPs",
    "healthCheckNodePort",
    "ipFamilies",
    "ipFamilyPolicy",
    "loadBalancerIP",
    "nodePort",
];

/// The merge patch that takes out of `spec` what others put there; `None` when there is nothing.
/// A list that holds more than it should is given back whole.
#[must_use]
pub fn removal(live: &DynamicObject, desired: &Value) -> Option<Value> {
    let wanted = desired.get("spec")?;
    let mut spec = Map::new();
    let entries = live.metadata.managed_fields.as_deref().unwrap_or_default();
    for entry in entries {
        if entry.manager.as_deref() == Some(FIELD_MANAGER)
            || entry.subresource.as_deref().is_some_and(|name| !name.is_empty())
        {
            continue;
        }
        let Some(fields) = entry.fields_v1.as_ref().and_then(|fields| fields.0.get("f:spec")) else {
            continue;
        };
        merge(&mut spec, excess(fields, wanted));
    }
    (!spec.is_empty()).then(|| serde_json::json!({ "spec": spec }))
}

fn merge(into: &mut Map<String, Value>, from: Map<String, Value>) {
    for (name, value) in from {
        match (into.get_mut(&name), value) {
            (Some(Value::Object(before)), Value::Object(more)) => merge(before, more),
            (_, value) => {
                into.insert(name, value);
            }
        }
    }
}

/// Fields of an object with their names and what is owned below them.
fn named(fields: &Value) -> impl Iterator<Item = (&str, &Value)> {
    fields
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(key, below)| key.strip_prefix("f:").map(|name| (name, below)))
        .filter(|(name, _)| !LEFT_ALONE.contains(name))
}

fn excess(fields: &Value, wanted: &Value) -> Map<String, Value> {
    let mut patch = Map::new();
    for (name, below) in named(fields) {
        match wanted.get(name) {
            None | Some(Value::Null) => {
                patch.insert(name.to_owned(), Value::Null);
            }
            Some(object @ Value::Object(_)) => {
                let inner = excess(below, object);
                if !inner.is_empty() {
                    patch.insert(name.to_owned(), Value::Object(inner));
                }
            }
            Some(list @ Value::Array(items)) if list_exceeds(below, items) => {
                patch.insert(name.to_owned(), list.clone());
            }
            Some(_) => {}
        }
    }
    patch
}

/// Whether a list has an item, or an item a field, that is not asked for.
fn list_exceeds(fields: &Value, items: &[Value]) -> bool {
    fields.as_object().into_iter().flatten().any(|(key, below)| {
        if let Some(value) = key.strip_prefix("v:") {
            return serde_json::from_str::<Value>(value).is_ok_and(|value| !items.contains(&value));
        }
        let Some(keys) = key.strip_prefix("k:").and_then(|keys| serde_json::from_str::<Value>(keys).ok())
        else {
            return false;
        };
        let is_it = |item: &&Value| {
            let mut keys = keys.as_object().into_iter().flatten();
            keys.all(|(name, value)| item.get(name).is_none_or(|own| own == value))
        };
        items.iter().find(is_it).is_none_or(|item| item_exceeds(below, item))
    })
}

fn item_exceeds(fields: &Value, item: &Value) -> bool {
    named(fields).any(|(name, below)| match item.get(name) {
        None | Some(Value::Null) => true,
        Some(object @ Value::Object(_)) => item_exceeds(below, object),
        Some(Value::Array(items)) => list_exceeds(below, items),
        Some(_) => false,
    })
}

#[cfg(test)]
mod tests {
    use kube::api::DynamicObject;
    use serde_json::{Value, json};

    use super::removal;

    fn live(manager: &str, fields: &Value) -> DynamicObject {
        serde_json::from_value(json!({"metadata": {"managedFields": [
            {"manager": "wsc-operator", "operation": "Apply", "fieldsType": "FieldsV1",
             "fieldsV1": {"f:spec": {"f:ours": {}}}},
            {"manager": "kube-controller-manager", "operation": "Update", "subresource": "status",
             "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {"f:odd": {}}}},
            {"manager": manager, "operation": "Update", "fieldsType": "FieldsV1",
             "fieldsV1": {"f:spec": fields}}
        ]}}))
        .unwrap()
    }

    #[test]
    fn a_field_that_is_not_asked_for_is_removed() {
        let wanted = json!({"spec": {"maxUnavailable": 1}});
        let patch = removal(&live("kubectl-patch", &json!({"f:minAvailable": {}})), &wanted);
        assert_eq!(patch, Some(json!({"spec": {"minAvailable": null}})));
    }

    #[test]
    fn a_list_with_an_item_too_many_is_given_back_whole() {
        let wanted = json!({"spec": {"ports": [{"name": "client", "port": 80, "protocol": "TCP"}]}});
        let more = json!({"f:ports": {"k:{\"port\":99,\"protocol\":\"TCP\"}": {".": {}, "f:port": {}}}});
        let patch = removal(&live("kubectl-patch", &more), &wanted);
        assert_eq!(patch, Some(json!({"spec": {"ports": wanted["spec"]["ports"]}})));
        let same = json!({"f:ports": {"k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:name": {}}}});
        assert_eq!(removal(&live("kubectl-patch", &same), &wanted), None);
    }

    #[test]
    fn a_variable_added_to_a_container_is_removed() {
        let wanted = json!({"spec": {"template": {"spec": {"containers": [
            {"name": "hub", "env": [{"name": "A", "value": "1"}]}
        ]}}}});
        let added = |name: &str| {
            json!({"f:template": {"f:spec": {"f:containers": {"k:{\"name\":\"hub\"}": {
                "f:env": {format!("k:{{\"name\":\"{name}\"}}"): {".": {}, "f:value": {}}}
            }}}}})
        };
        assert_eq!(removal(&live("kubectl-set", &added("A")), &wanted), None);
        assert_eq!(removal(&live("kubectl-set", &added("B")), &wanted), Some(wanted.clone()));
    }

    #[test]
    fn what_platforms_write_and_restart_marks_stay() {
        let wanted = json!({"spec": {"type": "LoadBalancer", "template": {"metadata": {}}}});
        for fields in [
            json!({"f:loadBalancerIP": {}}),
            json!({"f:template": {"f:metadata": {"f:annotations": {"f:restartedAt": {}}}}}),
            json!({"f:type": {}}),
        ] {
            assert_eq!(removal(&live("controller", &fields), &wanted), None, "{fields}");
        }
        assert_eq!(removal(&live("wsc-operator", &json!({"f:other": {}})), &wanted), None);
    }
}
