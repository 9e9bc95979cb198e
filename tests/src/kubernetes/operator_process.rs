//! The operator as a process outside the cluster.

use std::{process::ExitStatus, time::Duration};

use anyhow::{Context as _, Result};
use rustix::process::Signal;
use tokio::process::Command;

use super::namespace::Namespace;
use crate::{
    child_process::ChildProcess,
    program,
    wait::{Look, eventually},
};

/// A running operator that watches one namespace. Dropping it kills it.
#[derive(Debug)]
pub struct OperatorProcess {
    process: ChildProcess,
    /// Address of its metrics and probes.
    pub address: String,
}

impl OperatorProcess {
    /// Starts one for a namespace and waits until it is ready.
    ///
    /// # Errors
    /// When it does not become ready within 60 s; with its output.
    pub async fn start(namespace: &Namespace) -> Result<Self> {
        Self::start_with(namespace, &[]).await
    }

    /// The same with variables of the test's own.
    ///
    /// # Errors
    /// When it does not become ready within 60 s; with its output.
    pub async fn start_with(namespace: &Namespace, variables: &[(&str, &str)]) -> Result<Self> {
        let operator = Self::spawn(namespace, variables)?;
        operator.ready(Duration::from_secs(60)).await?;
        Ok(operator)
    }

    /// Starts one and waits for nothing.
    ///
    /// # Errors
    /// When the program is not there.
    pub fn spawn(namespace: &Namespace, variables: &[(&str, &str)]) -> Result<Self> {
        let kubeconfig =
            namespace.access.kubeconfig.as_ref().context("an operator outside needs a kubeconfig file")?;
        // Taken and given back, so that another process could take it in between; then the start fails and says so.
        let address = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
        let mut command = Command::new(program::built("wsc-operator")?);
        command
            .env_clear()
            .env("KUBECONFIG", kubeconfig)
            .env("WSC_WATCH_NAMESPACES", &namespace.name)
            .env("WSC_OPERATOR_NAMESPACE", &namespace.name)
            .env("WSC_HUB_IMAGE", "wsc-hub:dev")
            .env("WSC_REDIS_IMAGE", "wsc-redis:dev")
            .env("WSC_LISTEN", &address)
            .env("POD_NAME", "operator-of-the-test")
            .envs(variables.iter().copied());
        Ok(Self { process: ChildProcess::spawn("wsc-operator", command)?, address })
    }

    /// Waits until it says that it is ready.
    ///
    /// # Errors
    /// After `within`; with its output.
    pub async fn ready(&self, within: Duration) -> Result<()> {
        let ready = eventually("the operator is ready", within, async || {
            Ok(match self.get("/readyz").await {
                Ok((200, _)) => Look::Holds(()),
                Ok((status, text)) => Look::NotYet(format!("{status} {text}")),
                Err(error) => Look::NotYet(error.to_string()),
            })
        });
        ready.await.map_err(|error| error.context(self.process.output()))
    }

    /// Whether it is the one that acts.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn leads(&self) -> Result<bool> {
        Ok(self.metric("wsc_operator_leader").await? > 0.0)
    }

    /// Sum of all samples whose name, with its labels, begins so.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn metric(&self, name: &str) -> Result<f64> {
        let (_, text) = self.get("/metrics").await?;
        let samples = text.lines().filter(|line| line.starts_with(name));
        Ok(samples.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum())
    }

    /// Memory that it holds now, in bytes (the kernel's `VmRSS`).
    ///
    /// # Errors
    /// When it is gone, or this is not Linux.
    pub fn resident_bytes(&self) -> Result<u64> {
        self.process.resident_bytes()
    }

    /// Asks its own HTTP.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn get(&self, path: &str) -> Result<(u16, String)> {
        let response = reqwest::get(format!("http://{}{path}", self.address)).await?;
        Ok((response.status().as_u16(), response.text().await?))
    }

    /// All it wrote until now.
    #[must_use]
    pub fn output(&self) -> String {
        self.process.output()
    }

    /// Asks it to end and waits.
    ///
    /// # Errors
    /// When it does not end within `within`.
    pub async fn terminate(&mut self, within: Duration) -> Result<ExitStatus> {
        self.process.signal(Signal::TERM)?;
        self.process.exit(within).await
    }

    /// Ends it with SIGKILL and waits until it is gone.
    ///
    /// # Errors
    /// When it cannot be killed.
    pub async fn kill(&mut self) -> Result<()> {
        self.process.kill().await
    }
}
