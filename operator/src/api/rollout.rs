//! How pods are replaced, ended and protected.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::duration::SpecDuration;

/// How changed pods are replaced: one at a time, the next one when its predecessor serves again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RolloutSpec {
    /// Seconds a new pod must stay ready before it counts as available and the next pod is replaced. 0 to 3600,
    /// default 5.
    #[schemars(range(min = 0, max = 3600))]
    pub min_ready_seconds: i32,
}

impl Default for RolloutSpec {
    fn default() -> Self {
        Self { min_ready_seconds: 5 }
    }
}

/// How a hub pod ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DrainSpec {
    /// How long a pod may take from SIGTERM to its end: a duration from 35s to 1h, default 120s. The hub closes its
    /// connections within this time less 10 s and leaves the registry by itself. Changing it replaces the pods.
    pub termination_grace_period: SpecDuration,
}

impl Default for DrainSpec {
    fn default() -> Self {
        Self { termination_grace_period: SpecDuration::from_secs(120) }
    }
}

/// Protection against evictions, kept in a PodDisruptionBudget. Pods that are not ready may always be evicted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DisruptionSpec {
    /// How many pods may be away at once because of evictions (node drains, autoscaled nodes). 0 to 1000, default 1;
    /// 0 refuses every eviction.
    #[schemars(range(min = 0, max = 1000))]
    pub max_unavailable: i32,
}

impl Default for DisruptionSpec {
    fn default() -> Self {
        Self { max_unavailable: 1 }
    }
}
