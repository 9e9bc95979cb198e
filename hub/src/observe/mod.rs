//! Logs, metrics and traces.

mod logs;
mod metrics;
mod send_times;
mod sharded_counts;
mod trace;

pub use logs::{change_log_directives, init_logs};
pub use metrics::{ClusterCounts, Gauges, Metrics};
pub use trace::{Hop, current_trace, follow_trace};
