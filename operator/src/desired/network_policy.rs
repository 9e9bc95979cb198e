//! Who may connect to the pods. Only incoming traffic is named: a rule for outgoing traffic would cut name resolution
//! and Redis wherever the rule does not know them.

use std::collections::BTreeMap;

use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::labels::{self, Component};
use super::redis::REDIS_PORT_NAME;
use super::services::{API_PORT_NAME, CLIENT_PORT_NAME};
use super::{metadata, names};
use crate::api::WscCluster;

/// Policy of the hub pods.
pub fn hub(cluster: &WscCluster) -> NetworkPolicy {
    let spec = &cluster.spec.security.network_policy;
    let clients = (!spec.client_from.is_empty()).then(|| spec.client_from.clone());
    let api = if spec.api_from.is_empty() {
        vec![any_pod()]
    } else {
        let mut peers = vec![operator()];
        peers.extend(spec.api_from.clone());
        peers.extend(spec.metrics_from.clone());
        peers
    };
    policy(
        cluster,
        names::network_policy(cluster),
        Component::Hub,
        vec![rule(CLIENT_PORT_NAME, clients), rule(API_PORT_NAME, Some(api))],
    )
}

/// Policy of the managed Redis: only the hub pods of this cluster.
pub fn redis(cluster: &WscCluster) -> NetworkPolicy {
    let hubs = NetworkPolicyPeer {
        pod_selector: Some(labels::label_selector(cluster, Component::Hub)),
        ..NetworkPolicyPeer::default()
    };
    policy(
        cluster,
        names::redis_network_policy(cluster),
        Component::Redis,
        vec![rule(REDIS_PORT_NAME, Some(vec![hubs]))],
    )
}

fn policy(
    cluster: &WscCluster,
    name: String,
    component: Component,
    rules: Vec<NetworkPolicyIngressRule>,
) -> NetworkPolicy {
    NetworkPolicy {
        metadata: metadata::child(cluster, name, component),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(labels::label_selector(cluster, component)),
            policy_types: Some(vec!["Ingress".to_owned()]),
            ingress: Some(rules),
            egress: None,
        }),
    }
}

/// A rule for one port; no peers means anyone.
fn rule(port: &str, from: Option<Vec<NetworkPolicyPeer>>) -> NetworkPolicyIngressRule {
    NetworkPolicyIngressRule {
        from,
        ports: Some(vec![NetworkPolicyPort {
            port: Some(IntOrString::String(port.to_owned())),
            protocol: Some("TCP".to_owned()),
            end_port: None,
        }]),
    }
}

fn any_pod() -> NetworkPolicyPeer {
    NetworkPolicyPeer { namespace_selector: Some(LabelSelector::default()), ..NetworkPolicyPeer::default() }
}

/// The operator's pods, in whatever namespace it was installed.
fn operator() -> NetworkPolicyPeer {
    NetworkPolicyPeer {
        pod_selector: Some(LabelSelector {
            match_labels: Some(BTreeMap::from([(labels::NAME.to_owned(), labels::MANAGER.to_owned())])),
            ..LabelSelector::default()
        }),
        ..any_pod()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desired::fixture::cluster;

    fn from(policy: &NetworkPolicy, rule: usize) -> Option<Vec<NetworkPolicyPeer>> {
        policy.spec.as_ref().unwrap().ingress.as_ref().unwrap()[rule].from.clone()
    }

    #[test]
    fn by_default_anyone_is_a_client_and_any_pod_may_use_the_api() {
        let policy = hub(&cluster());
        assert_eq!(from(&policy, 0), None);
        assert_eq!(from(&policy, 1), Some(vec![any_pod()]));
    }

    #[test]
    fn naming_api_peers_shuts_out_the_rest_but_never_the_operator() {
        let peer = NetworkPolicyPeer {
            pod_selector: Some(LabelSelector::default()),
            ..NetworkPolicyPeer::default()
        };
        let mut cluster = cluster();
        cluster.spec.security.network_policy.metrics_from = vec![any_pod()];
        assert_eq!(from(&hub(&cluster), 1), Some(vec![any_pod()]), "metrics peers alone restrict nothing");
        cluster.spec.security.network_policy.api_from = vec![peer.clone()];
        assert_eq!(from(&hub(&cluster), 1), Some(vec![operator(), peer, any_pod()]));
    }
}
