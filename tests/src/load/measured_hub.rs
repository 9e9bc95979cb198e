//! A hub under measurement: the shipped program, with nothing around it.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    process::{Child, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::program;

/// The API key of a hub with `--dev`.
pub const KEY: &str = "dev-only-key-do-not-use-in-production";
/// How long a start may take.
const START: Duration = Duration::from_secs(20);

/// A hub under measurement. Dropping it kills it.
#[derive(Debug)]
pub struct MeasuredHub {
    child: Child,
    /// Where clients connect.
    pub client: SocketAddr,
    /// Where the API is.
    pub api: SocketAddr,
    _output: BufReader<ChildStdout>,
}

impl MeasuredHub {
    /// Starts a hub; `settings` are variables.
    ///
    /// # Errors
    /// When it is not built, or not healthy in time.
    pub fn start(id: &str, settings: &[(&str, &str)]) -> Result<Self> {
        let mut command = Command::new(program::built("wsc-hub")?);
        command.env_clear().arg("--dev").env("WSC_NODE_ID", id).env("WSC_LOG", "warn");
        command.env("WSC_CLIENT_ADDR", "127.0.0.1:0").env("WSC_API_ADDR", "127.0.0.1:0");
        command.envs(settings.iter().copied());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().context("cannot start wsc-hub")?;
        let mut output = BufReader::new(child.stdout.take().context("no output")?);
        let mut line = String::new();
        output.read_line(&mut line)?;
        let said: Value =
            serde_json::from_str(&line).with_context(|| format!("not what a hub says: {line:?}"))?;
        let address = |field: &str| -> Result<SocketAddr> {
            Ok(said[field].as_str().with_context(|| format!("no {field} in {line}"))?.parse()?)
        };
        let hub = Self { client: address("client")?, api: address("api")?, child, _output: output };
        hub.becomes_healthy()?;
        Ok(hub)
    }

    fn becomes_healthy(&self) -> Result<()> {
        let begin = Instant::now();
        loop {
            let mut socket = TcpStream::connect(self.client)?;
            socket.set_read_timeout(Some(START))?;
            socket.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
            let mut answer = String::new();
            socket.read_to_string(&mut answer)?;
            if answer.starts_with("HTTP/1.1 200") {
                return Ok(());
            }
            ensure!(begin.elapsed() < START, "not healthy: {answer}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for MeasuredHub {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
