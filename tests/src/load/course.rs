//! How measurements are run: rounds that alternate, the time each process was on a core, and what is said of them.

use std::{
    cell::RefCell,
    io::Write as _,
    time::{Duration, Instant},
};

use anyhow::Result;

use super::{
    cpu::{self, CoreTimes},
    measured_hub::MeasuredHub,
    rounds::{PARTS, Round},
};

/// Core of what is measured.
pub const SERVER_CORE: usize = 0;
/// Core of the load.
pub const LOAD_CORE: usize = 1;
/// Payload of a frame that a client gets.
pub const PAYLOAD: u16 = 128;
/// Longest wait for frames.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Rounds of about the same time, and the goals that were measured in them.
#[derive(Debug)]
pub struct Course {
    /// Rounds of each measurement that count.
    pub rounds: usize,
    /// Time of each, about.
    pub seconds: f64,
    goals: RefCell<Vec<[String; 3]>>,
}

impl Course {
    /// A course of at least one round.
    #[must_use]
    pub fn new(rounds: usize, seconds: f64) -> Self {
        Self { rounds: rounds.max(1), seconds, goals: RefCell::default() }
    }

    /// Measures `N` things in turn, again and again. The first round of each warms up and counts for nothing.
    ///
    /// # Errors
    /// When a measurement fails.
    pub fn in_turn<const N: usize>(
        &self,
        mut measure: impl FnMut(usize) -> Result<Round>,
    ) -> Result<[Vec<Round>; N]> {
        let mut results = std::array::from_fn(|_| Vec::new());
        for n in 0..=self.rounds {
            for (kind, rounds) in results.iter_mut().enumerate() {
                let round = measure(kind)?;
                if n > 0 {
                    rounds.push(round);
                }
            }
        }
        Ok(results)
    }

    /// Repeats `step` for about a round's time; it returns how much it did. `servers`: processes whose time counts, at
    /// most [`PARTS`].
    ///
    /// # Errors
    /// When a step fails, or a process is gone.
    pub fn round(&self, servers: &[u32], mut step: impl FnMut() -> Result<u64>) -> Result<Round> {
        let begin = Instant::now();
        self.measured(servers, || {
            let mut count = 0;
            while begin.elapsed().as_secs_f64() < self.seconds {
                count += step()?;
            }
            Ok(count)
        })
    }

    /// What one run of `work` costs; it returns how much it did.
    ///
    /// # Errors
    /// When the work fails, or a process is gone.
    pub fn measured(&self, servers: &[u32], work: impl FnOnce() -> Result<u64>) -> Result<Round> {
        let times = || servers.iter().map(|pid| CoreTimes::of(*pid)).collect::<Result<Vec<_>>>();
        let own = || CoreTimes::of(std::process::id());
        let (before, load_before) = (times()?, own()?);
        let begin = Instant::now();
        let count = work()?;
        let wall = begin.elapsed();
        let load = own()?.since(&load_before);
        let mut parts = [Duration::ZERO; PARTS];
        for ((part, after), before) in parts.iter_mut().zip(times()?).zip(before) {
            *part = after.since(&before);
        }
        Ok(Round { count, wall, server: parts.iter().sum(), parts, load })
    }

    /// Notes what was measured for a goal.
    pub fn goal(&self, what: &str, aim: &str, measured: String) {
        self.goals.borrow_mut().push([what.to_owned(), aim.to_owned(), measured]);
    }

    /// The goals as a table.
    #[must_use]
    pub fn goals(&self) -> String {
        let mut table = "| goal | aim | measured |\n|---|---|---|".to_owned();
        for [what, aim, measured] in self.goals.borrow().iter() {
            table.push_str(&format!("\n| {what} | {aim} | {measured} |"));
        }
        table
    }
}

/// Prints a line.
///
/// # Errors
/// When nobody reads the output.
pub fn say(line: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

/// A hub that is alone, on the core of what is measured.
///
/// # Errors
/// When it does not start.
pub fn lone_hub() -> Result<MeasuredHub> {
    cpu::on_core(SERVER_CORE, LOAD_CORE, || MeasuredHub::start("bench", &[]))
}

/// A message whose frame has about [`PAYLOAD`] bytes at the client.
#[must_use]
pub fn content() -> String {
    // The rest of a broadcast's frame: type, id, time.
    "x".repeat(usize::from(PAYLOAD).saturating_sub(112))
}

/// A body with [`content`].
#[must_use]
pub fn body(wait: &str) -> String {
    format!(r#"{{"content":"{}","options":{{"wait":"{wait}"}}}}"#, content())
}

/// Bodies of `POST /v1/messages` with `per_call` messages each, for `users` in turn.
#[must_use]
pub fn batches(users: &[String], per_call: usize, wait: &str) -> Vec<String> {
    let message = |user: &String| {
        format!(
            r#"{{"receiver":"{user}","content":"{}","options":{{"wait":"{wait}"}}}}"#,
            // A frame to one user names the receiver, which takes the place of most of the text.
            "x"
        )
    };
    let all: Vec<String> = users.iter().cycle().take(users.len().max(per_call)).map(message).collect();
    let batch = |messages: &[String]| format!(r#"{{"messages":[{}]}}"#, messages.join(","));
    all.chunks(per_call).filter(|chunk| chunk.len() == per_call).map(batch).collect()
}
