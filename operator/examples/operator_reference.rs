//! Writes what readers are told of the program's settings and metrics to standard output: `settings` as a table in
//! Markdown, `metrics` as `GET /metrics` answers when everything was counted.

use std::{fmt::Write as _, io::Write as _, process::ExitCode};

use clap::CommandFactory as _;
use wsc_operator::{observe::metrics::Metrics, settings::Arguments};

fn main() -> ExitCode {
    let text = match std::env::args().nth(1).as_deref() {
        Some("settings") => Ok(settings()),
        Some("metrics") => Metrics::all_counted().text(),
        _ => return ExitCode::from(64),
    };
    let written =
        text.map_err(drop).and_then(|text| std::io::stdout().write_all(text.as_bytes()).map_err(drop));
    if written.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn settings() -> String {
    let mut text = String::from("\n| variable | flag | default | meaning |\n|---|---|---|---|\n");
    let command = Arguments::command();
    for argument in command.get_arguments() {
        let (Some(variable), Some(flag)) = (argument.get_env(), argument.get_long()) else { continue };
        let defaults: Vec<_> =
            argument.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
        let meaning = argument.get_help().map(ToString::to_string).unwrap_or_default();
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "| `{}` | `--{flag}` | {} | {} |",
            variable.to_string_lossy(),
            defaults.join(","),
            meaning.replace('|', "\\|")
        );
    }
    text
}
