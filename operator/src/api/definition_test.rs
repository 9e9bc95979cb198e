//! The definition as the API server will see it.

use std::collections::BTreeSet;

use serde_json::Value;

use super::definition::{definition, yaml};
use super::hub::MANAGED_ENV;

fn schema() -> Value {
    let definition = serde_json::to_value(definition().unwrap()).unwrap();
    definition.pointer("/spec/versions/0/schema/openAPIV3Schema").unwrap().clone()
}

/// Calls `visit` with every schema and its path; list items are `[]`, map values `{}`.
fn walk(path: &str, schema: &Value, visit: &mut dyn FnMut(&str, &Value)) {
    visit(path, schema);
    if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
        for (name, property) in properties {
            walk(&format!("{path}.{name}"), property, visit);
        }
    }
    if let Some(items) = schema.get("items") {
        walk(&format!("{path}[]"), items, visit);
    }
    if let Some(values) = schema.get("additionalProperties").filter(|values| values.is_object()) {
        walk(&format!("{path}{{}}"), values, visit);
    }
}

fn rules(schema: &Value) -> Vec<(String, Value)> {
    let mut rules = Vec::new();
    walk("", schema, &mut |path, schema| {
        if let Some(list) = schema.get("x-kubernetes-validations").and_then(Value::as_array) {
            rules.extend(list.iter().map(|rule| (path.to_owned(), rule.clone())));
        }
    });
    rules
}

fn at<'a>(schema: &'a Value, path: &str) -> Option<&'a Value> {
    let mut here = schema;
    for part in path.split('.').filter(|part| !part.is_empty()) {
        here = here.get("properties")?.get(part)?;
    }
    Some(here)
}

#[test]
fn every_rule_is_in_the_definition_with_a_message() {
    let rules = rules(&schema());
    let places: BTreeSet<&str> = rules.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(
        places,
        BTreeSet::from([
            "",
            ".spec.autoscaling",
            ".spec.drain",
            ".spec.exposure",
            ".spec.hub",
            ".spec.monitoring",
            ".spec.redis",
            ".spec.services"
        ])
    );
    assert_eq!(rules.len(), 38, "a rule was lost or added: {rules:#?}");
    for (path, rule) in &rules {
        let message = rule["message"].as_str().unwrap_or_default();
        assert!(message.len() > 20, "{path}: '{}' needs a sentence", rule["rule"]);
    }
}

#[test]
fn the_env_rule_names_every_variable_of_the_operator() {
    let rules = rules(&schema());
    let rule = rules
        .iter()
        .find_map(|(_, rule)| rule["rule"].as_str().filter(|text| text.contains("WSC_NODE_ID")))
        .unwrap();
    for name in MANAGED_ENV {
        assert!(rule.contains(&format!("'{name}'")), "{name}");
    }
}

/// Dotted paths below `variable.` in a CEL expression; a last part that is called is a method, not a field.
fn paths<'a>(expression: &'a str, variable: &str) -> Vec<&'a str> {
    let prefix = format!("{variable}.");
    let mut found = Vec::new();
    let mut offset = 0;
    while let Some(start) = expression[offset..].find(&prefix) {
        let begin = offset + start;
        let inside_word = expression[..begin]
            .chars()
            .next_back()
            .is_some_and(|c| c.is_ascii_alphanumeric() || c == '.' || c == '\'');
        let rest = &expression[begin + prefix.len()..];
        let length = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '.')).unwrap_or(rest.len());
        let mut path = &rest[..length];
        if rest[length..].starts_with('(') {
            path = path.rsplit_once('.').map_or("", |(field, _)| field);
        }
        if !inside_word && !path.is_empty() {
            found.push(path);
        }
        offset = begin + prefix.len();
    }
    found
}

fn assert_bounded(schema: &Value, what: &str) {
    let bound = match schema["type"].as_str() {
        Some("string") if schema.get("enum").is_some() => return,
        Some("string") => "maxLength",
        Some("array") => "maxItems",
        Some("object") if schema.get("additionalProperties").is_some() => "maxProperties",
        _ => return,
    };
    assert!(schema.get(bound).is_some(), "{what} is read by a rule and needs {bound}");
}

#[test]
fn everything_that_a_rule_reads_is_bounded() {
    let root = schema();
    let mut read = 0;
    for (place, rule) in rules(&root) {
        let scope = at(&root, &place).unwrap();
        let expression = rule["rule"].as_str().unwrap();
        for path in paths(expression, "self").into_iter().filter(|path| *path != "metadata.name") {
            let field =
                at(scope, path).unwrap_or_else(|| panic!("{place}: no field {path} for '{expression}'"));
            assert_bounded(field, &format!("{place}.{path}"));
            if let Some(items) = field.get("items") {
                for inner in paths(expression, "e") {
                    let inner_field =
                        at(items, inner).unwrap_or_else(|| panic!("{place}.{path}[]: no field {inner}"));
                    assert_bounded(inner_field, &format!("{place}.{path}[].{inner}"));
                }
            }
            read += 1;
        }
    }
    assert!(read > 30, "only {read} fields found in rules: the test no longer understands them");
}

#[test]
fn the_definition_fits_into_an_annotation_of_kubectl_apply() {
    let size = serde_json::to_string(&definition().unwrap()).unwrap().len();
    assert!(size < 200 * 1024, "{size} bytes");
    assert!(yaml().unwrap().starts_with("apiVersion: apiextensions.k8s.io/v1\n"));
}

