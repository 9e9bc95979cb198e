//! Logs and metrics.

mod logs;
mod metrics;

pub use logs::{change_log_directives, init_logs};
pub use metrics::{ClusterCounts, Gauges, Metrics};
