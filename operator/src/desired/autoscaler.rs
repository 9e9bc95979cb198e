//! The HorizontalPodAutoscaler of mode HPA. It scales the resource, not the StatefulSet, so that pods come and go as the
//! plan says.

use k8s_openapi::api::autoscaling::v2::{
    CrossVersionObjectReference, HPAScalingRules, HorizontalPodAutoscaler, HorizontalPodAutoscalerBehavior,
    HorizontalPodAutoscalerSpec, MetricSpec, MetricTarget, ResourceMetricSource,
};
use kube::Resource as _;

use super::labels::Component;
use super::{metadata, names};
use crate::api::WscCluster;

/// The HorizontalPodAutoscaler.
pub fn hub(cluster: &WscCluster) -> HorizontalPodAutoscaler {
    let autoscaling = &cluster.spec.autoscaling;
    let window = autoscaling.scale_down.stabilization.get().as_secs();
    HorizontalPodAutoscaler {
        metadata: metadata::child(cluster, names::autoscaler(cluster), Component::Hub),
        spec: Some(HorizontalPodAutoscalerSpec {
            scale_target_ref: CrossVersionObjectReference {
                api_version: Some(WscCluster::api_version(&()).into_owned()),
                kind: WscCluster::kind(&()).into_owned(),
                name: names::cluster(cluster).to_owned(),
            },
            min_replicas: Some(autoscaling.min_replicas),
            max_replicas: autoscaling.max_replicas,
            metrics: Some(vec![MetricSpec {
                type_: "Resource".to_owned(),
                resource: Some(ResourceMetricSource {
                    name: "cpu".to_owned(),
                    target: MetricTarget {
                        type_: "Utilization".to_owned(),
                        average_utilization: Some(autoscaling.target_cpu_utilization),
                        ..MetricTarget::default()
                    },
                }),
                ..MetricSpec::default()
            }]),
            behavior: Some(HorizontalPodAutoscalerBehavior {
                scale_down: Some(HPAScalingRules {
                    stabilization_window_seconds: Some(i32::try_from(window).unwrap_or(i32::MAX)),
                    ..HPAScalingRules::default()
                }),
                ..HorizontalPodAutoscalerBehavior::default()
            }),
        }),
        ..HorizontalPodAutoscaler::default()
    }
}
