//! Writes what readers are told of the program to standard output: `settings` and `api` in Markdown, `metrics` as `GET /metrics` answers when everything was counted.

use std::{io::Write as _, process::ExitCode};

use wsc_hub::{app::cluster_counts::every_metric, http::openapi, settings::reference};

fn main() -> ExitCode {
    let text = match std::env::args().nth(1).as_deref() {
        Some("settings") => reference::markdown(),
        Some("api") => openapi::markdown::markdown(),
        Some("metrics") => every_metric(),
        _ => return ExitCode::from(64),
    };
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
