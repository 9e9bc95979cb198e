//! What can only be known from the cluster about the exposure: the IngressClass.

use k8s_openapi::api::networking::v1::IngressClass;
use kube::Client;
use kube::api::{Api, DynamicObject};

use crate::api::WscCluster;
use crate::api::conditions::reasons;
use crate::api::exposure::ExposureType;
use crate::api::services::ServiceType;
use crate::desired::{names, profile};

use super::error::{ReconcileError, status_code};
use super::verdicts::Verdict;

/// What is known of the IngressClass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Class {
    /// None is named, or it may not be read.
    Unchecked,
    /// It exists.
    Present,
    /// It does not exist.
    Missing {
        /// The name asked for.
        name: String,
    },
}

/// Reads the named IngressClass. `readable` is false where only Roles are given, which cannot
/// allow it.
///
/// # Errors
/// When the API server cannot be reached.
pub async fn class(client: &Client, cluster: &WscCluster, readable: bool) -> Result<Class, ReconcileError> {
    let exposure = &cluster.spec.exposure;
    let name = &exposure.ingress_class_name;
    if exposure.type_ != ExposureType::Ingress || name.is_empty() || !readable {
        return Ok(Class::Unchecked);
    }
    match Api::<IngressClass>::all(client.clone()).get_opt(name).await {
        Ok(Some(_)) => Ok(Class::Present),
        Ok(None) => Ok(Class::Missing { name: name.clone() }),
        Err(error) if status_code(&error) == Some(403) => Ok(Class::Unchecked),
        Err(error) => Err(ReconcileError::api(format!("reading IngressClass {name}"))(error)),
    }
}

/// The address that the platform's load balancer gave a Service.
#[must_use]
pub fn address(service: &DynamicObject) -> Option<String> {
    let first = service.data.pointer("/status/loadBalancer/ingress/0")?;
    ["hostname", "ip"].iter().find_map(|key| first[*key].as_str()).map(str::to_owned)
}

/// The `ExposureReady` condition. `address` is that of the client Service's load balancer.
#[must_use]
pub fn verdict(cluster: &WscCluster, class: &Class, address: Option<&str>, ingress_refused: bool) -> Verdict {
    let exposure = &cluster.spec.exposure;
    let profile = profile::of(cluster);
    if let Some(unsupported) = profile.unsupported {
        return Verdict::new(false, reasons::UNSUPPORTED, unsupported);
    }
    if let Class::Missing { name } = class {
        return Verdict::new(
            false,
            reasons::INGRESS_CLASS_MISSING,
            format!(
                "IngressClass {name} does not exist: install its controller, or correct exposure.ingressClassName"
            ),
        );
    }
    match exposure.type_ {
        // A Gateway says more, and is asked by its own verdict.
        ExposureType::None | ExposureType::Gateway => service_verdict(cluster, address),
        ExposureType::Ingress if ingress_refused => Verdict::new(
            false,
            reasons::APPLY_FAILED,
            "the API server refused the Ingress; Degraded says why",
        ),
        ExposureType::Ingress => Verdict::new(
            true,
            reasons::AS_EXPECTED,
            profile.warning.unwrap_or_else(|| "the Ingress is as asked for".to_owned()),
        ),
    }
}

/// Without an Ingress the client Service alone is the way in.
fn service_verdict(cluster: &WscCluster, address: Option<&str>) -> Verdict {
    let name = names::client_service(cluster);
    let port = cluster.spec.services.client.port;
    match (cluster.spec.services.client.type_, address) {
        (ServiceType::ClusterIP, _) => Verdict::new(
            true,
            reasons::NOT_EXPOSED,
            "no exposure is asked for; the client Service is reached inside the cluster",
        ),
        (ServiceType::NodePort, _) => Verdict::new(
            true,
            reasons::AS_EXPECTED,
            format!("Service {name} is reached at its node port on every node"),
        ),
        (ServiceType::LoadBalancer, Some(address)) => Verdict::new(
            true,
            reasons::AS_EXPECTED,
            format!("Service {name} is reached at {address}, port {port}"),
        ),
        (ServiceType::LoadBalancer, None) => Verdict::new(
            false,
            reasons::ADDRESS_PENDING,
            format!(
                "Service {name} of type LoadBalancer has no address yet: the platform's load balancer controller gives it; without such a controller use type NodePort or an Ingress"
            ),
        ),
    }
}

#[cfg(test)]
mod tests {
    use kube::api::DynamicObject;
    use serde_json::json;

    use super::{Class, address, verdict};
    use crate::api::conditions::{ConditionStatus, reasons};
    use crate::api::exposure::{ExposureType, HostSpec};
    use crate::api::redis::{ManagedRedis, RedisSpec};
    use crate::api::services::ServiceType;
    use crate::api::{WscCluster, WscClusterSpec};

    fn cluster() -> WscCluster {
        let redis = RedisSpec { managed: Some(ManagedRedis::default()), ..RedisSpec::default() };
        WscCluster::new("chat", WscClusterSpec::with_redis(redis))
    }

    #[test]
    fn a_load_balancer_without_address_is_not_ready_and_says_what_is_missing() {
        let mut cluster = cluster();
        cluster.spec.services.client.type_ = ServiceType::LoadBalancer;
        let waiting = verdict(&cluster, &Class::Unchecked, None, false);
        assert_eq!((waiting.status, waiting.reason), (ConditionStatus::False, reasons::ADDRESS_PENDING));
        assert!(waiting.message.contains("load balancer controller"), "{}", waiting.message);
        let given = verdict(&cluster, &Class::Unchecked, Some("192.0.2.7"), false);
        assert_eq!(given.status, ConditionStatus::True);
        assert!(given.message.contains("192.0.2.7, port 80"), "{}", given.message);
        cluster.spec.services.client.type_ = ServiceType::NodePort;
        let port = verdict(&cluster, &Class::Unchecked, None, false);
        assert_eq!((port.status, port.reason), (ConditionStatus::True, reasons::AS_EXPECTED));
    }

    #[test]
    fn an_ingress_that_was_refused_is_not_ready() {
        let mut cluster = cluster();
        cluster.spec.exposure.type_ = ExposureType::Ingress;
        cluster.spec.exposure.hosts = vec![HostSpec { host: "a.example".into(), paths: vec!["/ws".into()] }];
        assert_eq!(verdict(&cluster, &Class::Unchecked, None, false).status, ConditionStatus::True);
        let refused = verdict(&cluster, &Class::Unchecked, None, true);
        assert_eq!((refused.status, refused.reason), (ConditionStatus::False, reasons::APPLY_FAILED));
    }

    #[test]
    fn the_address_is_a_host_name_or_an_ip() {
        let service = |status: &serde_json::Value| -> DynamicObject {
            serde_json::from_value(json!({"metadata": {}, "status": status})).unwrap()
        };
        assert_eq!(address(&service(&json!({"loadBalancer": {}}))), None);
        let ip = json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.7"}]}});
        assert_eq!(address(&service(&ip)).as_deref(), Some("192.0.2.7"));
        let host = json!({"loadBalancer": {"ingress": [{"hostname": "lb.example"}]}});
        assert_eq!(address(&service(&host)).as_deref(), Some("lb.example"));
    }
}
