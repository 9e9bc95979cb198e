//! Protection of the hub pods against evictions.

use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::labels::{self, Component};
use super::{metadata, names};
use crate::api::WscCluster;

/// The PodDisruptionBudget. A pod that is not ready serves nobody, so it may always be evicted: otherwise a broken pod
/// would block the drain of its node for ever.
pub fn hub(cluster: &WscCluster) -> PodDisruptionBudget {
    PodDisruptionBudget {
        metadata: metadata::child(cluster, names::pdb(cluster), Component::Hub),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(cluster.spec.disruption.max_unavailable)),
            selector: Some(labels::label_selector(cluster, Component::Hub)),
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
            ..PodDisruptionBudgetSpec::default()
        }),
        ..PodDisruptionBudget::default()
    }
}
