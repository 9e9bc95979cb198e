//! Log lines on stderr, so that stdout carries only what scripts read.

use std::{
    io::{self, IsTerminal},
    sync::OnceLock,
};

use tracing_subscriber::{EnvFilter, fmt};

use crate::settings::LogFormat;

type Reload = Box<dyn Fn(EnvFilter) -> bool + Send + Sync>;

/// How the filter of this process's logs is replaced; none when somebody else logs for it.
static RELOAD: OnceLock<Reload> = OnceLock::new();

/// Libraries that write frames and headers, so contents and tokens, at their finest levels. A level for all does not
/// reach them; a directive that names one does.
const TALKATIVE: [&str; 6] = ["tungstenite", "tokio_tungstenite", "hyper", "hyper_util", "h2", "redis"];

/// Starts logging for the whole process. `directives` are known to be valid. A second call changes nothing, so that
/// embedders keep theirs.
pub fn init_logs(directives: &str, format: LogFormat) {
    let builder = fmt().with_writer(io::stderr);
    let (begun, reload): (_, Reload) = match format {
        LogFormat::Json => {
            let builder = builder.json().flatten_event(true).with_span_list(false);
            let builder = builder.with_env_filter(filter(directives)).with_filter_reloading();
            let handle = builder.reload_handle();
            (builder.try_init(), Box::new(move |filter| handle.reload(filter).is_ok()))
        }
        LogFormat::Text => {
            let builder = builder.with_ansi(io::stderr().is_terminal());
            let builder = builder.with_env_filter(filter(directives)).with_filter_reloading();
            let handle = builder.reload_handle();
            (builder.try_init(), Box::new(move |filter| handle.reload(filter).is_ok()))
        }
    };
    if begun.is_ok() {
        let _already_set = RELOAD.set(reload);
    }
}

/// Changes what is logged from now on. False when logging was not begun by [`init_logs`]: the embedder's own rules stay.
pub fn change_log_directives(directives: &str) -> bool {
    RELOAD.get().is_some_and(|reload| reload(filter(directives)))
}

fn filter(directives: &str) -> EnvFilter {
    // The directives were validated with the settings.
    let mut filter = EnvFilter::builder().parse_lossy(directives);
    for library in TALKATIVE.iter().filter(|library| !directives.contains(**library)) {
        if let Ok(directive) = format!("{library}=warn").parse() {
            filter = filter.add_directive(directive);
        }
    }
    filter
}