#[test]
fn a_fresh_resource_is_not_taken_for_ready() {
    assert_eq!(schema()["properties"]["status"]["default"], serde_json::json!({ "observedGeneration": -1 }));
    walk("status", &schema()["properties"]["status"]["properties"]["connections"], &mut |path, schema| {
        assert!(schema.get("default").is_none(), "{path} shows a number before anybody measured it");
    });
}

#[test]
fn defaults_are_nested_at_every_level() {
    let schema = schema();
    for (path, expected) in [
        ("spec.replicas", serde_json::json!(3)),
        ("spec.hub.maxConnections", serde_json::json!(50_000)),
        ("spec.hub.heartbeat", serde_json::json!({ "interval": "10s", "lease": "30s" })),
        ("spec.hub.heartbeat.lease", serde_json::json!("30s")),
        ("spec.hub.limits.onExcess", serde_json::json!("CloseOldest")),
        ("spec.hub.inbox.maxBytes", serde_json::json!("1Mi")),
        ("spec.hub.inbox.ttl", serde_json::json!("168h")),
        ("spec.hub.events.enabled", serde_json::json!(false)),
        ("spec.hub.auth.mode", serde_json::json!("Token")),
        ("spec.redis.managed.persistence", serde_json::json!("None")),
        ("spec.redis.managed.storage.size", serde_json::json!("1Gi")),
        ("spec.redis.keyPrefix", serde_json::json!("")),
        ("spec.autoscaling.mode", serde_json::json!("Disabled")),
        ("spec.autoscaling.targetCPUUtilization", serde_json::json!(70)),
        ("spec.autoscaling.scaleDown.stabilization", serde_json::json!("10m")),
        ("spec.rollout.maxUnavailable", serde_json::json!(1)),
        ("spec.rollout.progressDeadline", serde_json::json!("20m")),
        ("spec.drain.ratePerSecond", serde_json::json!(200)),
        ("spec.drain.settle", serde_json::json!("5s")),
        ("spec.drain.timeout", serde_json::json!("10m")),
        ("spec.drain.retryAfterMax", serde_json::json!("1s")),
        ("spec.drain.terminationGracePeriod", serde_json::json!("120s")),
        ("spec.exposure.affinity.cookieName", serde_json::json!("wsc-session")),
        ("spec.security.networkPolicy.enabled", serde_json::json!(true)),
        ("spec.pod.resources", serde_json::json!({ "requests": { "cpu": "250m", "memory": "128Mi" } })),
    ] {
        assert_eq!(at(&schema, path).unwrap()["default"], expected, "{path}");
    }
    assert_eq!(at(&schema, "spec.hub").unwrap()["default"]["heartbeat"]["lease"], "30s");
    assert_eq!(at(&schema, "spec.services").unwrap()["default"]["client"]["port"], 80);
}

#[test]
fn the_image_has_no_default_in_the_schema() {
    let schema = schema();
    for field in ["repository", "tag", "digest"] {
        assert!(at(&schema, &format!("spec.image.{field}")).unwrap().get("default").is_none(), "{field}");
    }
}

#[test]
fn quantities_are_checked_when_the_resource_is_written() {
    let mut checked = 0;
    walk("", &schema(), &mut |path, schema| {
        if path.ends_with("resources.requests{}") || path.ends_with("resources.limits{}") {
            let pattern = schema.get("pattern").and_then(Value::as_str).unwrap_or_default();
            assert!(pattern.contains("[KMGTPE]i"), "{path}");
            checked += 1;
        }
    });
    assert_eq!(checked, 4, "requests and limits of the hub and of Redis");
}

#[test]
fn every_field_is_described_and_none_is_nullable() {
    walk("", &schema(), &mut |path, schema| {
        assert!(schema.get("nullable").is_none(), "{path} is nullable");
        let format = schema.get("format").and_then(Value::as_str).unwrap_or_default();
        assert!(!format.starts_with("uint"), "{path} has the unknown format {format}");
        let is_field = !path.is_empty() && !path.ends_with("[]") && !path.ends_with("{}");
        let standard = [".apiVersion", ".kind", ".metadata"].contains(&path);
        if is_field && !standard {
            let description = schema.get("description").and_then(Value::as_str).unwrap_or_default();
            assert!(description.len() > 10, "{path} needs a description");
        }
    });
}

#[test]
fn names_columns_and_scale_are_as_documented() {
    let definition = serde_json::to_value(definition().unwrap()).unwrap();
    assert_eq!(definition["metadata"]["name"], "wscclusters.wsc.dev");
    assert_eq!(definition["spec"]["names"]["shortNames"], serde_json::json!(["wsc"]));
    assert_eq!(definition["spec"]["names"]["categories"], serde_json::json!(["wsc"]));
    let version = &definition["spec"]["versions"][0];
    assert_eq!(version["subresources"]["scale"]["labelSelectorPath"], ".status.selector");
    let columns = |wide: bool| -> Vec<&str> {
        version["additionalPrinterColumns"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|column| (column["priority"] == 1) == wide)
            .map(|column| column["name"].as_str().unwrap())
            .collect()
    };
    assert_eq!(columns(false), ["Ready", "Nodes", "Desired", "Connections", "Phase", "Age"]);
    assert_eq!(columns(true), ["Operation", "Redis", "Endpoint", "Image"]);
}
