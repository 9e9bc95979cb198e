//! A way to the API server that can be cut, for one process.

use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::namespace::Namespace;
use crate::{scratch_dir::ScratchDir, tcp_proxy::TcpProxy};

/// A proxy before the API server, and a kubeconfig that leads through it.
#[derive(Debug)]
pub struct ApiProxy {
    /// What can be cut.
    pub proxy: TcpProxy,
    folder: ScratchDir,
}

impl ApiProxy {
    /// Starts one before the API server of a namespace.
    ///
    /// # Errors
    /// When its kubeconfig is not understood, or no port is free.
    pub async fn start(namespace: &Namespace) -> Result<Self> {
        const SERVER: &str = "/clusters/0/cluster/server";
        let path = namespace.access.kubeconfig.as_ref().context("no kubeconfig file")?;
        let mut config: Value = serde_yaml::from_str(&std::fs::read_to_string(path)?)?;
        let server = config.pointer_mut(SERVER).context("a kubeconfig without server")?;
        let address = server.as_str().and_then(|text| text.strip_prefix("https://")).context("no address")?;
        let proxy =
            TcpProxy::to(address.parse().context("the API server has no address on loopback")?).await?;
        *server = json!(format!("https://{}", proxy.address()));
        let folder = ScratchDir::new("api-proxy")?;
        folder.write("kubeconfig", &serde_yaml::to_string(&config)?)?;
        Ok(Self { proxy, folder })
    }

    /// The kubeconfig that leads through it.
    #[must_use]
    pub fn kubeconfig(&self) -> String {
        Path::new(self.folder.path()).join("kubeconfig").to_string_lossy().into_owned()
    }
}
