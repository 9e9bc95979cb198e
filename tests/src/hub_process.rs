//! The hub as a process, as it is shipped.

use std::{collections::BTreeMap, net::SocketAddr, path::Path, process::ExitStatus, time::Duration};

use anyhow::{Context as _, Result};
use rustix::process::Signal;
use serde_json::Value;
use tokio::process::Command;

use crate::{
    api_client::ApiClient,
    child_process::ChildProcess,
    program,
    wait::{Look, eventually},
    ws_client::{WsClient, WsRequest},
};

/// How long a hub may take until it listens.
const START: Duration = Duration::from_secs(20);

/// Settings of a hub: variables and flags. Nothing is taken over from the test's own environment.
#[derive(Debug, Clone, Default)]
pub struct HubOptions {
    variables: BTreeMap<String, String>,
    flags: Vec<String>,
}

impl HubOptions {
    /// A hub with free ports on loopback and the given id.
    #[must_use]
    pub fn node(id: &str) -> Self {
        Self::default()
            .set("WSC_NODE_ID", id)
            .set("WSC_CLIENT_ADDR", "127.0.0.1:0")
            .set("WSC_API_ADDR", "127.0.0.1:0")
            .set("WSC_LOG_FORMAT", "json")
    }

    /// Sets a variable.
    #[must_use]
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.variables.insert(name.to_owned(), value.to_owned());
        self
    }

    /// What a variable was set to.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }

    /// Sets a variable to a path.
    #[must_use]
    pub fn set_path(self, name: &str, path: &Path) -> Self {
        self.set(name, &path.to_string_lossy())
    }

    /// Adds a flag.
    #[must_use]
    pub fn flag(mut self, flag: &str) -> Self {
        self.flags.push(flag.to_owned());
        self
    }

    /// Starts the program without waiting for anything.
    ///
    /// # Errors
    /// When `wsc-hub` is not built or cannot be started.
    pub fn spawn(&self) -> Result<ChildProcess> {
        let mut command = Command::new(program::built("wsc-hub")?);
        command.env_clear().envs(&self.variables).args(&self.flags);
        ChildProcess::spawn("wsc-hub", command)
    }
}

/// A running hub. Dropping it kills it.
#[derive(Debug)]
pub struct HubProcess {
    process: ChildProcess,
    /// Address of `/ws`.
    pub client: SocketAddr,
    /// Address of the control API.
    pub api: SocketAddr,
}

impl HubProcess {
    /// Starts a hub and waits until it listens.
    ///
    /// # Errors
    /// When it does not print where it listens within 20 s; with its output.
    pub async fn start(options: &HubOptions) -> Result<Self> {
        let process = options.spawn()?;
        let line = process
            .stdout_line("the hub listens", START, |line| {
                serde_json::from_str::<Value>(line).ok().filter(|line| line["event"] == "listening")
            })
            .await?;
        let address = |field: &str| -> Result<SocketAddr> {
            let text = line[field].as_str().with_context(|| format!("no {field} in {line}"))?;
            text.parse().with_context(|| format!("{field} is no address: {text}"))
        };
        Ok(Self { client: address("client")?, api: address("api")?, process })
    }

    /// Starts a hub and waits until it takes clients.
    ///
    /// # Errors
    /// When it is not registered within 20 s; with its output.
    pub async fn ready(options: &HubOptions) -> Result<Self> {
        let hub = Self::start(options).await?;
        hub.becomes_ready(START).await?;
        Ok(hub)
    }

    /// Waits until `/health` answers 200.
    ///
    /// # Errors
    /// After `within`, with the last answer and the hub's output.
    pub async fn becomes_ready(&self, within: Duration) -> Result<()> {
        let health = self.client_http()?;
        let wait = eventually("the hub is healthy", within, async || {
            let answer = health.get("/health").await?;
            Ok(Look::when(answer.status == 200, (), answer.text))
        });
        wait.await.map_err(|error| error.context(self.process.output()))
    }

    /// The program.
    pub fn process(&mut self) -> &mut ChildProcess {
        &mut self.process
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.process.pid()
    }

    /// All it wrote until now, logs included.
    #[must_use]
    pub fn output(&self) -> String {
        self.process.output()
    }

    /// HTTP on the client port.
    ///
    /// # Errors
    /// When the HTTP client cannot be built.
    pub fn client_http(&self) -> Result<ApiClient> {
        ApiClient::new(self.client, None)
    }

    /// The control API with a key.
    ///
    /// # Errors
    /// When the HTTP client cannot be built.
    pub fn api(&self, key: &str) -> Result<ApiClient> {
        ApiClient::new(self.api, Some(key))
    }

    /// Connects a user in mode trusted.
    ///
    /// # Errors
    /// When the upgrade is refused.
    pub async fn connect(&self, user: &str) -> Result<WsClient> {
        WsClient::connect(self.client, &WsRequest::user(user)).await
    }

    /// Asks it to end and waits.
    ///
    /// # Errors
    /// When it does not end within `within`.
    pub async fn terminate(&mut self, within: Duration) -> Result<ExitStatus> {
        self.process.signal(Signal::TERM)?;
        self.process.exit(within).await
    }

    /// Ends it at once, as a crash would.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn kill(&mut self) -> Result<()> {
        self.process.kill().await
    }
}
