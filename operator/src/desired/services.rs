//! The hub's Services.

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::labels::{self, Component};
use super::{metadata, names, profile};
use crate::api::WscCluster;
use crate::api::exposure::{AffinityType, ExposureType};

/// Port on which pods serve clients and probes.
pub const CLIENT_PORT: i32 = 8080;
/// Port on which pods serve the control API, metrics and administration.
pub const API_PORT: i32 = 8081;
/// Name of the client port on pods and Services.
pub const CLIENT_PORT_NAME: &str = "client";
/// Name of the API port on pods and Services.
pub const API_PORT_NAME: &str = "api";

/// Headless Service: a DNS name for every pod, ready or not.
pub fn nodes(cluster: &WscCluster) -> Service {
    Service {
        metadata: metadata::child(cluster, names::nodes_service(cluster), Component::Hub),
        spec: Some(ServiceSpec {
            cluster_ip: Some("None".to_owned()),
            publish_not_ready_addresses: Some(true),
            selector: Some(labels::selector(cluster)),
            ports: Some(vec![
                port(CLIENT_PORT_NAME, CLIENT_PORT, CLIENT_PORT_NAME),
                port(API_PORT_NAME, API_PORT, API_PORT_NAME),
            ]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}

/// Service for WebSocket clients.
pub fn client(cluster: &WscCluster) -> Service {
    let spec = &cluster.spec.services.client;
    let mut annotations = profile::of(cluster).service_annotations;
    annotations.extend(spec.annotations.clone());
    Service {
        metadata: metadata::annotated(cluster, names::client_service(cluster), Component::Hub, annotations),
        spec: Some(ServiceSpec {
            type_: Some(spec.type_.as_str().to_owned()),
            selector: Some(labels::selector(cluster)),
            ports: Some(vec![ServicePort {
                node_port: spec.node_port,
                ..port(CLIENT_PORT_NAME, spec.port, CLIENT_PORT_NAME)
            }]),
            session_affinity: Some(session_affinity(cluster).to_owned()),
            load_balancer_class: spec.load_balancer_class.clone(),
            external_traffic_policy: spec.external_traffic_policy.map(|policy| policy.as_str().to_owned()),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}

/// Service for the control API.
pub fn api(cluster: &WscCluster) -> Service {
    Service {
        metadata: metadata::child(cluster, names::api_service(cluster), Component::Hub),
        spec: Some(ServiceSpec {
            type_: Some("ClusterIP".to_owned()),
            selector: Some(labels::selector(cluster)),
            ports: Some(vec![port(API_PORT_NAME, API_PORT, API_PORT_NAME)]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}

/// A TCP port that leads to a named port of the pods. The protocol is part of the list's key, so it is written out.
pub(super) fn port(name: &str, number: i32, target: &str) -> ServicePort {
    ServicePort {
        name: Some(name.to_owned()),
        port: number,
        protocol: Some("TCP".to_owned()),
        target_port: Some(IntOrString::String(target.to_owned())),
        ..ServicePort::default()
    }
}

/// An Ingress controller goes to the pods past the Service, so only without one does the Service decide.
fn session_affinity(cluster: &WscCluster) -> &'static str {
    let exposure = &cluster.spec.exposure;
    match (exposure.type_, exposure.affinity.type_) {
        (ExposureType::None, AffinityType::ClientIP) => "ClientIP",
        _ => "None",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::services::{ExternalTrafficPolicy, ServiceType};
    use crate::desired::fixture::cluster;

    #[test]
    fn the_client_service_follows_the_spec() {
        let mut cluster = cluster();
        let client_spec = &mut cluster.spec.services.client;
        client_spec.type_ = ServiceType::LoadBalancer;
        client_spec.port = 443;
        client_spec.node_port = Some(30443);
        client_spec.load_balancer_class = Some("example.com/lb".into());
        client_spec.external_traffic_policy = Some(ExternalTrafficPolicy::Local);
        client_spec.annotations.insert("example.com/a".into(), "b".into());
        let service = client(&cluster);
        assert_eq!(service.metadata.annotations.unwrap()["example.com/a"], "b");
        let spec = service.spec.unwrap();
        assert_eq!(spec.type_.as_deref(), Some("LoadBalancer"));
        assert_eq!(spec.load_balancer_class.as_deref(), Some("example.com/lb"));
        assert_eq!(spec.external_traffic_policy.as_deref(), Some("Local"));
        let port = &spec.ports.unwrap()[0];
        assert_eq!((port.port, port.node_port), (443, Some(30443)));
        assert_eq!(port.target_port, Some(IntOrString::String("client".into())));
    }

    #[test]
    fn the_service_keeps_clients_by_address_only_without_an_ingress() {
        for (type_, affinity, expected) in [
            (ExposureType::None, AffinityType::None, "None"),
            (ExposureType::None, AffinityType::ClientIP, "ClientIP"),
            (ExposureType::None, AffinityType::Cookie, "None"),
            (ExposureType::Ingress, AffinityType::ClientIP, "None"),
        ] {
            let mut cluster = cluster();
            cluster.spec.exposure.type_ = type_;
            cluster.spec.exposure.affinity.type_ = affinity;
            assert_eq!(client(&cluster).spec.unwrap().session_affinity.as_deref(), Some(expected));
        }
    }

    #[test]
    fn nodes_are_published_before_they_are_ready() {
        let spec = nodes(&cluster()).spec.unwrap();
        assert_eq!(spec.publish_not_ready_addresses, Some(true));
        assert_eq!(spec.cluster_ip.as_deref(), Some("None"));
    }
}
