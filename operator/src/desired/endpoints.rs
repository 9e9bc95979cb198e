//! Where the hub is reached.

use super::names;
use super::services::API_PORT;
use crate::api::WscCluster;
use crate::api::exposure::ExposureType;

/// Path of the WebSocket on the client port.
pub const WEBSOCKET_PATH: &str = "/ws";

/// URLs of the hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoints {
    /// WebSocket URL inside the Kubernetes cluster.
    pub internal: String,
    /// Control API inside the Kubernetes cluster.
    pub api: String,
    /// WebSocket URL of the first host and path of the exposure, if there is one.
    pub external: Option<String>,
}

/// The URLs of a resource.
pub fn endpoints(cluster: &WscCluster) -> Endpoints {
    let namespace = names::namespace(cluster);
    let port = cluster.spec.services.client.port;
    Endpoints {
        internal: format!("ws://{}.{namespace}.svc:{port}{WEBSOCKET_PATH}", names::client_service(cluster)),
        api: format!("http://{}.{namespace}.svc:{API_PORT}", names::api_service(cluster)),
        external: external(cluster),
    }
}

fn external(cluster: &WscCluster) -> Option<String> {
    let exposure = &cluster.spec.exposure;
    // Whether the listeners of a Gateway speak TLS is not in the resource.
    if exposure.type_ != ExposureType::Ingress {
        return None;
    }
    let host = exposure.hosts.first()?;
    let scheme = if exposure.tls.is_some() { "wss" } else { "ws" };
    let path = host.paths.first().map_or(WEBSOCKET_PATH, String::as_str);
    Some(format!("{scheme}://{}{path}", host.host))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::exposure::{ExposureTlsSpec, HostSpec};
    use crate::desired::fixture::cluster;

    #[test]
    fn urls_follow_services_and_exposure() {
        let mut cluster = cluster();
        let plain = endpoints(&cluster);
        assert_eq!(plain.internal, "ws://chat.demo.svc:80/ws");
        assert_eq!(plain.api, "http://chat-api.demo.svc:8081");
        assert_eq!(plain.external, None);

        cluster.spec.exposure.type_ = ExposureType::Ingress;
        cluster.spec.exposure.hosts =
            vec![HostSpec { host: "chat.example.com".into(), paths: vec!["/ws".into()] }];
        assert_eq!(endpoints(&cluster).external.as_deref(), Some("ws://chat.example.com/ws"));
        cluster.spec.exposure.tls = Some(ExposureTlsSpec { secret_name: "cert".into() });
        assert_eq!(endpoints(&cluster).external.as_deref(), Some("wss://chat.example.com/ws"));
    }
}
