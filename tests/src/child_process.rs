//! A program run by a test: its output is kept, and it ends with the test.

use std::{
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow};
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, BufReader},
    process::{Child, Command},
    sync::watch,
};

use crate::wait::{Look, at_most, eventually};

/// A running program. Dropping it kills the program.
#[derive(Debug)]
pub struct ChildProcess {
    name: String,
    child: Child,
    pid: i32,
    stdout: Output,
    stderr: Output,
}

/// Lines that a program wrote, readable while it runs.
#[derive(Debug, Clone)]
struct Output {
    text: Arc<Mutex<String>>,
    /// Rises with each line; closed at the end of the output.
    lines: watch::Receiver<u64>,
}

impl Output {
    fn collect(stream: impl AsyncRead + Unpin + Send + 'static) -> Self {
        let text = Arc::new(Mutex::new(String::new()));
        let (count, lines) = watch::channel(0);
        let kept = Arc::clone(&text);
        tokio::spawn(async move {
            let mut reader = BufReader::new(stream);
            let mut line = Vec::new();
            while reader.read_until(b'\n', &mut line).await.is_ok_and(|bytes| bytes > 0) {
                kept.lock().unwrap_or_else(PoisonError::into_inner).push_str(&String::from_utf8_lossy(&line));
                line.clear();
                count.send_modify(|count| *count += 1);
            }
        });
        Self { text, lines }
    }

    fn text(&self) -> String {
        self.text.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for the end of the output.
    async fn ended(&self) {
        let mut lines = self.lines.clone();
        while lines.changed().await.is_ok() {}
    }

    /// The first line for which `pick` gives something; `None` when the output ended without one.
    async fn line<T>(&self, pick: impl Fn(&str) -> Option<T>) -> Option<T> {
        let mut lines = self.lines.clone();
        loop {
            lines.mark_unchanged();
            if let Some(found) = self.text().lines().find_map(&pick) {
                return Some(found);
            }
            if lines.changed().await.is_err() {
                return self.text().lines().find_map(&pick);
            }
        }
    }
}

impl ChildProcess {
    /// Starts the program with no standard input.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn(name: &str, mut command: Command) -> Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        let pid =
            child.id().and_then(|id| i32::try_from(id).ok()).context("the program has no process id")?;
        let stdout = Output::collect(child.stdout.take().context("no standard output")?);
        let stderr = Output::collect(child.stderr.take().context("no standard error")?);
        Ok(Self { name: name.to_owned(), child, pid, stdout, stderr })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// All it wrote to standard output until now.
    #[must_use]
    pub fn stdout(&self) -> String {
        self.stdout.text()
    }

    /// All it wrote to standard error until now.
    #[must_use]
    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// Both outputs, for messages.
    #[must_use]
    pub fn output(&self) -> String {
        format!("--- {} stdout\n{}--- {} stderr\n{}", self.name, self.stdout(), self.name, self.stderr())
    }

    /// Waits for a line of standard output.
    ///
    /// # Errors
    /// After `within`, or when the output ends first; with all output.
    pub async fn stdout_line<T>(
        &self,
        what: &str,
        within: Duration,
        pick: impl Fn(&str) -> Option<T>,
    ) -> Result<T> {
        self.line(&self.stdout, what, within, pick).await
    }

    /// Waits for a line of standard error.
    ///
    /// # Errors
    /// After `within`, or when the output ends first; with all output.
    pub async fn stderr_line<T>(
        &self,
        what: &str,
        within: Duration,
        pick: impl Fn(&str) -> Option<T>,
    ) -> Result<T> {
        self.line(&self.stderr, what, within, pick).await
    }

    async fn line<T>(
        &self,
        output: &Output,
        what: &str,
        within: Duration,
        pick: impl Fn(&str) -> Option<T>,
    ) -> Result<T> {
        at_most(what, within, output.line(pick))
            .await
            .and_then(|found| found.ok_or_else(|| anyhow!("{} ended its output without {what}", self.name)))
            .map_err(|error| error.context(self.output()))
    }

    /// Sends a signal, by the process id.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(self.pid).context("not a process id")?;
        kill_process(pid, signal).with_context(|| format!("cannot signal {} ({})", self.name, self.pid))
    }

    /// Stops it, as `SIGSTOP` does, and waits until none of its threads runs: the signal itself comes when the kernel
    /// gets to it, which on a busy machine is late.
    ///
    /// # Errors
    /// When the process is gone, or runs after 10 s, or this is not Linux.
    pub async fn halt(&self) -> Result<()> {
        self.signal(Signal::STOP)?;
        eventually(&format!("{} stands still", self.name), Duration::from_secs(10), async || {
            let running = self.running_threads()?;
            Ok(Look::when(running == 0, (), format!("{running} threads run")))
        })
        .await
    }

    fn running_threads(&self) -> Result<usize> {
        let folder = format!("/proc/{}/task", self.pid);
        let mut running = 0;
        for thread in std::fs::read_dir(&folder).with_context(|| format!("cannot read {folder}"))? {
            // A thread may end meanwhile.
            let Ok(stat) = std::fs::read_to_string(thread?.path().join("stat")) else { continue };
            // The name before the state is in parentheses and may hold anything.
            let state = stat.rsplit(") ").next().and_then(|rest| rest.chars().next());
            running += usize::from(state != Some('T'));
        }
        Ok(running)
    }

    /// Memory that it holds now, in bytes (the kernel's `VmRSS`).
    ///
    /// # Errors
    /// When the process is gone, or this is not Linux.
    pub fn resident_bytes(&self) -> Result<u64> {
        let path = format!("/proc/{}/status", self.pid);
        let status = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        let kib: u64 = line.trim().trim_end_matches(" kB").parse().context("VmRSS is no number")?;
        Ok(kib * 1024)
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// After `within`, with all output.
    pub async fn exit(&mut self, within: Duration) -> Result<ExitStatus> {
        let what = format!("{} ends", self.name);
        let status = match at_most(&what, within, self.child.wait()).await {
            Ok(status) => status.with_context(|| format!("cannot wait for {}", self.name)),
            Err(error) => Err(error),
        };
        // What the program wrote last may still be in the pipes; a grandchild could hold them open for longer.
        let outputs = async { tokio::join!(self.stdout.ended(), self.stderr.ended()) };
        drop(tokio::time::timeout(Duration::from_secs(1), outputs).await);
        status.map_err(|error| error.context(self.output()))
    }

    /// Kills it and waits until it is gone.
    ///
    /// # Errors
    /// When that takes more than 5 s.
    pub async fn kill(&mut self) -> Result<()> {
        // It may be gone already, which is what is wanted.
        drop(self.signal(Signal::KILL));
        self.exit(Duration::from_secs(5)).await.map(|_| ())
    }
}
