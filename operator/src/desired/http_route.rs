//! The HTTPRoute, for clusters whose way in is a Gateway.
//!
//! Host names of a route hold for all its paths, so hosts with other paths get a route of their own. WebSocket upgrades
//! need no field; a controller with an idle timeout is kept content by the hub's pings.

use serde_json::{Map, Value, json};

use super::endpoints::WEBSOCKET_PATH;
use super::labels::Component;
use super::optional::HttpRoute;
use super::{metadata, names};
use crate::api::WscCluster;
use crate::api::exposure::GatewayRef;

/// Most host names that the Gateway API takes in one route.
const MOST_HOSTS: usize = 16;

/// The routes, none without a Gateway.
pub fn routes(cluster: &WscCluster) -> Vec<HttpRoute> {
    let Some(gateway) = &cluster.spec.exposure.gateway_ref else {
        return Vec::new();
    };
    groups(cluster)
        .into_iter()
        .enumerate()
        .map(|(number, (hosts, paths))| {
            let annotations = cluster.spec.exposure.annotations.clone();
            let name = names::http_route(cluster, number);
            HttpRoute {
                metadata: metadata::annotated(cluster, name, Component::Hub, annotations),
                spec: spec(cluster, gateway, &hosts, &paths),
            }
        })
        .collect()
}

/// Hosts with the same paths together, in the order of the spec.
fn groups(cluster: &WscCluster) -> Vec<(Vec<String>, Vec<String>)> {
    let mut groups: Vec<(Vec<String>, Vec<String>)> = Vec::new();
    for host in &cluster.spec.exposure.hosts {
        match groups.iter_mut().find(|(hosts, paths)| *paths == host.paths && hosts.len() < MOST_HOSTS) {
            Some((hosts, _)) => hosts.push(host.host.clone()),
            None => groups.push((vec![host.host.clone()], host.paths.clone())),
        }
    }
    if groups.is_empty() {
        groups.push((Vec::new(), vec![WEBSOCKET_PATH.to_owned()]));
    }
    groups
}

/// Fields with defaults are written out, so that the defaults of the definition change nothing.
fn spec(cluster: &WscCluster, gateway: &GatewayRef, hosts: &[String], paths: &[String]) -> Value {
    let mut parent = Map::from_iter([
        ("group".to_owned(), json!("gateway.networking.k8s.io")),
        ("kind".to_owned(), json!("Gateway")),
        ("name".to_owned(), json!(gateway.name)),
    ]);
    if let Some(namespace) = &gateway.namespace {
        parent.insert("namespace".to_owned(), json!(namespace));
    }
    if let Some(section) = &gateway.section_name {
        parent.insert("sectionName".to_owned(), json!(section));
    }
    let matches: Vec<Value> =
        paths.iter().map(|path| json!({"path": {"type": "PathPrefix", "value": path}})).collect();
    let mut spec = json!({
        "parentRefs": [parent],
        "rules": [{
            "matches": matches,
            "backendRefs": [{
                "group": "", "kind": "Service", "name": names::client_service(cluster),
                "port": cluster.spec.services.client.port, "weight": 1
            }]
        }]
    });
    if !hosts.is_empty() {
        spec["hostnames"] = json!(hosts);
    }
    spec
}

#[cfg(test)]
mod tests {
    use super::routes;
    use crate::api::WscCluster;
    use crate::api::exposure::{ExposureType, GatewayRef, HostSpec};
    use crate::desired::fixture::cluster;

    fn exposed(hosts: &[(&str, &str)]) -> WscCluster {
        let mut cluster = cluster();
        let exposure = &mut cluster.spec.exposure;
        exposure.type_ = ExposureType::Gateway;
        exposure.gateway_ref =
            Some(GatewayRef { name: "edge".into(), namespace: Some("infra".into()), section_name: None });
        exposure.hosts = hosts
            .iter()
            .map(|(host, path)| HostSpec { host: (*host).into(), paths: vec![(*path).into()] })
            .collect();
        cluster
    }

    #[test]
    fn hosts_with_the_same_paths_share_a_route_and_others_get_their_own() {
        let routes = routes(&exposed(&[("a.example", "/ws"), ("b.example", "/chat"), ("c.example", "/ws")]));
        let seen: Vec<_> = routes
            .iter()
            .map(|route| (route.metadata.name.clone().unwrap(), route.spec["hostnames"].to_string()))
            .collect();
        let wanted = [("chat", "[\"a.example\",\"c.example\"]"), ("chat-2", "[\"b.example\"]")];
        assert_eq!(seen, wanted.map(|(name, hosts)| (name.to_owned(), hosts.to_owned())));
        assert_eq!(routes[1].spec["rules"][0]["matches"][0]["path"]["value"], "/chat");
        assert_eq!(routes[0].spec["parentRefs"][0]["namespace"], "infra");
    }

    #[test]
    fn a_route_holds_at_most_what_the_gateway_api_takes() {
        let hosts: Vec<String> = (0..32).map(|number| format!("h{number}.example")).collect();
        let pairs: Vec<(&str, &str)> = hosts.iter().map(|host| (host.as_str(), "/ws")).collect();
        let counts: Vec<usize> = routes(&exposed(&pairs))
            .iter()
            .map(|route| route.spec["hostnames"].as_array().unwrap().len())
            .collect();
        assert_eq!(counts, [16, 16]);
    }

    #[test]
    fn without_hosts_every_host_leads_to_the_websocket() {
        let routes = routes(&exposed(&[]));
        assert_eq!(routes.len(), 1);
        assert_eq!(routes[0].spec.get("hostnames"), None);
        assert_eq!(routes[0].spec["rules"][0]["matches"][0]["path"]["value"], "/ws");
    }
}
