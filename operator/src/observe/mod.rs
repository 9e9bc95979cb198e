//! What the operator says about itself.
//!
//! - [`log`]: log lines
//! - [`metrics`]: every metric
//! - [`readiness`]: whether the process does its work
//! - [`http`]: `/metrics`, `/healthz`, `/readyz`

pub mod http;
pub mod log;
pub mod metrics;
pub mod readiness;
