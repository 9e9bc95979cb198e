//! The CustomResourceDefinition as it is installed.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::{Map, Value, json};
use thiserror::Error;

use super::cluster::WscCluster;

/// Why the definition could not be made. Only a defect of the types in this module can cause it.
#[derive(Debug, Error)]
pub enum DefinitionError {
    /// The generated definition is not JSON or not a definition.
    #[error("custom resource definition is malformed: {0}")]
    Malformed(#[from] serde_json::Error),
    /// A part that must be there is missing.
    #[error("custom resource definition has no {0}")]
    Missing(&'static str),
    /// The definition could not be written as YAML.
    #[error("custom resource definition cannot be written as YAML: {0}")]
    Yaml(#[from] serde_yaml::Error),
}

/// Name of the file that `crdgen` writes.
pub const FILE_NAME: &str = "wscclusters.wsc.dev.yaml";

/// The definition: what the types say, plus what their derives cannot express.
///
/// # Errors
/// When the types generate something that is not a definition; a test rules that out.
pub fn definition() -> Result<CustomResourceDefinition, DefinitionError> {
    let mut value = serde_json::to_value(WscCluster::crd())?;
    let schema = value
        .pointer_mut("/spec/versions/0/schema/openAPIV3Schema")
        .ok_or(DefinitionError::Missing("schema"))?;
    tidy(schema);
    let status = schema
        .pointer_mut("/properties/status")
        .and_then(Value::as_object_mut)
        .ok_or(DefinitionError::Missing("status"))?;
    status.get_mut("properties").into_iter().for_each(strip_defaults);
    // A resource nobody has looked at must not look ready to tools that compare generations.
    status.insert("default".to_owned(), json!({ "observedGeneration": -1 }));
    status
        .insert("description".to_owned(), json!("What the operator last saw. Written by the operator only."));
    Ok(serde_json::from_value(value)?)
}

/// The definition as one YAML document, ready for `kubectl apply`.
///
/// # Errors
/// As [`definition`], and when YAML cannot express it.
pub fn yaml() -> Result<String, DefinitionError> {
    Ok(serde_yaml::to_string(&definition()?)?)
}

/// Kubernetes' own grammar of a quantity: a number, then a binary or decimal suffix or an exponent.
const QUANTITY: &str =
    r"^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+))?$";

/// Makes a generated schema read well and behave well, at every depth:
/// - `nullable` goes: an explicit null then means "not given" and takes the default, and rules may rely on `has()`.
/// - Integer formats that OpenAPI does not know go, since the API server warns about them.
/// - Line breaks inside a paragraph of a description become spaces.
/// - Quantities are checked when the resource is written, and described in a sentence instead of an essay.
fn tidy(schema: &mut Value) {
    let Value::Object(object) = schema else { return };
    object.remove("nullable");
    let unknown_format = object
        .get("format")
        .and_then(Value::as_str)
        .is_some_and(|format| format.starts_with("uint") || format == "int8" || format == "int16");
    if unknown_format {
        object.remove("format");
    }
    if let Some(Value::String(description)) = object.get_mut("description") {
        *description = unwrap_paragraphs(description);
    }
    let is_quantity = object.contains_key("x-kubernetes-int-or-string")
        && object
            .get("description")
            .and_then(Value::as_str)
            .is_some_and(|text| text.starts_with("Quantity is"));
    if is_quantity {
        object.insert("description".to_owned(), json!("A quantity such as `250m`, `2`, `128Mi` or `1Gi`."));
        object.insert("pattern".to_owned(), json!(QUANTITY));
    }
    tidy_values(object, "properties");
    for key in ["items", "additionalProperties"] {
        if let Some(inner) = object.get_mut(key) {
            tidy(inner);
        }
    }
}

/// Defaults below the status would show numbers that nobody has measured.
fn strip_defaults(properties: &mut Value) {
    let Value::Object(properties) = properties else { return };
    for property in properties.values_mut() {
        if let Value::Object(property) = property {
            property.remove("default");
            property.get_mut("properties").into_iter().for_each(strip_defaults);
        }
    }
}

fn tidy_values(object: &mut Map<String, Value>, key: &str) {
    if let Some(Value::Object(properties)) = object.get_mut(key) {
        properties.values_mut().for_each(tidy);
    }
}

fn unwrap_paragraphs(text: &str) -> String {
    text.split("\n\n").map(|paragraph| paragraph.replace('\n', " ")).collect::<Vec<_>>().join("\n\n")
}
