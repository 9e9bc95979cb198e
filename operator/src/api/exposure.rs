//! How clients outside the cluster reach the hub.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How clients outside the Kubernetes cluster reach the hub.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ExposureSpec {
    /// `None` (default): only the client Service. `Ingress`: an Ingress named `<name>` is kept; needs at least one
    /// host.
    #[serde(rename = "type")]
    pub type_: ExposureType,
    /// Host names and paths of the Ingress. At most 32.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub hosts: Vec<HostSpec>,
    /// IngressClass. Default (empty): the cluster's default class.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 253))]
    pub ingress_class_name: String,
    /// Which controller serves the Ingress; decides the annotations for WebSocket timeouts and affinity. `Generic`
    /// (default) writes none. `Traefik`; `HAProxy` (haproxytech); `Nginx` (F5); `IngressNginx` (the retired community
    /// controller, accepted with a warning).
    pub profile: ExposureProfile,
    /// Whether a client keeps meeting the same node. Correctness never needs it.
    pub affinity: AffinitySpec,
    /// TLS at the Ingress. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<ExposureTlsSpec>,
    /// Annotations of the Ingress; they win over those of the profile.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl Default for ExposureSpec {
    fn default() -> Self {
        Self {
            type_: ExposureType::None,
            hosts: Vec::new(),
            ingress_class_name: String::new(),
            profile: ExposureProfile::Generic,
            affinity: AffinitySpec::default(),
            tls: None,
            annotations: BTreeMap::new(),
        }
    }
}

/// The kind of exposure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ExposureType {
    /// Nothing beyond the client Service.
    #[default]
    None,
    /// An Ingress.
    Ingress,
}

/// A host of the Ingress.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HostSpec {
    /// DNS name, in lower case; the first label may be `*`.
    #[schemars(
        length(min = 1, max = 253),
        extend("pattern" = r"^(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
    )]
    pub host: String,
    /// Path prefixes that lead to the hub. 1 to 8, default `["/ws"]`, which is where the hub accepts WebSockets.
    #[serde(default = "default_paths")]
    #[schemars(length(min = 1, max = 8), inner(length(max = 256), regex(pattern = "^/")))]
    pub paths: Vec<String>,
}

fn default_paths() -> Vec<String> {
    vec!["/ws".to_owned()]
}

/// The controller behind an Ingress.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ExposureProfile {
    /// Any controller; no annotations.
    #[default]
    Generic,
    /// Traefik.
    Traefik,
    /// The haproxytech controller.
    HAProxy,
    /// The F5 nginx controller.
    Nginx,
    /// The retired community nginx controller.
    IngressNginx,
}

/// Whether a client keeps meeting the same node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AffinitySpec {
    /// `None` (default): least connections where the controller can, which also moves clients away from a draining
    /// node soonest. `Cookie`: by a cookie of the proxy. `ClientIP`: by the source address; without an Ingress this is
    /// the Service's session affinity.
    #[serde(rename = "type")]
    pub type_: AffinityType,
    /// Name of the cookie, default `wsc-session`.
    #[schemars(length(min = 1, max = 64), extend("pattern" = "^[A-Za-z0-9_-]+$"))]
    pub cookie_name: String,
}

impl Default for AffinitySpec {
    fn default() -> Self {
        Self { type_: AffinityType::None, cookie_name: "wsc-session".to_owned() }
    }
}

/// What a proxy remembers a client by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AffinityType {
    /// Nothing.
    #[default]
    None,
    /// A cookie.
    Cookie,
    /// Its source address.
    ClientIP,
}

/// TLS at the Ingress.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExposureTlsSpec {
    /// Secret of type kubernetes.io/tls with a certificate for all hosts.
    #[schemars(length(min = 1, max = 253))]
    pub secret_name: String,
}
