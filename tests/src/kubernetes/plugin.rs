//! `kubectl wsc`, called as users call it: by `kubectl`, which finds the program on PATH.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use tokio::process::Command;

use super::{access::Access, kubectl::find, namespace::Namespace};
use crate::{program, wait::at_most};

/// How long one command may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// The plugin for one namespace.
#[derive(Debug, Clone)]
pub struct Plugin {
    kubectl: PathBuf,
    path: OsString,
    access: Access,
    namespace: String,
    /// Folder in which it runs.
    pub folder: PathBuf,
}

impl Plugin {
    /// For a namespace; it runs in `folder`, where programs put there are found as well.
    ///
    /// # Errors
    /// When kubectl is missing or the plugin is not built.
    pub fn new(namespace: &Namespace, folder: &Path) -> Result<Self> {
        let built = program::built("kubectl-wsc")?;
        let own = built.parent().context("a program without a folder")?.to_owned();
        let before = std::env::var_os("PATH").unwrap_or_default();
        let folders = [own, folder.to_owned()].into_iter().chain(std::env::split_paths(&before));
        Ok(Self {
            kubectl: find("kubectl")?,
            path: std::env::join_paths(folders)?,
            access: namespace.access.clone(),
            namespace: namespace.name.clone(),
            folder: folder.to_owned(),
        })
    }

    /// The same with another kubeconfig.
    #[must_use]
    pub fn with_kubeconfig(&self, kubeconfig: &Path) -> Self {
        let access = Access { kubeconfig: Some(kubeconfig.to_owned()), context: None };
        Self { access, ..self.clone() }
    }

    /// Runs `kubectl` with these arguments and no others.
    ///
    /// # Errors
    /// When it cannot be run or does not end.
    pub async fn kubectl(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = Command::new(&self.kubectl);
        command.args(arguments).env("PATH", &self.path).current_dir(&self.folder).stdin(Stdio::null());
        if let Some(kubeconfig) = &self.access.kubeconfig {
            command.env("KUBECONFIG", kubeconfig);
        }
        let what = format!("kubectl {} ends", arguments.join(" "));
        at_most(&what, PATIENCE, command.kill_on_drop(true).output()).await?.context(what)
    }

    async fn call(&self, arguments: &[&str]) -> Result<Output> {
        let mut all = vec!["wsc"];
        all.extend(arguments);
        all.extend(["-n", &self.namespace]);
        if let Some(context) = &self.access.context {
            all.extend(["--context", context]);
        }
        self.kubectl(&all).await
    }

    /// Runs a command and gives what it printed.
    ///
    /// # Errors
    /// When it fails; with what it said.
    pub async fn run(&self, arguments: &[&str]) -> Result<String> {
        let output = self.call(arguments).await?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "kubectl wsc {}: {said}", arguments.join(" "));
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Runs a command with `-o json` and gives its answer.
    ///
    /// # Errors
    /// When it fails, or prints something else.
    pub async fn json(&self, arguments: &[&str]) -> Result<Value> {
        let mut all = arguments.to_vec();
        all.extend(["-o", "json"]);
        Ok(serde_json::from_str(&self.run(&all).await?)?)
    }

    /// Runs a command that must fail; gives the exit code and what it said.
    ///
    /// # Errors
    /// When it succeeds.
    pub async fn refused(&self, arguments: &[&str]) -> Result<(i32, String)> {
        let output = self.call(arguments).await?;
        if output.status.success() {
            bail!("{} was accepted: {}", arguments.join(" "), String::from_utf8_lossy(&output.stdout));
        }
        Ok((output.status.code().unwrap_or(-1), String::from_utf8_lossy(&output.stderr).into_owned()))
    }
}

/// The files of a bundle that `report` wrote: path below its folder, and text.
///
/// # Errors
/// When it cannot be unpacked.
pub fn unpack(file: &Path) -> Result<Vec<(String, String)>> {
    let packed = std::fs::File::open(file).with_context(|| format!("no bundle {}", file.display()))?;
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(packed));
    let mut files = Vec::new();
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.components().skip(1).collect::<PathBuf>().display().to_string();
        let mut text = String::new();
        std::io::Read::read_to_string(&mut entry, &mut text)?;
        files.push((path, text));
    }
    Ok(files)
}
