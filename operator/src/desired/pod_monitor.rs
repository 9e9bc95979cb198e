//! The PodMonitor, by which a Prometheus of the prometheus-operator finds the hub pods.

use serde_json::json;

use super::labels::{self, Component};
use super::optional::PodMonitor;
use super::services::API_PORT_NAME;
use super::{metadata, names};
use crate::api::WscCluster;

/// Label that the samples get from the pod label of the cluster's name, as Prometheus writes it.
pub const CLUSTER_LABEL: &str = "wsc_dev_cluster";

/// The PodMonitor of the hub pods. Metrics need no key; a NetworkPolicy with `apiFrom` must name Prometheus in
/// `metricsFrom`.
pub fn hub(cluster: &WscCluster) -> PodMonitor {
    let monitoring = &cluster.spec.monitoring;
    let mut metadata = metadata::child(cluster, names::monitoring(cluster), Component::Hub);
    add_labels(&mut metadata.labels, &monitoring.labels);
    PodMonitor {
        metadata,
        spec: json!({
            "selector": {"matchLabels": labels::matching(cluster, Component::Hub)},
            "podTargetLabels": [labels::CLUSTER],
            "podMetricsEndpoints": [{
                "port": API_PORT_NAME, "path": "/metrics", "scheme": "http",
                "interval": monitoring.interval.single_unit()
            }]
        }),
    }
}

/// The user's labels, but for those by which the operator finds its children.
pub(super) fn add_labels(
    labels: &mut Option<std::collections::BTreeMap<String, String>>,
    users: &std::collections::BTreeMap<String, String>,
) {
    let labels = labels.get_or_insert_default();
    for (name, value) in users {
        labels.entry(name.clone()).or_insert_with(|| value.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::hub;
    use crate::desired::fixture::cluster;

    #[test]
    fn the_users_labels_are_added_and_never_take_those_of_the_operator() {
        let mut cluster = cluster();
        let wished = &mut cluster.spec.monitoring.labels;
        wished.insert("release".into(), "prometheus".into());
        wished.insert("wsc.dev/cluster".into(), "other".into());
        let labels = hub(&cluster).metadata.labels.unwrap();
        assert_eq!((labels["release"].as_str(), labels["wsc.dev/cluster"].as_str()), ("prometheus", "chat"));
    }
}
