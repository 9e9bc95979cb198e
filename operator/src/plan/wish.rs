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
}
