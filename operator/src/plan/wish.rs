//! What the resource asks for, reduced to what decisions need.

use std::time::Duration;

/// The wish of the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// Pods wanted; 0 while the resource is stopped.
    pub replicas: i32,
    /// Observe and report only.
    pub paused: bool,
    /// How long a replaced pod must stay Ready before the next one is touched.
    pub min_ready: Duration,
    /// Pods that may be down at once before one more is taken down, at least 1.
    pub max_unavailable: usize,
    /// A pod of the latest template that is not Ready after this time makes the rollout stuck.
    pub progress_deadline: Duration,
    /// How clients are moved away from a pod.
    pub drain: DrainWish,
    /// Run id of a rebalance that is asked for.
    pub rebalance: Option<String>,
}

/// How clients are moved away from a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DrainWish {
    /// Connections closed per second.
    pub rate: u32,
    /// How long a drain may take before the pod ends all the same.
    pub timeout: Duration,
    /// Clients come back after a random time up to this.
    pub retry_after_max: Duration,
}

impl Default for Wish {
    /// The defaults of the resource.
    fn default() -> Self {
        Self {
            replicas: 3,
            paused: false,
            min_ready: Duration::from_secs(5),
            max_unavailable: 1,
            progress_deadline: Duration::from_secs(20 * 60),
            drain: DrainWish::default(),
            rebalance: None,
        }
    }
}

impl Default for DrainWish {
    /// The defaults of the resource.
    fn default() -> Self {
        Self { rate: 200, timeout: Duration::from_secs(10 * 60), retry_after_max: Duration::from_secs(1) }
    }
}
