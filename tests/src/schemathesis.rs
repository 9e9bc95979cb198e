//! schemathesis, which sends a server what its description allows, and what it does not, and judges the answers.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use tokio::process::Command;

use crate::{child_process::ChildProcess, scratch_dir::ScratchDir, source_tree};

/// Far more than it takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(150);

/// Checks the API of a hub at `api` by the description that it gives, with `key`, as `tests/openapi/schemathesis.toml`
/// says. Returns what schemathesis said of it.
///
/// # Errors
/// When an answer is not as described, with what schemathesis found; or when it is not installed, with how to get it.
pub async fn check(api: SocketAddr, key: &str) -> Result<String> {
    let program = installed()?;
    let config = source_tree::root().join("tests/openapi/schemathesis.toml");
    // It keeps notes in the folder where it runs.
    let folder = ScratchDir::new("schemathesis")?;
    let mut command = Command::new(program);
    command
        .current_dir(folder.path())
        .env("PYTHONUTF8", "1")
        .arg("--no-color")
        .arg("--config-file")
        .arg(config)
        .args(["run", &format!("http://{api}/openapi.json"), "--header"])
        .arg(format!("Authorization: Bearer {key}"));
    let mut process = ChildProcess::spawn("schemathesis", command)?;
    let status = process.exit(PATIENCE).await?;
    ensure!(status.success(), "the API is not as described: {status}\n{}", process.output());
    Ok(process.stdout())
}

fn installed() -> Result<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let caches = variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")));
    let cache = variable("WSC_CACHE")
        .or_else(|| Some(caches?.join("wsc")))
        .context("neither WSC_CACHE nor HOME is set")?;
    let program = cache.join("schemathesis/bin/schemathesis");
    if !Path::new(&program).is_file() {
        bail!("schemathesis is not at {}; run: .ci/need schemathesis", program.display());
    }
    Ok(program)
}
