//! The shipped program: settings in, exit status out.

use std::{io::Write, process::ExitCode};

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{AppError, Hub, surroundings};
use crate::{
    observe,
    settings::{self, DEV_API_KEY, Exit, Settings},
};

/// Bad settings (`EX_USAGE` of sysexits.h).
const EXIT_USAGE: u8 = 64;

/// Reads flags and variables, runs the hub until it is told to stop. 0: ended as asked; 64: bad settings or keys; 1:
/// anything else.
#[must_use]
pub fn main() -> ExitCode {
    let variable = |name: &str| std::env::var(name).ok();
    match settings::parse(std::env::args_os(), &variable, &surroundings::detect()) {
        Ok(settings) => match run(settings) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => match error.downcast_ref() {
                Some(AppError::Auth(keys)) => refuse(keys.problems()),
                _ => {
                    tracing::error!("{error:#}");
                    ExitCode::FAILURE
                }
            },
        },
        Err(Exit::Help(text)) => {
            // Nobody is left to tell when the output is closed.
            let _ = write!(std::io::stdout(), "{text}");
            ExitCode::SUCCESS
        }
        Err(Exit::Bad(problems)) => refuse(&problems),
    }
}

/// Says what is wrong with the settings, or with the keys they name.
fn refuse(problems: &[String]) -> ExitCode {
    // Nobody is left to tell when the output is closed.
    let mut stderr = std::io::stderr().lock();
    for problem in problems {
        let _ = writeln!(stderr, "wsc-hub: {problem}");
    }
    let _ = writeln!(stderr, "wsc-hub: --help lists all settings");
    ExitCode::from(EXIT_USAGE)
}

fn run(settings: Settings) -> anyhow::Result<()> {
    observe::init_logs(&settings.hot.log_directives, settings.log_format);
    // A provider that is there already is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(serve(settings))
}

async fn serve(settings: Settings) -> anyhow::Result<()> {
    // Before anything else, so that a signal during the start is not lost.
    let mut signals = Signals::new().context("cannot listen to signals")?;
    let (dev, grace) = (settings.dev, settings.grace);
    let redis = if settings.redis.is_some() { "configured" } else { "embedded" };
    tracing::info!(
        node_id = %settings.node_id,
        version = env!("CARGO_PKG_VERSION"),
        redis,
        mode = ?settings.auth.mode,
        max_connections = settings.hot.max_connections,
        "starting"
    );
    let hub = Hub::builder(settings).start().await?;
    announce(&hub, dev).context("cannot write to stdout")?;

    let superseded = tokio::select! {
        name = signals.next() => {
            tracing::info!(signal = name, "asked to stop");
            false
        }
        () = hub.superseded() => true,
    };
    tokio::select! {
        () = hub.shutdown(grace) => {}
        name = signals.next() => {
            tracing::info!(signal = name, "asked to stop once more");
            hub.shutdown_at_once().await;
        }
    }
    anyhow::ensure!(!superseded, "superseded: another process has taken this node's id and is the node now");
    Ok(())
}

/// Says where the hub listens: one line for scripts on stdout, and for people what to try on stderr.
fn announce(hub: &Hub, dev: bool) -> std::io::Result<()> {
    let (Some(client), Some(api)) = (hub.client_addr(), hub.api_addr()) else { return Ok(()) };
    let line =
        serde_json::json!({"event": "listening", "client": client.to_string(), "api": api.to_string()});
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()?;
    if dev {
        let key = format!("-H 'Authorization: Bearer {DEV_API_KEY}'");
        let send = r#"{"receiver":"alice","content":"hi","message_id":"m1"}"#;
        let body = r#"{"content":"hello from the backend"}"#;
        let mut stderr = std::io::stderr().lock();
        writeln!(stderr, "\nChat in a browser, in two tabs: http://{client}/")?;
        writeln!(stderr, "\nOr try it, each in a terminal of its own:")?;
        writeln!(stderr, "  websocat 'ws://{client}/ws?user_id=alice'")?;
        writeln!(stderr, "  npx wscat -c 'ws://{client}/ws?user_id=bob'")?;
        writeln!(stderr, "    then type: {send}")?;
        writeln!(stderr, "  curl {key} http://{api}/nodes")?;
        writeln!(stderr, "  curl {key} -d '{body}' http://{api}/v1/users/alice/messages\n")?;
    }
    Ok(())
}

/// SIGTERM and SIGINT.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// The name of the next signal.
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
