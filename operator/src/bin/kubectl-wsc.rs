//! `kubectl wsc`: reads the command line, runs the command, prints its answer.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use wsc_operator::kubectl::arguments::Arguments;
use wsc_operator::kubectl::error::EXIT_USAGE;
use wsc_operator::kubectl::run;

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
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        return complain("the TLS provider is installed twice", 1);
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return complain(&format!("no runtime: {error}"), 1),
    };
    match runtime.block_on(run::run(arguments)) {
        // A reader that stops early, such as `head`, is no failure.
        Ok(text) => match std::io::stdout().write_all(text.as_bytes()) {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => ExitCode::FAILURE,
            _ => ExitCode::SUCCESS,
        },
        Err(error) => complain(&error.to_string(), error.exit_code()),
    }
}

fn complain(text: &str, code: u8) -> ExitCode {
    // Nothing is left to do when standard error is closed.
    let _ = writeln!(std::io::stderr(), "kubectl-wsc: {text}");
    ExitCode::from(code)
}
