//! Who may reach the pods on the network.

use k8s_openapi::api::networking::v1::NetworkPolicyPeer;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Network isolation of the pods.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct SecuritySpec {
    /// NetworkPolicies for the hub pods and the managed Redis; they act where the cluster's network enforces them.
    pub network_policy: NetworkPolicySpec,
}

/// Incoming traffic that is let through. Outgoing traffic is not restricted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct NetworkPolicySpec {
    /// Whether NetworkPolicies are created. Default true.
    pub enabled: bool,
    /// Who may connect as a client (port 8080). Default: anyone. At most 32 peers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub client_from: Vec<NetworkPolicyPeer>,
    /// Who may use the control API (port 8081), besides the operator. Default: any pod, since API keys protect it. At
    /// most 32 peers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub api_from: Vec<NetworkPolicyPeer>,
    /// Who may also reach port 8081 to read metrics; it matters once `apiFrom` is set. At most 32 peers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub metrics_from: Vec<NetworkPolicyPeer>,
}

impl Default for NetworkPolicySpec {
    fn default() -> Self {
        Self { enabled: true, client_from: Vec::new(), api_from: Vec::new(), metrics_from: Vec::new() }
    }
}
