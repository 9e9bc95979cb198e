//! How pods are replaced, ended and protected.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::duration::SpecDuration;

/// How changed pods are replaced: the clients of a pod are moved away at the pace of `drain`, then the pod is replaced,
/// and the next one follows when the new one serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RolloutSpec {
    /// How many pods may be down at once before the operator takes another one down; pods that are down for other
    /// reasons count, too. Also how many pods are drained at once when there shall be fewer. 1 to 1000, default 1.
    #[schemars(range(min = 1, max = 1000))]
    pub max_unavailable: i32,
    /// Seconds a new pod must stay ready before it counts as available and the next pod is replaced. 0 to 3600,
    /// default 5.
    #[schemars(range(min = 0, max = 3600))]
    pub min_ready_seconds: i32,
    /// How long a new pod may take to become ready before the rollout counts as stuck and the last good template is put
    /// back: a duration longer than drain.timeout + drain.terminationGracePeriod + 60s, default 20m.
    pub progress_deadline: SpecDuration,
}

impl Default for RolloutSpec {
    fn default() -> Self {
        Self { max_unavailable: 1, min_ready_seconds: 5, progress_deadline: SpecDuration::from_minutes(20) }
    }
}

/// How clients are moved away from a pod before it ends, and how it ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DrainSpec {
    /// Connections closed per second while a pod is drained. 1 to 100000, default 200. It is raised where `timeout`
    /// could not be met otherwise. Hot.
    #[schemars(range(min = 1, max = 100_000))]
    pub rate_per_second: i32,
    /// How long a pod that begins to drain still takes new clients, until load balancers have noticed: a duration up to
    /// terminationGracePeriod less 30s and 5m, default 5s. Hot.
    pub settle: SpecDuration,
    /// How long a drain may take before the pod ends all the same: a duration from 1s to 24h, default 10m.
    pub timeout: SpecDuration,
    /// Clients that are moved come back after a random time up to this: a duration up to 1m, default 1s. Hot.
    pub retry_after_max: SpecDuration,
    /// How long a pod may take from SIGTERM to its end: a duration from 35s to 1h and at least settle + 30s, default
    /// 120s. The hub closes what connections are left within this time less 10 s and leaves the registry by itself.
    /// Changing it replaces the pods.
    pub termination_grace_period: SpecDuration,
}

impl Default for DrainSpec {
    fn default() -> Self {
        Self {
            rate_per_second: 200,
            settle: SpecDuration::from_secs(5),
            timeout: SpecDuration::from_minutes(10),
            retry_after_max: SpecDuration::from_secs(1),
            termination_grace_period: SpecDuration::from_secs(120),
        }
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
