//! The Ingress controller of the tests: Traefik, as `tests/cluster/ingress.sh` installs it.

use anyhow::{Context as _, Result};
use tokio::net::TcpStream;

use super::{
    access::Access, namespace::Namespace, port_forward::PortForward, resource::POD, wsc_cluster::condition,
};
use crate::{
    wait::at_most,
    ws_client::{PATIENCE, Upgrade, WsClient, WsRequest},
};

/// The IngressClass that it serves.
pub const INGRESS_CLASS: &str = "wsc-traefik";
const NAMESPACE: &str = "wsc-ingress";
/// Where its pod listens for HTTP.
const PORT: u16 = 8000;

/// A way into the cluster, by host name.
#[derive(Debug)]
pub struct IngressController {
    forward: PortForward,
}

impl IngressController {
    /// Finds it.
    ///
    /// # Errors
    /// When it is not installed, with how to install it.
    pub async fn find(access: &Access) -> Result<Self> {
        let namespace = Namespace::new(access, NAMESPACE).await?;
        let pods = namespace.list(POD).await?;
        let pod = pods
            .iter()
            .find(|pod| {
                condition(pod, "Ready")["status"] == "True" && pod["metadata"]["deletionTimestamp"].is_null()
            })
            .and_then(|pod| pod["metadata"]["name"].as_str())
            .context("no Ingress controller runs: run tests/cluster/ingress.sh")?;
        Ok(Self { forward: PortForward::start(&namespace.client, NAMESPACE, pod, PORT).await? })
    }

    /// Asks for an upgrade at a host name, as a client on the internet does.
    ///
    /// # Errors
    /// When there is no HTTP answer within 10 s.
    pub async fn upgrade(&self, host: &str, request: &WsRequest) -> Result<Upgrade> {
        let tcp = at_most("TCP connects", PATIENCE, TcpStream::connect(self.forward.address())).await??;
        tcp.set_nodelay(true)?;
        WsClient::upgrade_over(Box::new(tcp), host, request).await
    }

    /// Connects and reads `welcome`.
    ///
    /// # Errors
    /// When the upgrade is refused.
    pub async fn connect(&self, host: &str, request: &WsRequest) -> Result<WsClient> {
        WsClient::welcomed(self.upgrade(host, request).await?).await
    }
}
