//! A pod's port on loopback, by the API server, so that it works with any cluster.

use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_util::sync::{CancellationToken, DropGuard};

/// A local port whose connections end in a pod. Dropping it closes the port and its connections.
#[derive(Debug)]
pub struct PortForward {
    address: SocketAddr,
    _stop: DropGuard,
}

impl PortForward {
    /// Listens on a free port of loopback. The pod is looked up by name for each connection, so a pod that is
    /// replaced by one of its name stays reachable.
    ///
    /// # Errors
    /// When no local port is free.
    pub async fn start(client: &Client, namespace: &str, pod: &str, port: u16) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("no local port is free")?;
        let address = listener.local_addr()?;
        let pods = Api::<Pod>::namespaced(client.clone(), namespace);
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let pod = pod.to_owned();
        tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                tokio::select! {
                    () = stopped.cancelled() => break,
                    Some(_) = connections.join_next(), if !connections.is_empty() => {}
                    accepted = listener.accept() => {
                        let Ok((stream, _)) = accepted else { break };
                        connections.spawn(carry(pods.clone(), pod.clone(), port, stream));
                    }
                }
            }
        });
        Ok(Self { address, _stop: stop.drop_guard() })
    }

    /// The local address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Carries one connection. When the pod cannot be reached the local connection is closed, which is what its user sees.
async fn carry(pods: Api<Pod>, pod: String, port: u16, mut local: TcpStream) {
    drop(local.set_nodelay(true));
    let Ok(mut forwarder) = pods.portforward(&pod, &[port]).await else { return };
    let Some(mut remote) = forwarder.take_stream(port) else { return };
    let error = forwarder.take_error(port);
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut local, &mut remote) => {}
        // The kubelet says that nobody listens, or that the pod is gone.
        Some(_) = async { match error { Some(error) => error.await, None => std::future::pending().await } } => {}
    }
    drop(remote);
    forwarder.abort();
}
