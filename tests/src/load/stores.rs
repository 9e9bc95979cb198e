//! Stored messages: kept in a Redis that writes its log each second, delivered on another node, and read again by many
//! devices at once.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::{
    across::pair,
    batches::CONNECTIONS,
    course::{Course, LOAD_CORE, PATIENCE, say},
    cpu,
    flood::Flood,
    http_posts::HttpPosts,
    latencies::{self, Latencies},
    measured_hub::{KEY, MeasuredHub},
    measured_redis::MeasuredRedis,
    rounds::{self, Round, median},
    swarm::Swarm,
};

/// Devices that are there while messages are stored.
const DEVICES: usize = 100;
/// Messages of one call.
const PER_CALL: usize = 100;
/// Devices that come back at once, and what each has missed.
const BACK: usize = 200;
const MISSED: usize = 1000;
/// Makes a frame of about 1 KiB.
const TEXT: usize = 820;

/// Measures it. All processes may use all cores.
///
/// # Errors
/// When a hub or Redis fails, or a frame does not come.
pub fn run(course: &Course) -> Result<()> {
    cpu::unpin()?;
    let measured = measure(course);
    cpu::pin(LOAD_CORE)?;
    measured
}

/// A call that stores messages of `text` bytes for users in turn, from the one of that number on.
fn call(prefix: &str, first: usize, users: usize, count: usize, text: usize) -> Vec<u8> {
    let content = "x".repeat(text);
    let message = |n: usize| {
        let user = (first + n) % users;
        format!(r#"{{"receiver":"{prefix}-{user}","content":"{content}","options":{{"store":true}}}}"#)
    };
    let messages: Vec<String> = (0..count).map(message).collect();
    HttpPosts::request("/v1/messages", KEY, &format!(r#"{{"messages":[{}]}}"#, messages.join(",")))
}

fn measure(course: &Course) -> Result<()> {
    let redis = MeasuredRedis::start_with(&["--appendonly", "yes", "--appendfsync", "everysec"])?;
    let [a, b] = pair(&redis)?;
    let mut clients = Swarm::new()?;
    for n in 0..DEVICES {
        clients.connect_with(b.client, &format!("user_id=user-{n}&client_id=phone"))?;
    }
    clients.read_until(DEVICES as u64, PATIENCE)?;
    let requests: Vec<_> = (0..10).map(|n| call("user", n * PER_CALL, DEVICES, PER_CALL, 1)).collect();
    let mut flood = Flood {
        posts: HttpPosts::connect(a.api, CONNECTIONS)?.counting("\"offset\":"),
        clients,
        probes: None,
        per_call: PER_CALL as u64,
        window: 8 * PER_CALL as u64,
    };
    let pids = [redis.pid(), a.pid(), b.pid()];
    let [stored] =
        course.in_turn::<1>(|_| course.measured(&pids, || flood.run(&requests, course.seconds)))?;
    drop(flood);
    say(&format!(
        "Stored at node A in one Redis with its log written each second, delivered at node B; `POST /v1/messages` with \
         {PER_CALL} messages, {DEVICES} devices. All processes on all cores.\n\n{}",
        rounds::HEAD
    ))?;
    say(&rounds::line("store and deliver", &stored))?;
    let part = |part: usize| median(&stored, |round| round.core_seconds_per_million(part));
    say(&format!(
        "\nCore-seconds per million: Redis {:.1}, node A {:.1}, node B {:.1}.\n",
        part(0),
        part(1),
        part(2)
    ))?;
    let rate = median(&stored, Round::per_second);
    course.goal("store and deliver, a second, log each second", "20,000", format!("{rate:.0}"));
    come_back(course, &redis, &a, &b)
}

/// Many devices come back at once, each to a full inbox.
fn come_back(course: &Course, redis: &MeasuredRedis, a: &MeasuredHub, b: &MeasuredHub) -> Result<()> {
    let mut nobody = Swarm::new()?;
    let mut posts = HttpPosts::connect(a.api, CONNECTIONS)?.counting("\"offset\":");
    let requests: Vec<_> =
        (0..BACK / PER_CALL).map(|n| call("back", n * PER_CALL, BACK, PER_CALL, TEXT)).collect();
    posts.run(&requests, (BACK * MISSED / PER_CALL) as u64, &mut nobody)?;
    redis.log_is_settled(PATIENCE)?;
    let mut clients = Swarm::new()?;
    let devices = (0..BACK).map(|n| format!("user_id=back-{n}&client_id=phone"));
    let begun = clients.connect_all(b.client, devices)?;
    // With each, `resume_done`.
    let each = MISSED as u64 + 1;
    clients.read_until(BACK as u64 * each, PATIENCE)?;
    let mut replays = Latencies::default();
    let mut last = Duration::ZERO;
    for (begin, (parsed, at)) in begun.iter().zip(clients.progress()) {
        ensure!(parsed == each, "a device has {parsed} frames instead of {each}");
        replays.add(at - *begin);
        last = last.max(at - begun[0]);
    }
    say(&format!(
        "{BACK} devices came back to {MISSED} messages of 1 KiB each, all at once; each timed from when it \
         began to connect until it had parsed `resume_done`. The last had it {last:?} after the first began.\n\n{}",
        latencies::HEAD
    ))?;
    say(&replays.line("resume"))?;
    say("")?;
    let what =
        format!("{BACK} devices resume {MISSED} messages of 1 KiB each at once, p99 until `resume_done`");
    course.goal(
        &what,
        "1 s",
        format!(
            "{:.2} s (the last of all after {:.2} s)",
            replays.within(0.99).as_secs_f64(),
            last.as_secs_f64()
        ),
    );
    Ok(())
}
