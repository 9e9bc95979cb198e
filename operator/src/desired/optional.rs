//! Kinds that not every cluster has: they come with somebody else's custom resource definitions, so the library of
//! typed objects does not know them. Their specs are as those definitions describe them.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::{NamespaceResourceScope, Resource};
use serde::ser::{Serialize, SerializeStruct as _, Serializer};
use serde_json::Value;

/// Which of the optional kinds the API server serves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Served {
    /// Of the prometheus-operator.
    pub pod_monitor: bool,
    /// Of the prometheus-operator.
    pub prometheus_rule: bool,
    /// Of the Gateway API.
    pub http_route: bool,
}

impl Served {
    /// Every one.
    pub const ALL: Self = Self { pod_monitor: true, prometheus_rule: true, http_route: true };

    /// Whether a kind is served; false for kinds that are not optional.
    #[must_use]
    pub fn has(&self, kind: &str) -> bool {
        match kind {
            PodMonitor::KIND => self.pod_monitor,
            PrometheusRule::KIND => self.prometheus_rule,
            HttpRoute::KIND => self.http_route,
            _ => false,
        }
    }

    /// Notes whether a kind is served.
    pub fn set(&mut self, kind: &str, served: bool) {
        match kind {
            PodMonitor::KIND => self.pod_monitor = served,
            PrometheusRule::KIND => self.prometheus_rule = served,
            HttpRoute::KIND => self.http_route = served,
            _ => {}
        }
    }
}

macro_rules! optional_kind {
    ($(#[$doc:meta])* $name:ident, $group:literal, $version:literal, $kind:literal, $plural:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name {
            /// Metadata.
            pub metadata: ObjectMeta,
            /// As its definition describes it.
            pub spec: Value,
        }

        impl Resource for $name {
            const API_VERSION: &'static str = concat!($group, "/", $version);
            const GROUP: &'static str = $group;
            const KIND: &'static str = $kind;
            const VERSION: &'static str = $version;
            const URL_PATH_SEGMENT: &'static str = $plural;
            type Scope = NamespaceResourceScope;
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let mut object = serializer.serialize_struct($kind, 4)?;
                object.serialize_field("apiVersion", Self::API_VERSION)?;
                object.serialize_field("kind", Self::KIND)?;
                object.serialize_field("metadata", &self.metadata)?;
                object.serialize_field("spec", &self.spec)?;
                object.end()
            }
        }
    };
}

optional_kind!(
    /// How Prometheus finds pods, of the prometheus-operator.
    PodMonitor, "monitoring.coreos.com", "v1", "PodMonitor", "podmonitors"
);
optional_kind!(
    /// What Prometheus warns of, of the prometheus-operator.
    PrometheusRule, "monitoring.coreos.com", "v1", "PrometheusRule", "prometheusrules"
);
optional_kind!(
    /// What a Gateway leads where, of the Gateway API.
    HttpRoute, "gateway.networking.k8s.io", "v1", "HTTPRoute", "httproutes"
);
