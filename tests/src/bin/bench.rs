//! Measures hubs against what the machine can do at most, and prints tables in Markdown.

use std::{io::Write as _, process::ExitCode};

use anyhow::Result;
use clap::{Parser, Subcommand};
use wsc_tests::load::{
    across, batches,
    course::{Course, LOAD_CORE, SERVER_CORE, say},
    cpu, drains, fan_out, idle_memory, low_rate, raw_server, refill, sends, stores,
    swarm::allow_open_files,
    system_calls,
};

/// Measures hubs against what the machine can do at most. Where nothing else is said the hub runs on core 0, the load on
/// core 1; a frame counts when a client has parsed it.
#[derive(Debug, Parser)]
#[command(name = "wsc-bench", version)]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// All measurements.
    Run {
        /// Rounds of each measurement, at least 5 for figures that count.
        #[arg(long, default_value_t = 5)]
        rounds: usize,
        /// Seconds of each round, about.
        #[arg(long, default_value_t = 1.0)]
        seconds: f64,
        /// Idle connections.
        #[arg(long, default_value_t = 5000)]
        idle: usize,
        /// Only what begins with this: fan-out, sends, batches, across, low-rate, stores, drains, refill, calls, idle.
        #[arg(long, default_value = "")]
        only: String,
    },
    /// The ceiling, as a process of its own; started by `run`.
    #[command(hide = true)]
    RawServer,
}

fn main() -> ExitCode {
    let done = match Arguments::parse().what {
        What::RawServer => raw_server::run(),
        What::Run { rounds, seconds, idle, only } => run(&Course::new(rounds, seconds), idle, &only),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to tell when the output is closed.
            let _ = writeln!(std::io::stderr(), "wsc-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(course: &Course, idle: usize, only: &str) -> Result<()> {
    allow_open_files(idle as u64 * 2 + 4096)?;
    say(&format!("Machine: {}.", cpu::machine()))?;
    say(&format!(
        "Hub and ceiling on core {SERVER_CORE}, load on core {LOAD_CORE} where nothing else is said; {} rounds of about \
         {} s, alternated.\n",
        course.rounds, course.seconds
    ))?;
    cpu::pin(LOAD_CORE)?;
    type Measurement = fn(&Course) -> Result<()>;
    let measurements: [(&str, Measurement); 9] = [
        ("fan-out", fan_out::run),
        ("sends", sends::run),
        ("batches", batches::run),
        ("across", across::run),
        ("low-rate", low_rate::run),
        ("stores", stores::run),
        ("drains", drains::run),
        ("refill", refill::run),
        ("calls", system_calls::run),
    ];
    for (name, measure) in measurements {
        if name.starts_with(only) {
            measure(course)?;
        }
    }
    if "idle".starts_with(only) {
        idle_memory::run(course, idle)?;
    }
    say(&course.goals())
}
