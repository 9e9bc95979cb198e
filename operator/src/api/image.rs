//! Which image the hub pods run.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::reference::SecretRef;

/// Image of the hub pods. Without repository, tag and digest the operator's own default image is used and kept
/// while the cluster runs, so that upgrading the operator restarts no hub.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ImageSpec {
    /// Repository without tag, such as `registry.example.com/wsc-hub`. Default: the operator's default repository.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 255),
        extend("pattern" = r"^((\[[0-9A-Fa-f:]+\]|[A-Za-z0-9.-]+)(:[0-9]{1,5})?/)?[a-z0-9]+([._-]+[a-z0-9]+)*(/[a-z0-9]+([._-]+[a-z0-9]+)*)*$")
    )]
    pub repository: Option<String>,
    /// Tag. Default: the operator's default tag, or none when a digest is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128), extend("pattern" = "^[A-Za-z0-9_][A-Za-z0-9._-]*$"))]
    pub tag: Option<String>,
    /// Digest such as `sha256:<64 hex digits>`; it decides what runs, a tag beside it is only a label.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 71), extend("pattern" = "^sha256:[a-f0-9]{64}$"))]
    pub digest: Option<String>,
    /// When the kubelet pulls: `IfNotPresent` (default), `Always` or `Never`.
    pub pull_policy: PullPolicy,
    /// Secrets with registry credentials, for the hub pods and for the managed Redis. At most 16.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub pull_secrets: Vec<SecretRef>,
}

impl ImageSpec {
    /// Whether the user chose anything about which image runs.
    pub fn is_chosen(&self) -> bool {
        self.repository.is_some() || self.tag.is_some() || self.digest.is_some()
    }
}

/// When an image is pulled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PullPolicy {
    /// Only when the node does not have it.
    #[default]
    IfNotPresent,
    /// At every start of a container.
    Always,
    /// Never; the image must be on the node.
    Never,
}

impl PullPolicy {
    /// The word Kubernetes uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::IfNotPresent => "IfNotPresent",
            Self::Always => "Always",
            Self::Never => "Never",
        }
    }
}
