//! Log lines on stderr, so that stdout carries only what scripts read.

use std::io;

use tracing_subscriber::{EnvFilter, fmt};

use crate::settings::{LogFormat, LogSettings};

/// Starts logging for the whole process. A second call changes nothing, so that embedders keep theirs.
pub fn init_logs(settings: &LogSettings) {
    // The directives were validated with the settings.
    let filter = EnvFilter::builder().parse_lossy(&settings.directives);
    let builder = fmt().with_env_filter(filter).with_writer(io::stderr);
    let _already_set = match settings.format {
        LogFormat::Json => builder.json().flatten_event(true).with_current_span(false).try_init(),
        LogFormat::Text => builder.try_init(),
    };
}
