//! The reference of all fields, written from the definition.

use std::fmt::Write;

use serde_json::Value;

use super::definition::{DefinitionError, definition};

/// Depth at which parts that Kubernetes itself documents are cut off.
const KUBERNETES_PARTS: &[&str] = &[
    "spec.hub.env[].valueFrom",
    "spec.pod.affinity",
    "spec.pod.resources",
    "spec.pod.tolerations[]",
    "spec.pod.topologySpreadConstraints[]",
    "spec.redis.managed.resources",
    "spec.security.networkPolicy.apiFrom[]",
    "spec.security.networkPolicy.clientFrom[]",
    "spec.security.networkPolicy.metricsFrom[]",
];

/// A Markdown document with one table of the spec, one of the status and the list of rules.
///
/// # Errors
/// When the definition itself cannot be made.
pub fn markdown() -> Result<String, DefinitionError> {
    let definition = serde_json::to_value(definition()?)?;
    let root = definition
        .pointer("/spec/versions/0/schema/openAPIV3Schema")
        .ok_or(DefinitionError::Missing("schema"))?;
    let mut text = String::from(
        "# WscCluster reference\n\n\
         <!-- Written by `crdgen --docs`; do not edit. -->\n\n\
         `apiVersion: wsc.dev/v1alpha1`, `kind: WscCluster`, namespaced, short name `wsc`. The same text is shown by \
         `kubectl explain wsc.spec` and below. Fields of Kubernetes' own types are not repeated here.\n",
    );
    for part in ["spec", "status"] {
        let schema = root.pointer(&format!("/properties/{part}")).ok_or(DefinitionError::Missing(part))?;
        let mut rows = Vec::new();
        let mut rules = Vec::new();
        collect(part, schema, &mut rows, &mut rules);
        push(&mut text, &format!("\n## {part}\n\n{}\n\n", description(schema)));
        push(&mut text, "| field | type | default | meaning |\n|---|---|---|---|\n");
        rows.iter().for_each(|row| push(&mut text, row));
        if !rules.is_empty() {
            push(
                &mut text,
                &format!("\n### Rules of {part}\n\nThe API server refuses what breaks one of these.\n\n"),
            );
            rules.iter().for_each(|rule| push(&mut text, rule));
        }
    }
    let mut rules = Vec::new();
    own_rules("metadata", root, &mut rules);
    push(&mut text, "\n## metadata\n\n");
    rules.iter().for_each(|rule| push(&mut text, rule));
    Ok(text)
}

fn push(text: &mut String, part: &str) {
    text.push_str(part);
}

fn collect(path: &str, schema: &Value, rows: &mut Vec<String>, rules: &mut Vec<String>) {
    own_rules(path, schema, rules);
    if KUBERNETES_PARTS.contains(&path) {
        return;
    }
    if let Some(items) = schema.get("items") {
        collect(&format!("{path}[]"), items, rows, rules);
    }
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return };
    for (name, property) in properties {
        let path = format!("{path}.{name}");
        let default = match property.get("default") {
            None => String::new(),
            Some(Value::Object(_))
                if property.get("properties").is_some() && !KUBERNETES_PARTS.contains(&path.as_str()) =>
            {
                "see below".to_owned()
            }
            Some(default) => format!("`{default}`"),
        };
        rows.push(format!(
            "| `{path}` | {} | {} | {} |\n",
            type_of(property),
            cell(&default),
            cell(&description(property))
        ));
        collect(&path, property, rows, rules);
    }
}

fn own_rules(path: &str, schema: &Value, rules: &mut Vec<String>) {
    let Some(list) = schema.get("x-kubernetes-validations").and_then(Value::as_array) else { return };
    for rule in list {
        let message = rule.get("message").and_then(Value::as_str).unwrap_or_default();
        let mut line = String::new();
        // Writing into a String cannot fail.
        let _ = writeln!(line, "- `{path}`: {message}.");
        rules.push(line);
    }
}

fn type_of(schema: &Value) -> String {
    if schema.get("x-kubernetes-int-or-string").is_some() {
        return "quantity".to_owned();
    }
    let name = schema.get("type").and_then(Value::as_str).unwrap_or("any");
    match (name, schema.get("enum").and_then(Value::as_array)) {
        (_, Some(values)) => {
            let words: Vec<String> = values.iter().map(|value| cell(&format!("`{value}`"))).collect();
            words.join(" ")
        }
        ("array", None) => {
            format!("list of {}", schema.get("items").map_or_else(|| "any".to_owned(), type_of))
        }
        ("object", None) if schema.get("additionalProperties").is_some() => "map".to_owned(),
        _ => name.to_owned(),
    }
}

fn description(schema: &Value) -> String {
    schema.get("description").and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// Text that does not end a table cell early.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}
