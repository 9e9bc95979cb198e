//! Metadata that all children share.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Resource;

use super::labels::{self, Component};
use super::names;
use crate::api::WscCluster;

/// Metadata of a child: name, namespace, labels and owner.
pub fn child(cluster: &WscCluster, name: String, component: Component) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        namespace: Some(names::namespace(cluster).to_owned()),
        labels: Some(labels::all(cluster, component)),
        owner_references: Some(vec![owner(cluster)]),
        ..ObjectMeta::default()
    }
}

/// Metadata of a child with annotations; none are written as absent.
pub fn annotated(
    cluster: &WscCluster,
    name: String,
    component: Component,
    annotations: BTreeMap<String, String>,
) -> ObjectMeta {
    ObjectMeta { annotations: non_empty(annotations), ..child(cluster, name, component) }
}

/// An empty map as absent, so that applying it claims no field.
pub fn non_empty<K, V>(map: BTreeMap<K, V>) -> Option<BTreeMap<K, V>> {
    (!map.is_empty()).then_some(map)
}

/// The owner reference that ties a child to the resource. Deletion of the resource is never blocked by a child.
pub fn owner(cluster: &WscCluster) -> OwnerReference {
    OwnerReference {
        api_version: WscCluster::api_version(&()).into_owned(),
        kind: WscCluster::kind(&()).into_owned(),
        name: names::cluster(cluster).to_owned(),
        uid: cluster.metadata.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(false),
    }
}
