//! Measures a hub against what the machine can do at most, and prints tables in Markdown.

use std::{
    io::Write as _,
    process::{Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};
use wsc_tests::load::{
    cpu,
    http_posts::HttpPosts,
    measured_hub::{KEY, MeasuredHub},
    raw_server::{self, RawServer},
    rounds::{self, Round, median},
    swarm::{Swarm, allow_open_files},
};

/// Core of what is measured.
const SERVER_CORE: usize = 0;
/// Core of the load.
const LOAD_CORE: usize = 1;
/// Payload of a frame that a client gets.
const PAYLOAD: u16 = 128;
/// Clients of a fan-out.
const MEMBERS: usize = 1000;
/// Longest wait for frames.
const PATIENCE: Duration = Duration::from_secs(60);

/// Measures a hub against what the machine can do at most. The hub runs on core 0, the load on core 1; a frame counts
/// when a client has parsed it.
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
        /// Only what begins with this: fan-out, sends, calls, idle.
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
        What::Run { rounds, seconds, idle, only } => {
            Bench { rounds: rounds.max(1), seconds }.run(idle, &only)
        }
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

struct Bench {
    rounds: usize,
    seconds: f64,
}

fn say(line: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

fn hub() -> Result<MeasuredHub> {
    cpu::on_core(SERVER_CORE, LOAD_CORE, || MeasuredHub::start("bench", &[]))
}

impl Bench {
    fn run(&self, idle: usize, only: &str) -> Result<()> {
        allow_open_files(idle as u64 * 2 + 4096)?;
        say(&format!("Machine: {}.", cpu::machine()))?;
        say(&format!(
            "Hub and ceiling on core {SERVER_CORE}, load on core {LOAD_CORE}; {} rounds of about {} s, alternated.\n",
            self.rounds, self.seconds
        ))?;
        cpu::pin(LOAD_CORE)?;
        if "fan-out".starts_with(only) {
            self.fan_out()?;
        }
        if "sends".starts_with(only) {
            self.sends()?;
        }
        if "calls".starts_with(only) {
            calls()?;
        }
        if "idle".starts_with(only) {
            idle_memory(idle)?;
        }
        Ok(())
    }

    /// Runs `step` for about a round's time; it returns how much it did.
    fn round(&self, server: u32, mut step: impl FnMut() -> Result<u64>) -> Result<Round> {
        let own = std::process::id();
        let (server_before, load_before) = (cpu::time_of(server)?, cpu::time_of(own)?);
        let begin = Instant::now();
        let mut count = 0;
        while begin.elapsed().as_secs_f64() < self.seconds {
            count += step()?;
        }
        Ok(Round {
            count,
            wall: begin.elapsed(),
            server: cpu::time_of(server)? - server_before,
            load: cpu::time_of(own)? - load_before,
        })
    }

    /// One frame to each of many clients, then sixteen at once: the ceiling and the hub in turn.
    fn fan_out(&self) -> Result<()> {
        let hub = hub()?;
        let mut raw = cpu::on_core(SERVER_CORE, LOAD_CORE, || RawServer::start(MEMBERS))?;
        let (mut hub_clients, mut raw_clients) = (Swarm::new()?, Swarm::new()?);
        for n in 0..MEMBERS {
            hub_clients.connect(hub.client, &format!("user-{n}"))?;
            raw_clients.connect(raw.address, "anybody")?;
        }
        let mut posts = HttpPosts::connect(hub.api, 1)?;
        let one = HttpPosts::request("/v1/broadcast", KEY, &body("none"));
        let many = one.repeat(16);

        let mut results: [Vec<Round>; 4] = Default::default();
        // The first round of each warms up and counts for nothing.
        for n in 0..=self.rounds {
            for (place, burst) in [(0, 1), (2, 16)] {
                let frames = (burst * MEMBERS) as u64;
                let ceiling = self.round(raw.pid(), || {
                    let expected = raw_clients.parsed + frames;
                    raw.send(burst, PAYLOAD)?;
                    raw_clients.read_until(expected, PATIENCE)?;
                    Ok(frames)
                })?;
                let ours = self.round(hub.pid(), || {
                    let expected = hub_clients.parsed + frames;
                    posts.write(if burst == 1 { &one } else { &many })?;
                    hub_clients.read_until(expected, PATIENCE)?;
                    posts.answers(burst as u64, &mut hub_clients)?;
                    Ok(frames)
                })?;
                if n > 0 {
                    results[place].push(ceiling);
                    results[place + 1].push(ours);
                }
            }
        }
        let [raw_one, hub_one, raw_many, hub_many] = &results;
        say(&format!("Fan-out to {MEMBERS} clients, {PAYLOAD} B, one call at a time.\n\n{}", rounds::HEAD))?;
        say(&rounds::line("bare send() loop, 1 frame per write", raw_one))?;
        say(&rounds::line("hub, 1 broadcast at a time", hub_one))?;
        say(&rounds::line("bare send() loop, 16 frames per write", raw_many))?;
        say(&rounds::line("hub, 16 broadcasts at once", hub_many))?;
        let rate = |rounds: &[Round]| median(rounds, Round::per_second);
        let cost = |rounds: &[Round]| median(rounds, Round::per_core_second);
        say(&format!(
            "\nG1: {:.2} x the bare loop by the clock, {:.2} x by the server's time on its core.",
            rate(hub_one) / rate(raw_one),
            cost(hub_one) / cost(raw_one)
        ))?;
        say(&format!(
            "G2: {:.1} x G1 by the clock, {:.1} x by the server's time on its core.\n",
            rate(hub_many) / rate(hub_one),
            cost(hub_many) / cost(hub_one)
        ))
    }

    /// Sends to single users over HTTP.
    fn sends(&self) -> Result<()> {
        let hub = hub()?;
        let mut clients = Swarm::new()?;
        let users: Vec<String> = (0..100).map(|n| format!("user-{n}")).collect();
        for user in &users {
            clients.connect(hub.client, user)?;
        }
        let mut posts = HttpPosts::connect(hub.api, 32)?;
        say(&format!(
            "`POST /v1/users/{{user}}/messages`, 32 kept-alive connections, 100 users.\n\n{}",
            rounds::HEAD
        ))?;
        for wait in ["none", "delivered"] {
            let requests: Vec<Vec<u8>> = users
                .iter()
                .map(|user| HttpPosts::request(&format!("/v1/users/{user}/messages"), KEY, &body(wait)))
                .collect();
            let mut results = Vec::new();
            for n in 0..=self.rounds {
                let round = self.round(hub.pid(), || {
                    let expected = clients.parsed + 2000;
                    posts.run(&requests, 2000, &mut clients)?;
                    clients.read_until(expected, PATIENCE)?;
                    Ok(2000)
                })?;
                if n > 0 {
                    results.push(round);
                }
            }
            say(&rounds::line(&format!("hub, wait: {wait}"), &results))?;
        }
        say("")
    }
}

/// A body whose frame has about [`PAYLOAD`] bytes at the client.
fn body(wait: &str) -> String {
    // The rest of a broadcast's frame: type, id, time.
    let content = "x".repeat(usize::from(PAYLOAD).saturating_sub(112));
    format!(r#"{{"content":"{content}","options":{{"wait":"{wait}"}}}}"#)
}

/// System calls of the hub for each frame delivered, counted by strace.
fn calls() -> Result<()> {
    let hub = hub()?;
    let mut clients = Swarm::new()?;
    for n in 0..MEMBERS {
        clients.connect(hub.client, &format!("user-{n}"))?;
    }
    let mut posts = HttpPosts::connect(hub.api, 1)?;
    let one = HttpPosts::request("/v1/broadcast", KEY, &body("none"));
    say("System calls of the hub's process for each frame delivered, all of them, by strace.\n")?;
    for burst in [1usize, 16] {
        let tracer = Command::new("strace")
            .args(["-f", "-c", "-p", &hub.pid().to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("strace is not installed; on Debian run: apt-get install strace")?;
        while !cpu::is_traced(hub.pid())? {
            std::thread::sleep(Duration::from_millis(5));
        }
        let rounds = 10;
        let frames = (rounds * burst * MEMBERS) as u64;
        for _ in 0..rounds {
            let expected = clients.parsed + (burst * MEMBERS) as u64;
            posts.write(&one.repeat(burst))?;
            clients.read_until(expected, PATIENCE)?;
            posts.answers(burst as u64, &mut clients)?;
        }
        let pid = i32::try_from(tracer.id()).ok().and_then(rustix::process::Pid::from_raw);
        rustix::process::kill_process(pid.context("no process id")?, rustix::process::Signal::INT)?;
        let table = String::from_utf8(tracer.wait_with_output()?.stderr)?;
        let calls: Vec<(String, u64)> = table.lines().filter_map(cpu::traced_calls).collect();
        let total: u64 = calls.iter().map(|(_, count)| count).sum();
        let listed: Vec<String> = calls.iter().map(|(name, count)| format!("{name} {count}")).collect();
        say(&format!(
            "- {burst} at once: {:.3} for each of {frames} frames ({})",
            total as f64 / frames as f64,
            listed.join(", ")
        ))?;
    }
    say("")
}

/// Memory of idle connections, and of the same after bursts.
fn idle_memory(count: usize) -> Result<()> {
    let hub = hub()?;
    let mut clients = Swarm::new()?;
    // What a first connection brings into being is not the price of one more.
    for n in 0..100 {
        clients.connect(hub.client, &format!("warm-{n}"))?;
    }
    let before = cpu::resident_kib(hub.pid())?;
    let begin = Instant::now();
    for n in 0..count {
        clients.connect(hub.client, &format!("user-{n}"))?;
    }
    let took = begin.elapsed();
    std::thread::sleep(Duration::from_secs(2));
    let each = |now: u64| now.saturating_sub(before) as f64 / count as f64;
    let idle = cpu::resident_kib(hub.pid())?;
    say(&format!("Idle: {:.2} KiB resident for each of {count} connections.", each(idle)))?;
    let mut posts = HttpPosts::connect(hub.api, 1)?;
    let burst = HttpPosts::request("/v1/broadcast", KEY, &body("none")).repeat(50);
    for _ in 0..10 {
        let expected = clients.parsed + 50 * clients.len() as u64;
        posts.write(&burst)?;
        posts.answers(50, &mut clients)?;
        clients.read_until(expected, PATIENCE)?;
    }
    let after_bursts = cpu::resident_kib(hub.pid())?;
    let quiet = Instant::now();
    let settled = loop {
        clients.read_some(Duration::from_millis(200))?;
        let now = cpu::resident_kib(hub.pid())?;
        if quiet.elapsed() > Duration::from_secs(30) || each(now) <= 1.3 * each(idle) {
            break now;
        }
    };
    say(&format!(
        "After 10 bursts of 50 frames to each: {:.2} KiB, {:.1} s later {:.2} KiB, {:.2} x idle.",
        each(after_bursts),
        quiet.elapsed().as_secs_f64(),
        each(settled),
        each(settled) / each(idle)
    ))?;
    say(&format!(
        "Connects: {:.0} upgrades a second, one after another.\n",
        count as f64 / took.as_secs_f64()
    ))
}
