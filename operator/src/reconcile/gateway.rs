//! What a Gateway made of the HTTPRoutes.

use kube::api::DynamicObject;
use serde_json::Value;

use crate::api::WscCluster;
use crate::api::conditions::reasons;
use crate::desired::profile;

use super::verdicts::Verdict;

/// The `ExposureReady` condition of an exposure by a Gateway. `routes` are the HTTPRoutes as they are, `served` is whether
/// the API server knows the kind.
#[must_use]
pub fn verdict(cluster: &WscCluster, served: bool, routes: &[&DynamicObject], refused: bool) -> Verdict {
    if let Some(unsupported) = profile::of(cluster).unsupported {
        return Verdict::new(false, reasons::UNSUPPORTED, unsupported);
    }
    if !served {
        return Verdict::new(
            false,
            reasons::GATEWAY_API_MISSING,
            "HTTPRoutes are not served, or the operator may not list them: install the Gateway API (v1), or set exposure.type to Ingress",
        );
    }
    if refused {
        return Verdict::new(
            false,
            reasons::APPLY_FAILED,
            "the API server refused an HTTPRoute; Degraded says why",
        );
    }
    let gateway = cluster.spec.exposure.gateway_ref.as_ref().map_or("", |gateway| gateway.name.as_str());
    for route in routes {
        let name = route.metadata.name.as_deref().unwrap_or_default();
        let parents = route.data.pointer("/status/parents").and_then(Value::as_array);
        let parents = parents.map(Vec::as_slice).unwrap_or_default();
        if let Some((reason, message)) = parents.iter().find_map(refusal) {
            return Verdict::new(
                false,
                reasons::ROUTE_NOT_ACCEPTED,
                format!("Gateway {gateway} does not serve HTTPRoute {name}: {reason}: {message}"),
            );
        }
        if !parents.iter().any(accepts) {
            return Verdict::new(
                false,
                reasons::ROUTE_PENDING,
                format!(
                    "no controller has taken HTTPRoute {name} for Gateway {gateway} yet: does the Gateway exist, and does its controller run?"
                ),
            );
        }
    }
    if routes.is_empty() {
        return Verdict::new(false, reasons::ROUTE_PENDING, "the HTTPRoute is not made yet");
    }
    Verdict::new(true, reasons::AS_EXPECTED, format!("Gateway {gateway} serves the HTTPRoute"))
}

fn conditions(parent: &Value) -> impl Iterator<Item = &Value> {
    parent["conditions"].as_array().into_iter().flatten()
}

fn accepts(parent: &Value) -> bool {
    conditions(parent).any(|condition| condition["type"] == "Accepted" && condition["status"] == "True")
}

/// Why a parent does not serve the route: it did not accept it, or cannot resolve what it leads to.
fn refusal(parent: &Value) -> Option<(&str, &str)> {
    conditions(parent)
        .find(|condition| {
            (condition["type"] == "Accepted" || condition["type"] == "ResolvedRefs")
                && condition["status"] == "False"
        })
        .map(|condition| {
            (
                condition["reason"].as_str().unwrap_or_default(),
                condition["message"].as_str().unwrap_or_default(),
            )
        })
}

#[cfg(test)]
mod tests {
    use kube::api::DynamicObject;
    use serde_json::{Value, json};

    use super::verdict;
    use crate::api::conditions::{ConditionStatus, reasons};
    use crate::api::exposure::{AffinityType, ExposureTlsSpec, ExposureType, GatewayRef};
    use crate::api::redis::{ManagedRedis, RedisSpec};
    use crate::api::{WscCluster, WscClusterSpec};

    fn cluster() -> WscCluster {
        let redis = RedisSpec { managed: Some(ManagedRedis::default()), ..RedisSpec::default() };
        let mut cluster = WscCluster::new("chat", WscClusterSpec::with_redis(redis));
        cluster.spec.exposure.type_ = ExposureType::Gateway;
        cluster.spec.exposure.gateway_ref =
            Some(GatewayRef { name: "edge".into(), namespace: None, section_name: None });
        cluster
    }

    fn route(parents: &Value) -> DynamicObject {
        serde_json::from_value(json!({"metadata": {"name": "chat"}, "status": {"parents": parents}})).unwrap()
    }

    fn parent(type_: &str, status: &str) -> Value {
        json!([{"conditions": [{"type": "Accepted", "status": "True"},
                               {"type": type_, "status": status, "reason": "BecauseOf", "message": "this"}]}])
    }

    #[test]
    fn the_gateway_has_the_last_word() {
        let cluster = cluster();
        let accepted = route(&parent("ResolvedRefs", "True"));
        let rows: [(bool, Vec<DynamicObject>, bool, &str); 7] = [
            (false, vec![], false, reasons::GATEWAY_API_MISSING),
            (true, vec![accepted.clone()], true, reasons::APPLY_FAILED),
            (true, vec![], false, reasons::ROUTE_PENDING),
            (true, vec![route(&json!([]))], false, reasons::ROUTE_PENDING),
            (
                true,
                vec![accepted.clone(), route(&parent("Accepted", "False"))],
                false,
                reasons::ROUTE_NOT_ACCEPTED,
            ),
            (true, vec![route(&parent("ResolvedRefs", "False"))], false, reasons::ROUTE_NOT_ACCEPTED),
            (true, vec![accepted], false, reasons::AS_EXPECTED),
        ];
        for (served, routes, refused, reason) in rows {
            let routes: Vec<&DynamicObject> = routes.iter().collect();
            let said = verdict(&cluster, served, &routes, refused);
            assert_eq!(said.reason, reason, "{}", said.message);
            assert_eq!(said.status == ConditionStatus::True, reason == reasons::AS_EXPECTED);
        }
    }

    #[test]
    fn wishes_that_a_route_cannot_express_are_named() {
        let mut cluster = cluster();
        cluster.spec.exposure.affinity.type_ = AffinityType::Cookie;
        assert!(verdict(&cluster, true, &[], false).message.contains("affinity"));
        cluster.spec.exposure.affinity.type_ = AffinityType::None;
        cluster.spec.exposure.tls = Some(ExposureTlsSpec { secret_name: "cert".into() });
        assert!(verdict(&cluster, true, &[], false).message.contains("listener"));
    }
}
