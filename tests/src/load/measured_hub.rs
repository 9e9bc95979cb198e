//! A hub under measurement: the shipped program, with nothing around it.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    process::{Child, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::http_posts::HttpPosts;
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

    /// One request to its API, which must be answered with 200.
    ///
    /// # Errors
    /// When it is not, with the answer.
    pub fn post(&self, path: &str, body: &str) -> Result<()> {
        let mut socket = TcpStream::connect(self.api)?;
        socket.set_read_timeout(Some(START))?;
        socket.write_all(&HttpPosts::request(path, KEY, body))?;
        let mut answer = [0; 4096];
        let read = socket.read(&mut answer)?;
        let answer = String::from_utf8_lossy(&answer[..read]);
        ensure!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
        Ok(())
    }

    /// A number at its `/metrics`.
    ///
    /// # Errors
    /// When it is not there.
    pub fn metric(&self, name: &str) -> Result<u64> {
        let mut socket = TcpStream::connect(self.api)?;
        socket.set_read_timeout(Some(START))?;
        let request = format!(
            "GET /metrics HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {KEY}\r\nConnection: close\r\n\r\n"
        );
        socket.write_all(request.as_bytes())?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer)?;
        let value = answer.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        value.with_context(|| format!("no metric {name}"))
    }

    /// Tells it to end, and waits until it has, so that another may have its name at once.
    ///
    /// # Errors
    /// When it does not end well, or not in time.
    pub fn end(mut self) -> Result<()> {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw).context("no process id")?;
        kill_process(pid, Signal::TERM)?;
        let begin = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                ensure!(status.success(), "the hub ended with {status}");
                return Ok(());
            }
            ensure!(begin.elapsed() < START, "the hub does not end");
            std::thread::sleep(Duration::from_millis(20));
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
