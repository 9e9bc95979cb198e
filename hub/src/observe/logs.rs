//! Log lines on stderr, so that stdout carries only what scripts read.

use std::io::{self, IsTerminal};

use tracing_subscriber::{EnvFilter, fmt};

use crate::settings::{LogFormat, LogSettings};

/// Libraries that write frames and headers, so contents and tokens, at their finest levels. A level for all does not
/// reach them; a directive that names one does.
const TALKATIVE: [&str; 6] = ["tungstenite", "tokio_tungstenite", "hyper", "hyper_util", "h2", "redis"];

/// Starts logging for the whole process. A second call changes nothing, so that embedders keep theirs.
pub fn init_logs(settings: &LogSettings) {
    // The directives were validated with the settings.
    let mut filter = EnvFilter::builder().parse_lossy(&settings.directives);
    for library in TALKATIVE.iter().filter(|library| !settings.directives.contains(**library)) {
        if let Ok(directive) = format!("{library}=warn").parse() {
            filter = filter.add_directive(directive);
        }
    }
    let builder = fmt().with_env_filter(filter).with_writer(io::stderr);
    let _already_set = match settings.format {
        LogFormat::Json => builder.json().flatten_event(true).with_current_span(false).try_init(),
        LogFormat::Text => builder.with_ansi(io::stderr().is_terminal()).try_init(),
    };
}
