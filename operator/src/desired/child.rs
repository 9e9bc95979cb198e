//! One child object of any kind.

use k8s_openapi::Resource;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{ConfigMap, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::{Ingress, NetworkPolicy};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

use super::optional::{HttpRoute, PodMonitor, PrometheusRule};

/// A child object that is kept by server-side apply.
#[derive(Clone, Debug, PartialEq)]
pub enum Child {
    /// Identity of the hub pods.
    ServiceAccount(Box<ServiceAccount>),
    /// One of the hub's Services or that of Redis.
    Service(Box<Service>),
    /// Settings that reach running nodes.
    ConfigMap(Box<ConfigMap>),
    /// Who may connect.
    NetworkPolicy(Box<NetworkPolicy>),
    /// The hub or the managed Redis.
    StatefulSet(Box<StatefulSet>),
    /// Protection against evictions.
    PodDisruptionBudget(Box<PodDisruptionBudget>),
    /// What writes the number of nodes.
    HorizontalPodAutoscaler(Box<HorizontalPodAutoscaler>),
    /// The way in from outside.
    Ingress(Box<Ingress>),
    /// The same for a Gateway.
    HttpRoute(Box<HttpRoute>),
    /// How Prometheus finds the pods.
    PodMonitor(Box<PodMonitor>),
    /// What Prometheus warns of.
    PrometheusRule(Box<PrometheusRule>),
}

macro_rules! for_each_kind {
    ($child:expr, $object:ident => $body:expr) => {
        match $child {
            Child::ServiceAccount($object) => $body,
            Child::Service($object) => $body,
            Child::ConfigMap($object) => $body,
            Child::NetworkPolicy($object) => $body,
            Child::StatefulSet($object) => $body,
            Child::PodDisruptionBudget($object) => $body,
            Child::HorizontalPodAutoscaler($object) => $body,
            Child::Ingress($object) => $body,
            Child::HttpRoute($object) => $body,
            Child::PodMonitor($object) => $body,
            Child::PrometheusRule($object) => $body,
        }
    };
}

fn kind_of<K: Resource>(_: &K) -> &'static str {
    K::KIND
}

fn api_version_of<K: Resource>(_: &K) -> &'static str {
    K::API_VERSION
}

impl Child {
    /// Kind, such as `StatefulSet`.
    pub fn kind(&self) -> &'static str {
        for_each_kind!(self, object => kind_of(object.as_ref()))
    }

    /// Group and version, such as `apps/v1`.
    pub fn api_version(&self) -> &'static str {
        for_each_kind!(self, object => api_version_of(object.as_ref()))
    }

    /// Metadata.
    pub fn metadata(&self) -> &ObjectMeta {
        for_each_kind!(self, object => &object.metadata)
    }

    /// Name.
    pub fn name(&self) -> &str {
        self.metadata().name.as_deref().unwrap_or_default()
    }

    /// The object as it is sent, with apiVersion and kind.
    ///
    /// # Errors
    /// When the object cannot be expressed as JSON, which only a non-string map key could cause.
    pub fn to_json(&self) -> Result<Value, serde_json::Error> {
        for_each_kind!(self, object => serde_json::to_value(object))
    }
}

macro_rules! from_object {
    ($($kind:ident),+) => {
        $(impl From<$kind> for Child {
            fn from(object: $kind) -> Self {
                Self::$kind(Box::new(object))
            }
        })+
    };
}

from_object!(
    ServiceAccount,
    Service,
    ConfigMap,
    NetworkPolicy,
    StatefulSet,
    PodDisruptionBudget,
    Ingress,
    HorizontalPodAutoscaler,
    HttpRoute,
    PodMonitor,
    PrometheusRule
);
