//! Files of Go modules, which is how projects of the Kubernetes world publish their definitions.

use std::{path::PathBuf, process::Command};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

/// The prometheus-operator, whose definitions are in `example/prometheus-operator-crd`.
pub const PROMETHEUS_OPERATOR: &str = "github.com/prometheus-operator/prometheus-operator@v0.85.0";
/// The Gateway API, whose definitions are in `config/crd/standard`.
pub const GATEWAY_API: &str = "sigs.k8s.io/gateway-api@v1.4.0";

/// The folder of a module, downloaded unless it is there.
///
/// # Errors
/// When Go is missing or cannot download it.
pub fn folder(module: &str) -> Result<PathBuf> {
    let output = Command::new("go")
        .args(["mod", "download", "-json", module])
        // Outside of any module of our own, whose go.mod would be asked.
        .current_dir(std::env::temp_dir())
        .env("GOFLAGS", "-mod=mod")
        .output()
        .context("go is missing: .ci/need go says how to get it")?;
    let answer: Value = serde_json::from_slice(&output.stdout)
        .with_context(|| format!("go mod download {module}: {}", String::from_utf8_lossy(&output.stderr)))?;
    ensure!(answer["Error"].is_null(), "go mod download {module}: {}", answer["Error"]);
    Ok(answer["Dir"].as_str().context("go mod download names no folder")?.into())
}
