//! What a drain costs those who stay: messages one by one, to a client of another node and to one of the node that is
//! drained, while its thousands are sent to the other node, and while nothing is drained.

use std::{
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use super::{
    course::{Course, LOAD_CORE, PATIENCE, say},
    cpu,
    doorbell::Doorbell,
    latencies::{self, Latencies},
    leavers::Leavers,
    measured_hub::MeasuredHub,
    measured_redis::MeasuredRedis,
    probes::Probes,
};

/// Connections of the node that is drained, beside the timed one.
const LEAVERS: usize = 5000;
/// Closed in a second.
const RATE: usize = 500;
/// Messages that are timed: one for each receiver in this time.
const PROBE_EVERY: Duration = Duration::from_millis(4);
/// How long they are timed: the timed client of the drained node is used all the time, so it goes last, after 10 s.
const TIMED: Duration = Duration::from_secs(8);
/// Rounds, whatever is said for the others: each takes 10 s twice.
const MOST_ROUNDS: usize = 5;

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

fn start(redis: &MeasuredRedis, id: &str) -> Result<MeasuredHub> {
    let settings = [
        ("WSC_REDIS_URL", redis.url()),
        ("WSC_DRAIN_SETTLE", "0s".into()),
        ("WSC_ACCEPT_RATE", "100000".into()),
    ];
    let settings: Vec<_> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    MeasuredHub::start(id, &settings)
}

fn measure(course: &Course) -> Result<()> {
    let redis = MeasuredRedis::start()?;
    let other = start(&redis, "node-b")?;
    // By node, quiet and beside a drain.
    let mut timed: [[Vec<Latencies>; 2]; 2] = Default::default();
    let mut closed = Vec::new();
    for round in 0..=course.rounds.min(MOST_ROUNDS) {
        let drained = start(&redis, "node-a")?;
        let leavers = Leavers::connect(drained.client, other.client, LEAVERS)?;
        let reading = std::thread::spawn(move || leavers.follow());
        let mut probes = [
            Probes::connect_as("at-b", other.client, other.api, PROBE_EVERY)?,
            Probes::connect_as("at-a", drained.client, other.api, PROBE_EVERY)?,
        ];
        for kind in 0..2 {
            if kind == 1 {
                drained.post("/admin/drain", &format!(r#"{{"id":"bench","rate_per_second":{RATE}}}"#))?;
            }
            for (probes, timed) in time(&mut probes)?.into_iter().zip(&mut timed) {
                if round > 0 {
                    timed[kind].push(probes);
                }
            }
        }
        drop(probes);
        let took = followed(reading)?;
        if round > 0 {
            closed.push(LEAVERS as f64 / took.as_secs_f64());
        }
        drained.end()?;
    }
    report(course, &timed, &closed)
}

/// Sends to both receivers for the time of a round.
fn time(probes: &mut [Probes; 2]) -> Result<[Latencies; 2]> {
    let mut doorbell = Doorbell::new(probes.iter().flat_map(Probes::signs))?;
    let begin = Instant::now();
    probes.iter_mut().for_each(Probes::begin);
    loop {
        let more = begin.elapsed() < TIMED;
        for probes in probes.iter_mut() {
            probes.turn(more)?;
        }
        if !more && probes.iter().all(|probes| probes.under_way() == 0) {
            return Ok(probes.each_mut().map(|probes| std::mem::take(&mut probes.latencies)));
        }
        ensure!(begin.elapsed() < PATIENCE, "messages do not arrive");
        doorbell.wait(Duration::from_micros(200))?;
    }
}

/// From the first close until the last, when all are at the other node.
fn followed(reading: JoinHandle<Result<Duration>>) -> Result<Duration> {
    reading.join().ok().context("the clients' thread panicked")?
}

fn report(course: &Course, timed: &[[Vec<Latencies>; 2]; 2], closed: &[f64]) -> Result<()> {
    let rate = middle(closed);
    say(&format!(
        "{LEAVERS} connections of node A sent to node B at {RATE}/s, {rate:.0}/s as it came, each connecting to B when A asked it to; \
         beside it messages one by one through the API of B, every {} ms to each of two clients, from when one was due \
         until it was parsed. All processes on all cores.\n\n{}",
        PROBE_EVERY.as_millis(),
        latencies::HEAD
    ))?;
    for (place, [quiet, drain]) in ["client of node B", "client of node A, until its turn"].iter().zip(timed)
    {
        for (when, rounds) in [("quiet", quiet), ("beside the drain", drain)] {
            let mut all = Latencies::default();
            rounds.iter().for_each(|round| all.extend(round));
            say(&all.line(&format!("{place}, {when}")))?;
        }
    }
    say("")?;
    for (what, [quiet, drain]) in
        ["on another node", "on the draining node until their turn"].iter().zip(timed)
    {
        let p99 = |rounds: &[Latencies]| {
            middle(&rounds.iter().map(|round| round.millis_within(0.99)).collect::<Vec<_>>())
        };
        let (quiet, drain) = (p99(quiet), p99(drain));
        course.goal(
            &format!("p99 of clients {what} beside a drain of {LEAVERS} at {RATE}/s, against none"),
            "1.10",
            format!("{:.2} ({quiet:.3} ms, {drain:.3} ms; medians of rounds)", drain / quiet.max(1e-6)),
        );
    }
    Ok(())
}

fn middle(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}
