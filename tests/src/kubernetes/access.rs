//! Which Kubernetes is meant, and how to reach it.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context as _, Result};
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};

use super::kubectl::Kubectl;

/// A cluster: a kubeconfig file, or the usual places, and a context of it.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// The file; `KUBECONFIG` or `~/.kube/config` when none is given.
    pub kubeconfig: Option<PathBuf>,
    /// The context; the current one when none is given.
    pub context: Option<String>,
}

impl Access {
    /// What the variables `KUBECONFIG` and `CONTEXT` name.
    #[must_use]
    pub fn from_environment() -> Self {
        Self { kubeconfig: None, context: std::env::var("CONTEXT").ok().filter(|name| !name.is_empty()) }
    }

    /// A client for the calling runtime.
    ///
    /// # Errors
    /// When there is no such cluster, with how to get one.
    pub async fn client(&self) -> Result<Client> {
        // Two libraries of this program bring TLS; the first to install its cryptography serves both.
        drop(rustls::crypto::ring::default_provider().install_default());
        let options = KubeConfigOptions { context: self.context.clone(), ..KubeConfigOptions::default() };
        let config = match &self.kubeconfig {
            Some(path) => Config::from_custom_kubeconfig(Kubeconfig::read_from(path)?, &options).await,
            None => Config::from_kubeconfig(&options).await,
        };
        let mut config = config.context(
            "no Kubernetes cluster: run `make cluster-up` and eval \"$(tests/cluster/cluster.sh env)\", \
             or set CONTEXT to a context of your kubeconfig",
        )?;
        config.connect_timeout = Some(Duration::from_secs(5));
        let client = Client::try_from(config)?;
        client.apiserver_version().await.context(
            "the Kubernetes cluster does not answer: run `make cluster-up`, or set CONTEXT to one that runs",
        )?;
        Ok(client)
    }

    /// `kubectl` for this cluster.
    ///
    /// # Errors
    /// When `kubectl` is missing.
    pub fn kubectl(&self, namespace: &str) -> Result<Kubectl> {
        Kubectl::new(self, namespace)
    }
}
