//! How clients outside the cluster reach the hub.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How clients outside the Kubernetes cluster reach the hub.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ExposureSpec {
    /// `None` (default): only the client Service. `Ingress`: an Ingress named `<name>` is kept; needs at least one
    /// host. `Gateway`: an HTTPRoute named `<name>` is kept, which binds to `gatewayRef`; needs the Gateway API, and the
    /// Gateway ends TLS.
    #[serde(rename = "type")]
    pub type_: ExposureType,
    /// Host names and paths that lead to the hub. At most 32. A Gateway without any leads every host to it by `/ws`.
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
    /// The Gateway that the HTTPRoute binds to; only with type Gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway_ref: Option<GatewayRef>,
    /// Annotations of the Ingress or HTTPRoute; they win over those of the profile.
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
            gateway_ref: None,
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
    /// An HTTPRoute of the Gateway API.
    Gateway,
}

/// The Gateway that an HTTPRoute binds to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GatewayRef {
    /// Name of the Gateway.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Its namespace; default: that of the WscCluster. The Gateway must allow routes from here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub namespace: Option<String>,
    /// Listener of the Gateway; default: every one that allows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub section_name: Option<String>,
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
