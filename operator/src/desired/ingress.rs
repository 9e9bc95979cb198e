//! The Ingress.

use k8s_openapi::api::networking::v1::{
    HTTPIngressPath, HTTPIngressRuleValue, Ingress, IngressBackend, IngressRule, IngressServiceBackend,
    IngressSpec, IngressTLS, ServiceBackendPort,
};

use super::labels::Component;
use super::services::CLIENT_PORT_NAME;
use super::{metadata, names, profile};
use crate::api::WscCluster;

/// The Ingress that leads every host and path to the client Service.
pub fn ingress(cluster: &WscCluster) -> Ingress {
    let exposure = &cluster.spec.exposure;
    let mut annotations = profile::of(cluster).ingress_annotations;
    annotations.extend(exposure.annotations.clone());
    let rules = exposure
        .hosts
        .iter()
        .map(|host| IngressRule {
            host: Some(host.host.clone()),
            http: Some(HTTPIngressRuleValue {
                paths: host.paths.iter().map(|path| backend_path(cluster, path)).collect(),
            }),
        })
        .collect();
    let tls = exposure.tls.as_ref().map(|tls| {
        vec![IngressTLS {
            hosts: Some(exposure.hosts.iter().map(|host| host.host.clone()).collect()),
            secret_name: Some(tls.secret_name.clone()),
        }]
    });
    let class = &exposure.ingress_class_name;
    Ingress {
        metadata: metadata::annotated(cluster, names::ingress(cluster), Component::Hub, annotations),
        spec: Some(IngressSpec {
            ingress_class_name: (!class.is_empty()).then(|| class.clone()),
            rules: Some(rules),
            tls,
            default_backend: None,
        }),
        status: None,
    }
}

fn backend_path(cluster: &WscCluster, path: &str) -> HTTPIngressPath {
    HTTPIngressPath {
        path: Some(path.to_owned()),
        path_type: "Prefix".to_owned(),
        backend: IngressBackend {
            service: Some(IngressServiceBackend {
                name: names::client_service(cluster),
                port: Some(ServiceBackendPort { name: Some(CLIENT_PORT_NAME.to_owned()), number: None }),
            }),
            resource: None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::exposure::{ExposureProfile, ExposureTlsSpec, ExposureType, HostSpec};
    use crate::desired::fixture::cluster;

    #[test]
    fn the_users_annotations_win_over_the_profiles() {
        let mut cluster = cluster();
        let exposure = &mut cluster.spec.exposure;
        exposure.type_ = ExposureType::Ingress;
        exposure.profile = ExposureProfile::Nginx;
        exposure.ingress_class_name = "nginx".into();
        exposure.hosts =
            vec![HostSpec { host: "a.example".into(), paths: vec!["/ws".into(), "/socket".into()] }];
        exposure.tls = Some(ExposureTlsSpec { secret_name: "cert".into() });
        exposure.annotations.insert("nginx.org/proxy-read-timeout".into(), "10m".into());
        let ingress = ingress(&cluster);
        let annotations = ingress.metadata.annotations.unwrap();
        assert_eq!(annotations["nginx.org/proxy-read-timeout"], "10m");
        assert_eq!(annotations["nginx.org/websocket-services"], "chat");
        let spec = ingress.spec.unwrap();
        assert_eq!(spec.ingress_class_name.as_deref(), Some("nginx"));
        assert_eq!(spec.rules.unwrap()[0].http.as_ref().unwrap().paths.len(), 2);
        assert_eq!(spec.tls.unwrap()[0].hosts.as_deref(), Some(["a.example".to_owned()].as_slice()));
    }
}
