//! `kubectl` and `helm`, run as users run them.

use std::{
    path::PathBuf,
    process::{Output, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use tokio::{io::AsyncWriteExt as _, process::Command};

use super::access::Access;
use crate::{program, wait::at_most};

/// How long one command may take.
const PATIENCE: Duration = Duration::from_secs(300);

/// A command line tool bound to a cluster and a namespace.
#[derive(Debug, Clone)]
pub struct Kubectl {
    program: PathBuf,
    arguments: Vec<String>,
    kubeconfig: Option<PathBuf>,
}

/// The tool on `PATH`, or where `tests/cluster/build.sh` puts it.
pub(super) fn find(name: &str) -> Result<PathBuf> {
    if let Ok(found) = program::installed(name, name) {
        return Ok(found);
    }
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = variable("WSC_CACHE")
        .or_else(|| variable("XDG_CACHE_HOME").map(|home| home.join("wsc")))
        .or_else(|| variable("HOME").map(|home| home.join(".cache/wsc")));
    let candidate = cache.map(|cache| cache.join("bin").join(name));
    match candidate {
        Some(candidate) if candidate.exists() => Ok(candidate),
        _ => bail!(
            "{name} is not installed; tests/cluster/build.sh builds it, or install it and put it on PATH"
        ),
    }
}

impl Kubectl {
    pub(super) fn new(access: &Access, namespace: &str) -> Result<Self> {
        let mut arguments = vec!["--namespace".to_owned(), namespace.to_owned()];
        if let Some(context) = &access.context {
            arguments.extend(["--context".to_owned(), context.clone()]);
        }
        Ok(Self { program: find("kubectl")?, arguments, kubeconfig: access.kubeconfig.clone() })
    }

    /// `helm` for the same cluster and namespace.
    ///
    /// # Errors
    /// When `helm` is missing.
    pub fn helm(access: &Access, namespace: &str) -> Result<Self> {
        let mut arguments = vec!["--namespace".to_owned(), namespace.to_owned()];
        if let Some(context) = &access.context {
            arguments.extend(["--kube-context".to_owned(), context.clone()]);
        }
        Ok(Self { program: find("helm")?, arguments, kubeconfig: access.kubeconfig.clone() })
    }

    /// The command with its first arguments, for callers that cannot wait asynchronously.
    pub(super) fn command(&self) -> std::process::Command {
        let mut command = std::process::Command::new(&self.program);
        command.args(&self.arguments);
        if let Some(kubeconfig) = &self.kubeconfig {
            command.env("KUBECONFIG", kubeconfig);
        }
        command
    }

    async fn output(&self, arguments: &[&str], input: Option<&str>) -> Result<Output> {
        let mut command = Command::from(self.command());
        command
            .args(arguments)
            .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().with_context(|| format!("cannot run {}", self.program.display()))?;
        if let (Some(mut stdin), Some(input)) = (child.stdin.take(), input) {
            stdin.write_all(input.as_bytes()).await?;
        }
        let what = format!("{} {} ends", self.program.display(), arguments.join(" "));
        at_most(&what, PATIENCE, child.wait_with_output()).await?.context(what)
    }

    /// Runs it and gives what it printed.
    ///
    /// # Errors
    /// When it fails; with what it said.
    pub async fn run(&self, arguments: &[&str]) -> Result<String> {
        self.succeed(arguments, None).await
    }

    /// The same with standard input.
    ///
    /// # Errors
    /// When it fails; with what it said.
    pub async fn run_with(&self, arguments: &[&str], input: &str) -> Result<String> {
        self.succeed(arguments, Some(input)).await
    }

    async fn succeed(&self, arguments: &[&str], input: Option<&str>) -> Result<String> {
        let output = self.output(arguments, input).await?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{} {}: {said}", self.program.display(), arguments.join(" "));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs it where nothing can be awaited, as when something is dropped; whether it succeeds is seen elsewhere.
    pub fn attempt(&self, arguments: &[&str]) {
        let mut command = self.command();
        command.args(arguments);
        drop(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status());
    }

    /// Runs it, it must fail, and gives what it said on standard error.
    ///
    /// # Errors
    /// When it succeeds.
    pub async fn refused(&self, arguments: &[&str], input: &str) -> Result<String> {
        let output = self.output(arguments, Some(input)).await?;
        let printed = String::from_utf8_lossy(&output.stdout);
        ensure!(!output.status.success(), "{} was accepted: {printed}", arguments.join(" "));
        Ok(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}
