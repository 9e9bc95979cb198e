//! The operator: reads the settings and runs the app.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use wsc_operator::app;
use wsc_operator::observe::log;
use wsc_operator::settings::{Arguments, EXIT_USAGE};

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let usage = error.use_stderr();
            return match error.print() {
                Ok(()) if !usage => ExitCode::SUCCESS,
                _ => ExitCode::from(EXIT_USAGE),
            };
        }
    };
    let settings = match arguments.validate(|name| std::env::var(name).ok()) {
        Ok(settings) => settings,
        Err(mistakes) => return complain(&format!("wsc-operator: {mistakes}"), EXIT_USAGE),
    };
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        return complain("wsc-operator: the TLS provider is installed twice", 1);
    }
    if let Err(error) = log::install(&settings.log, settings.log_format) {
        return complain(&format!("wsc-operator: --log: {error}"), EXIT_USAGE);
    }
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return complain(&format!("wsc-operator: no runtime: {error}"), 1),
    };
    match runtime.block_on(app::run(settings)) {
        Ok(code) => code,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn complain(text: &str, code: u8) -> ExitCode {
    // Nothing is left to do when standard error is closed.
    let _ = writeln!(std::io::stderr(), "{text}");
    ExitCode::from(code)
}
