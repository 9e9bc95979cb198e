//! Log lines on standard error.

use tracing_subscriber::EnvFilter;

use crate::settings::LogFormat;

/// Installs the log for the whole process; a second call has no effect.
///
/// # Errors
/// When the filter cannot be read.
pub fn install(filter: &str, format: LogFormat) -> Result<(), tracing_subscriber::filter::ParseError> {
    let filter = EnvFilter::try_new(filter)?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let installed = match format {
        LogFormat::Json => {
            builder.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init()
        }
        LogFormat::Text => builder.try_init(),
    };
    if installed.is_err() {
        tracing::debug!("a log is installed already");
    }
    Ok(())
}
