//! How the hub is watched by Prometheus.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::duration::SpecDuration;

/// How the hub is watched by Prometheus.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct MonitoringSpec {
    /// `Auto` (default): a PodMonitor and a PrometheusRule named `<name>` are kept where the prometheus-operator's
    /// definitions are installed; found out at the start of the operator and at each of its resyncs. `Disabled`: never.
    pub mode: MonitoringMode,
    /// Pause between two scrapes of a pod, at least 1s, default 15s.
    pub interval: SpecDuration,
    /// Labels of the PodMonitor and the PrometheusRule, such as those by which your Prometheus selects them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

impl Default for MonitoringSpec {
    fn default() -> Self {
        Self { mode: MonitoringMode::Auto, interval: SpecDuration::from_secs(15), labels: BTreeMap::new() }
    }
}

/// Whether objects for the prometheus-operator are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum MonitoringMode {
    /// Where their definitions are installed.
    #[default]
    Auto,
    /// Never.
    Disabled,
}
