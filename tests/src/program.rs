//! Where the programs under test are.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

/// A program built from this workspace, found in the build folder of the running test.
///
/// # Errors
/// When it is not built, with the command that builds it.
pub fn built(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe().context("cannot tell where this test runs from")?;
    // Tests are in `deps/` below the programs, programs beside each other.
    for folder in own.ancestors().skip(1).take(2) {
        let candidate = folder.join(name);
        if candidate.is_file() {
            return Ok(candidate);
        }
    }
    bail!("{name} is not built; run: cargo build --release -p {name}")
}

/// An example of this workspace, found in the build folder of the running test.
///
/// # Errors
/// When it is not built, with the command that builds it.
pub fn example(name: &str) -> Result<PathBuf> {
    built(&format!("examples/{name}"))
        .map_err(|_| anyhow::anyhow!("example {name} is not built; run: cargo build --release --examples"))
}

/// A program of the system, found on `PATH` or in the folders of administrators' programs.
///
/// # Errors
/// When it is missing, with the Debian package that holds it.
pub fn installed(name: &str, package: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    for folder in folders {
        let candidate = folder.join(name);
        if candidate.is_file() {
            return Ok(candidate);
        }
    }
    bail!("{name} is not installed; on Debian run: apt-get install {package}")
}
