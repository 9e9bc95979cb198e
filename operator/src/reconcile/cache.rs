//! The watched objects: children and hub pods, by label.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::{Ingress, NetworkPolicy};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::ResourceExt;
use kube::api::DynamicObject;
use kube::core::ApiResource;
use kube::runtime::reflector::Store;
use tokio::sync::watch;

use crate::desired::labels::CLUSTER;
use crate::desired::optional::Served;

use super::error::ReconcileError;

/// Selects the children of all clusters.
pub const CHILDREN: &str = "app.kubernetes.io/managed-by=wsc-operator,wsc.dev/cluster";

/// Selects the hub pods of all clusters.
pub const HUB_PODS: &str = "app.kubernetes.io/name=wsc-hub,wsc.dev/cluster";

/// Every kind of applied child, in no particular order. Secrets are not among them: they are
/// created once and never listed.
#[must_use]
pub fn child_kinds() -> Vec<ApiResource> {
    vec![
        ApiResource::erase::<ServiceAccount>(&()),
        ApiResource::erase::<Service>(&()),
        ApiResource::erase::<ConfigMap>(&()),
        ApiResource::erase::<StatefulSet>(&()),
        ApiResource::erase::<HorizontalPodAutoscaler>(&()),
        ApiResource::erase::<PodDisruptionBudget>(&()),
        ApiResource::erase::<Ingress>(&()),
        ApiResource::erase::<NetworkPolicy>(&()),
    ]
}

/// One watched kind of child.
#[derive(Debug, Clone)]
pub struct ChildCache {
    /// The kind.
    pub resource: ApiResource,
    /// Its objects.
    pub store: Store<DynamicObject>,
}

/// All caches of one watched scope.
#[derive(Debug, Clone)]
pub struct Caches {
    children: BTreeMap<String, ChildCache>,
    pods: Store<Pod>,
    served: watch::Receiver<Served>,
}

impl Caches {
    /// Caches over stores that a controller fills.
    #[must_use]
    pub fn new(children: Vec<ChildCache>, pods: Store<Pod>, served: watch::Receiver<Served>) -> Self {
        Self {
            children: children.into_iter().map(|cache| (cache.resource.kind.clone(), cache)).collect(),
            pods,
            served,
        }
    }

    /// Which optional kinds are served.
    #[must_use]
    pub fn served(&self) -> Served {
        *self.served.borrow()
    }

    /// Waits until every cache has been filled once.
    ///
    /// # Errors
    /// When a watch ended before.
    pub async fn ready(&self) -> Result<(), ReconcileError> {
        for cache in self.children.values() {
            cache.store.wait_until_ready().await.map_err(|_| ReconcileError::CacheLost)?;
        }
        self.pods.wait_until_ready().await.map_err(|_| ReconcileError::CacheLost)
    }

    /// The cache of a kind.
    #[must_use]
    pub fn kind(&self, kind: &str) -> Option<&ChildCache> {
        self.children.get(kind)
    }

    /// A child by kind and name, if the watch has seen it.
    #[must_use]
    pub fn child(&self, kind: &str, namespace: &str, name: &str) -> Option<Arc<DynamicObject>> {
        self.kind(kind)?.store.find(|object| {
            object.metadata.namespace.as_deref() == Some(namespace)
                && object.metadata.name.as_deref() == Some(name)
        })
    }

    /// Every child that carries a cluster's label, with its kind.
    #[must_use]
    pub fn children_of(&self, namespace: &str, cluster: &str) -> Vec<(ApiResource, Arc<DynamicObject>)> {
        self.children
            .values()
            .flat_map(|cache| {
                cache
                    .store
                    .state_filter(|object| belongs(object, namespace, cluster))
                    .into_iter()
                    .map(|object| (cache.resource.clone(), object))
            })
            .collect()
    }

    /// Every hub pod that carries a cluster's label.
    #[must_use]
    pub fn pods_of(&self, namespace: &str, cluster: &str) -> Vec<Arc<Pod>> {
        self.pods.state_filter(|pod| belongs(pod, namespace, cluster))
    }
}

fn belongs(object: &impl ResourceExt, namespace: &str, cluster: &str) -> bool {
    object.namespace().as_deref() == Some(namespace)
        && object.labels().get(CLUSTER).map(String::as_str) == Some(cluster)
}
