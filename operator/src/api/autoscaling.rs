//! How many nodes there should be, decided by load.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::duration::SpecDuration;

/// Whether and how the number of nodes follows the load. The operator itself never writes `spec.replicas`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AutoscalingSpec {
    /// `Disabled` (default): `spec.replicas` counts. `HPA`: a HorizontalPodAutoscaler on the CPU of the hub pods writes
    /// `spec.replicas`; it needs a metrics server. `Connections`: the operator follows the connections that the nodes
    /// report and needs nothing else; `spec.replicas` is only the start. In each mode `spec.replicas: 0` means none.
    pub mode: AutoscalingMode,
    /// Fewest nodes, 1 to 1000, default 2.
    #[schemars(range(min = 1, max = 1000))]
    pub min_replicas: i32,
    /// Most nodes, 1 to 1000, default 10, not less than `minReplicas`.
    #[schemars(range(min = 1, max = 1000))]
    pub max_replicas: i32,
    /// Mean CPU of the hub pods to keep to, in percent of what they request: 1 to 1000, default 70. Mode HPA.
    #[serde(rename = "targetCPUUtilization")]
    #[schemars(range(min = 1, max = 1000))]
    pub target_cpu_utilization: i32,
    /// Mean connections of the nodes to keep to: 1 to 1000000, default 20000, not more than `hub.maxConnections`. Mode
    /// Connections.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub target_connections_per_node: i32,
    /// How nodes are removed.
    pub scale_down: ScaleDownSpec,
}

impl Default for AutoscalingSpec {
    fn default() -> Self {
        Self {
            mode: AutoscalingMode::Disabled,
            min_replicas: 2,
            max_replicas: 10,
            target_cpu_utilization: 70,
            target_connections_per_node: 20_000,
            scale_down: ScaleDownSpec::default(),
        }
    }
}

/// What decides how many nodes there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AutoscalingMode {
    /// `spec.replicas` alone.
    #[default]
    Disabled,
    /// A HorizontalPodAutoscaler.
    #[serde(rename = "HPA")]
    Hpa,
    /// The connections of the nodes.
    Connections,
}

/// How nodes are removed by autoscaling.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ScaleDownSpec {
    /// Nodes go only when fewer were enough for this long: a duration up to 1h, default 10m.
    pub stabilization: SpecDuration,
}

impl Default for ScaleDownSpec {
    fn default() -> Self {
        Self { stabilization: SpecDuration::from_minutes(10) }
    }
}
