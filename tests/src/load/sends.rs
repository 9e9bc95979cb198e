//! Sends to single users over HTTP: one message per call, and G11, the time that takes at half of that rate.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::{
    course::{Course, PATIENCE, body, lone_hub, say},
    doorbell::Doorbell,
    http_posts::HttpPosts,
    latencies::{self, Latencies},
    measured_hub::{KEY, MeasuredHub},
    probes::Probes,
    rounds::{self, Round, median},
    swarm::Swarm,
};

const CONNECTIONS: usize = 32;
const USERS: usize = 100;
/// Messages between two looks at the clock.
const STEP: u64 = 2000;
/// Between two messages that are timed.
const PROBE_EVERY: Duration = Duration::from_millis(5);

/// Measures it.
///
/// # Errors
/// When a hub fails, or a frame does not come.
pub fn run(course: &Course) -> Result<()> {
    let hub = lone_hub()?;
    let mut clients = Swarm::new()?;
    let users: Vec<String> = (0..USERS).map(|n| format!("user-{n}")).collect();
    for user in &users {
        clients.connect(hub.client, user)?;
    }
    let mut posts = HttpPosts::connect(hub.api, CONNECTIONS)?;
    let requests = ["none", "delivered"].map(|wait| {
        let request = |user| HttpPosts::request(&format!("/v1/users/{user}/messages"), KEY, &body(wait));
        users.iter().map(request).collect::<Vec<_>>()
    });
    let results = course.in_turn::<2>(|kind| {
        course.round(&[hub.pid()], || {
            let expected = clients.parsed + STEP;
            posts.run(&requests[kind], STEP, &mut clients)?;
            clients.read_until(expected, PATIENCE)?;
            Ok(STEP)
        })
    })?;
    say(&format!(
        "`POST /v1/users/{{user}}/messages`, {CONNECTIONS} kept-alive connections, {USERS} users.\n\n{}",
        rounds::HEAD
    ))?;
    let [none, delivered] = &results;
    say(&rounds::line("hub, wait: none", none))?;
    say(&rounds::line("hub, wait: delivered", delivered))?;
    say("")?;
    let per_core = |rounds: &[Round]| {
        let by = |value: fn(&Round) -> f64| median(rounds, value);
        format!("{:.0} by the clock, {:.0} by core time", by(Round::per_second), by(Round::per_core_second))
    };
    course.goal("sends over HTTP a second, one core, `wait: none`", "30,000", per_core(none));
    course.goal("the same, `wait: delivered`", "30,000", per_core(delivered));
    let rate = median(none, Round::per_second) / 2.0;
    at_half_rate(course, &hub, &requests[0], &mut clients, rate)
}

/// G11: messages at `rate` a second, some of them timed.
fn at_half_rate(
    course: &Course,
    hub: &MeasuredHub,
    requests: &[Vec<u8>],
    clients: &mut Swarm,
    rate: f64,
) -> Result<()> {
    let mut posts = HttpPosts::connect(hub.api, CONNECTIONS)?;
    let mut probes = Probes::connect(hub.client, hub.api, PROBE_EVERY)?;
    let mut timed = Latencies::default();
    for n in 0..=course.rounds {
        let (begin, end) = (Instant::now(), Duration::from_secs_f64(course.seconds));
        let (mut sent, before) = (0u64, clients.parsed);
        let signs = probes.signs();
        let mut doorbell = Doorbell::new([posts.sign(), clients.sign(), signs[0], signs[1]])?;
        probes.begin();
        loop {
            let elapsed = begin.elapsed();
            let more = elapsed < end;
            // As many as are due by now: a hub that stops for a while is not asked less often.
            let due = if more { (elapsed.as_secs_f64() * rate) as u64 } else { sent };
            sent += posts.turn(requests, due - sent.min(due))?.started;
            clients.read_some(Duration::ZERO)?;
            probes.turn(more)?;
            if !more && posts.outstanding() == 0 && probes.under_way() == 0 && clients.parsed - before == sent
            {
                break;
            }
            anyhow::ensure!(elapsed < end + PATIENCE, "frames are missing");
            doorbell.wait(Duration::from_micros(100))?;
        }
        if n > 0 {
            timed.extend(&probes.latencies);
        }
    }
    say(&format!(
        "The same at half of that rate, {rate:.0} a second: from when a call was due until its receiver had parsed the \
         frame.\n\n{}",
        latencies::HEAD
    ))?;
    say(&timed.line("hub, same node"))?;
    say("")?;
    course.goal(
        "G11 same node, half of that rate, p99",
        "1 ms",
        format!("{:.3} ms (p50 {:.3} ms)", timed.millis_within(0.99), timed.millis_within(0.5)),
    );
    Ok(())
}
