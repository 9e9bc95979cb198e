//! Labels and annotations by which children are found and described.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::names;
use crate::api::WscCluster;

/// Label: what the object is, `wsc-hub` or `wsc-redis`.
pub const NAME: &str = "app.kubernetes.io/name";
/// Label: the resource it belongs to.
pub const INSTANCE: &str = "app.kubernetes.io/instance";
/// Label: its part in the cluster.
pub const COMPONENT: &str = "app.kubernetes.io/component";
/// Label: who keeps it.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Value of [`MANAGED_BY`], and the field manager of server-side apply.
pub const MANAGER: &str = "wsc-operator";
/// Label: the name of the WscCluster; children are watched and swept by it.
pub const CLUSTER: &str = "wsc.dev/cluster";

/// Value of [`NAME`] on everything of the hub.
pub const HUB_NAME: &str = "wsc-hub";
/// Value of [`NAME`] on everything of the managed Redis.
pub const REDIS_NAME: &str = "wsc-redis";

/// Annotation on a WscCluster: a new value restarts the hub pods one at a time. Copied into the pod template.
pub const RESTART: &str = "wsc.dev/restart";
/// Annotation on the hub StatefulSet: version of the operator that wrote it.
pub const TEMPLATE_VERSION: &str = "wsc.dev/template-version";
/// Annotation on the hub StatefulSet: image that its template names.
pub const IMAGE: &str = "wsc.dev/image";
/// Annotation on the Redis pod template: uid and resource version of the password Secret, which say nothing about the
/// password.
pub const AUTH_SECRET: &str = "wsc.dev/auth-secret";

/// Annotation on the hub pod template: the Redis user where the Secret of an external Redis names none.
pub const REDIS_USER: &str = "wsc.dev/redis-user";

/// Part of the cluster that an object belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Component {
    /// The hub nodes.
    Hub,
    /// The managed Redis.
    Redis,
}

impl Component {
    fn name(self) -> &'static str {
        match self {
            Self::Hub => HUB_NAME,
            Self::Redis => REDIS_NAME,
        }
    }

    fn component(self) -> &'static str {
        match self {
            Self::Hub => "hub",
            Self::Redis => "redis",
        }
    }
}

/// Labels of every object and pod of a component.
pub fn all(cluster: &WscCluster, component: Component) -> BTreeMap<String, String> {
    let mut labels = matching(cluster, component);
    labels.insert(COMPONENT.to_owned(), component.component().to_owned());
    labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
    labels
}

/// Labels that select the pods of a component; immutable on a StatefulSet, so they must never change.
pub fn matching(cluster: &WscCluster, component: Component) -> BTreeMap<String, String> {
    BTreeMap::from([
        (NAME.to_owned(), component.name().to_owned()),
        (INSTANCE.to_owned(), names::cluster(cluster).to_owned()),
        (CLUSTER.to_owned(), names::cluster(cluster).to_owned()),
    ])
}

/// Labels that select the hub pods.
pub fn selector(cluster: &WscCluster) -> BTreeMap<String, String> {
    matching(cluster, Component::Hub)
}

/// [`selector`] as text, for `status.selector` and list calls.
pub fn selector_string(cluster: &WscCluster) -> String {
    selector(cluster).iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}

/// Selector of a component's pods, as objects embed it.
pub fn label_selector(cluster: &WscCluster, component: Component) -> LabelSelector {
    LabelSelector { match_labels: Some(matching(cluster, component)), ..LabelSelector::default() }
}
