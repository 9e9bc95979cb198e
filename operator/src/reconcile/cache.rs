//! The watched objects: children and hub pods, by label.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::{Ingress, NetworkPolicy};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::DynamicObject;
use kube::core::ApiResource;
use tokio::sync::watch;

use crate::desired::optional::Served;

use super::error::ReconcileError;
use super::watched::Watched;

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
pub type Children = Watched<DynamicObject>;

/// All caches of one watched scope.
#[derive(Debug)]
pub struct Caches {
    children: BTreeMap<String, Children>,
    pods: Watched<Pod>,
    served: watch::Receiver<Served>,
}

impl Caches {
    /// Caches that a controller fills.
    #[must_use]
    pub fn new(children: Vec<Children>, pods: Watched<Pod>, served: watch::Receiver<Served>) -> Self {
        let children = children.into_iter().map(|kind| (kind.kind().kind.clone(), kind)).collect();
        Self { children, pods, served }
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
        for kind in self.children.values() {
            kind.ready().await?;
        }
        self.pods.ready().await
    }

    /// A kind of child by its name, if it is watched.
    #[must_use]
    pub fn kind(&self, kind: &str) -> Option<&ApiResource> {
        self.children.get(kind).map(Children::kind)
    }

    /// A child by kind and name, if the watch has seen it.
    #[must_use]
    pub fn child(&self, kind: &str, namespace: &str, name: &str) -> Option<Arc<DynamicObject>> {
        self.children.get(kind)?.get(namespace, name)
    }

    /// Every child that carries a cluster's label, with its kind.
    #[must_use]
    pub fn children_of(&self, namespace: &str, cluster: &str) -> Vec<(&ApiResource, Arc<DynamicObject>)> {
        let of = |kind| Children::of(kind, namespace, cluster).into_iter().map(|child| (kind.kind(), child));
        self.children.values().flat_map(of).collect()
    }

    /// Every hub pod that carries a cluster's label.
    #[must_use]
    pub fn pods_of(&self, namespace: &str, cluster: &str) -> Vec<Arc<Pod>> {
        self.pods.of(namespace, cluster)
    }
}
