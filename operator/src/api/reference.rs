//! Names of objects that the spec points at, all in the resource's own namespace.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The name of a Secret in the namespace of the resource.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretRef {
    /// Name of the Secret, in the same namespace.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}
