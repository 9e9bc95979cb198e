//! The ServiceAccount of the hub pods.

use k8s_openapi::api::core::v1::ServiceAccount;

use super::labels::Component;
use super::{metadata, names};
use crate::api::WscCluster;

/// An identity without permissions and without a mounted token: the hub never talks to Kubernetes.
pub fn hub(cluster: &WscCluster) -> ServiceAccount {
    ServiceAccount {
        metadata: metadata::child(cluster, names::service_account(cluster), Component::Hub),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    }
}
