//! What Prometheus warns of, one alert for each way in which a hub stops doing what users are promised.

use serde_json::{Value, json};

use super::labels::Component;
use super::optional::PrometheusRule;
use super::pod_monitor::{CLUSTER_LABEL, add_labels};
use super::{metadata, names};
use crate::api::WscCluster;

/// One alert.
struct Alert {
    name: &'static str,
    /// PromQL; `$S` stands for the matchers of the cluster's samples.
    expression: &'static str,
    /// How long it must hold.
    during: &'static str,
    severity: &'static str,
    summary: &'static str,
    /// What it means and what to do.
    description: &'static str,
}

const ALERTS: [Alert; 10] = [
    Alert {
        name: "WscNoNode",
        expression: "sum(wsc_registered{$S}) == 0 or absent(wsc_registered{$S})",
        during: "3m",
        severity: "critical",
        summary: "No node of the hub serves clients",
        description: "No pod is registered, or none is scraped. See kubectl wsc status.",
    },
    Alert {
        name: "WscNodeUnregistered",
        expression: "wsc_registered{$S} == 0 and wsc_draining{$S} == 0",
        during: "3m",
        severity: "warning",
        summary: "Node {{ $labels.pod }} is not registered in Redis",
        description: "Other nodes do not route to it. See redis_error in its /admin/status, or kubectl wsc nodes.",
    },
    Alert {
        name: "WscRedisDown",
        expression: "min by (namespace, wsc_dev_cluster) (wsc_redis_up{$S}) == 0",
        during: "1m",
        severity: "critical",
        summary: "Nodes of the hub cannot use Redis",
        description: "Messages reach only users of the same node, and nothing is stored. The condition RedisReady says why.",
    },
    Alert {
        name: "WscNodeAlmostFull",
        expression: "wsc_connections{$S} / wsc_max_connections{$S} > 0.9",
        during: "5m",
        severity: "warning",
        summary: "Node {{ $labels.pod }} holds more than 90 % of the connections it takes",
        description: "A full node refuses clients with node_full. Scale up, or raise hub.maxConnections.",
    },
    Alert {
        name: "WscQueueMemoryAlmostFull",
        expression: "wsc_queued_bytes{$S} / wsc_queue_memory_bytes{$S} > 0.8",
        during: "2m",
        severity: "warning",
        summary: "Frames that wait for slow clients fill the memory of node {{ $labels.pod }}",
        description: "At the limit the client with the longest queue is closed with 4004. Scale up, or raise the memory limit.",
    },
    Alert {
        name: "WscBusDrops",
        expression: "rate(wsc_bus_outbound_drops_total{$S}[5m]) + rate(wsc_bus_inbound_drops_total{$S}[5m]) > 0",
        during: "5m",
        severity: "warning",
        summary: "Node {{ $labels.pod }} drops messages between nodes",
        description: "Its queues to or from other nodes are full; senders are told. Scale up, or look at the load of Redis.",
    },
    Alert {
        name: "WscSendsSlow",
        expression: "histogram_quantile(0.99, sum by (namespace, wsc_dev_cluster, le) (rate(wsc_send_duration_seconds_bucket{$S}[5m]))) > 1",
        during: "10m",
        severity: "warning",
        summary: "One of a hundred sends takes longer than a second",
        description: "Look at the CPU of the pods and at the latency of Redis.",
    },
    Alert {
        name: "WscStoresRefused",
        expression: "rate(wsc_inbox_refused_memory_total{$S}[5m]) + rate(wsc_inbox_refused_registry_total{$S}[5m]) > 0",
        during: "5m",
        severity: "warning",
        summary: "Messages for absent users are refused",
        description: "Redis is full or away; senders are told with 503. Raise its memory, or lower hub.inbox.",
    },
    Alert {
        name: "WscHotSettingsRefused",
        expression: "increase(wsc_hot_settings_refusals_total{$S}[15m]) > 0",
        during: "0s",
        severity: "warning",
        summary: "Node {{ $labels.pod }} found its hot settings bad and keeps the old ones",
        description: "The field hot_error of its /admin/status names every mistake.",
    },
    Alert {
        name: "WscDrainStuck",
        expression: "wsc_draining{$S} == 1 and wsc_drain_remaining_connections{$S} > 0",
        during: "1h",
        severity: "warning",
        summary: "Node {{ $labels.pod }} has been draining for an hour",
        description: "See kubectl wsc status for what is waited for; kubectl wsc cancel takes a drain by hand back.",
    },
];

/// The alerts of one hub. A hub without nodes by wish warns of none missing.
pub fn hub(cluster: &WscCluster) -> PrometheusRule {
    let mut metadata = metadata::child(cluster, names::monitoring(cluster), Component::Hub);
    add_labels(&mut metadata.labels, &cluster.spec.monitoring.labels);
    let matchers = format!(
        "namespace=\"{}\",{CLUSTER_LABEL}=\"{}\"",
        names::namespace(cluster),
        names::cluster(cluster)
    );
    let empty = cluster.spec.stopped || cluster.spec.replicas == 0;
    let rules: Vec<Value> = ALERTS
        .iter()
        .filter(|alert| !(empty && alert.name == "WscNoNode"))
        .map(|alert| {
            json!({
                "alert": alert.name, "expr": alert.expression.replace("$S", &matchers), "for": alert.during,
                "labels": {"severity": alert.severity},
                "annotations": {
                    "summary": format!(
                        "{}/{}: {}", names::namespace(cluster), names::cluster(cluster), alert.summary
                    ),
                    "description": alert.description
                }
            })
        })
        .collect();
    let group = format!("{}-{}", names::namespace(cluster), names::cluster(cluster));
    PrometheusRule { metadata, spec: json!({"groups": [{"name": group, "rules": rules}]}) }
}

#[cfg(test)]
mod tests {
    use super::hub;
    use crate::desired::fixture::cluster;

    #[test]
    fn every_alert_is_about_this_cluster_and_none_about_nodes_that_are_not_wanted() {
        let mut cluster = cluster();
        let count = |rule: &serde_json::Value| rule["groups"][0]["rules"].as_array().unwrap().len();
        let spec = hub(&cluster).spec;
        for rule in spec["groups"][0]["rules"].as_array().unwrap() {
            let expression = rule["expr"].as_str().unwrap();
            assert!(expression.contains("namespace=\"demo\",wsc_dev_cluster=\"chat\""), "{expression}");
            assert!(!expression.contains("$S"), "{expression}");
        }
        cluster.spec.stopped = true;
        assert_eq!(count(&hub(&cluster).spec) + 1, count(&spec));
    }
}
