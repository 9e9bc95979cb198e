//! G5, G6: messages from one node over one Redis to another, beside what Redis does alone.

use std::{io::Read as _, time::Duration};

use anyhow::Result;

use super::{
    batches::{CONNECTIONS, PER_CALL, USERS, calls},
    course::{Course, LOAD_CORE, PAYLOAD, say},
    cpu,
    flood::Flood,
    http_posts::HttpPosts,
    latencies::{self, Latencies},
    measured_hub::MeasuredHub,
    measured_redis::MeasuredRedis,
    probes::Probes,
    rounds::{self, Round, median},
    swarm::Swarm,
};

/// Between two messages that are timed.
const PROBE_EVERY: Duration = Duration::from_millis(5);
/// Unpipelined and pipelined PUBLISH, in a second of a core that does nothing else: how much a round asks for.
const PUBLISH_RATES: [f64; 2] = [60_000.0, 400_000.0];
/// Commands at once on each connection of the pipelined one.
const PIPELINED: usize = 64;

/// Two nodes of one cluster.
///
/// # Errors
/// When one does not start.
pub fn pair(redis: &MeasuredRedis) -> Result<[MeasuredHub; 2]> {
    let start =
        |id| MeasuredHub::start(id, &[("WSC_REDIS_URL", &redis.url()), ("WSC_CLIENT_RATE", "100000")]);
    Ok([start("node-a")?, start("node-b")?])
}

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

fn measure(course: &Course) -> Result<()> {
    let redis = MeasuredRedis::start()?;
    let [a, b] = pair(&redis)?;
    let mut clients = Swarm::new()?;
    for n in 0..USERS {
        clients.connect(b.client, &format!("user-{n}"))?;
    }
    let posts = || HttpPosts::connect(a.api, CONNECTIONS);
    let mut flood = Flood {
        posts: posts()?,
        clients,
        probes: Some(Probes::connect(b.client, a.api, PROBE_EVERY)?),
        per_call: PER_CALL as u64,
        window: 8 * PER_CALL as u64,
    };
    let mut senders = [
        (calls("none"), posts()?.counting("\"status\":\"accepted\"")),
        (calls("delivered"), posts()?.counting("\"status\":\"delivered\"")),
    ];
    // Somebody has to hear the pipelined ones, as node B hears node A.
    let mut hearer = redis.subscribe("heard")?;
    let heard = std::thread::spawn(move || {
        let mut buffer = vec![0; 256 * 1024];
        while hearer.read(&mut buffer).is_ok_and(|read| read > 0) {}
    });

    let pids = [redis.pid(), a.pid(), b.pid()];
    let mut timed: [Latencies; 2] = Default::default();
    let results = course.in_turn::<4>(|kind| {
        if kind < 2 {
            let (channel, pipelined) = [("unheard", 1), ("heard", PIPELINED)][kind];
            let count = (PUBLISH_RATES[kind] * course.seconds) as u64;
            return course.measured(&pids, || redis.publish(channel, count, pipelined).map(|()| count));
        }
        let (requests, posts) = &mut senders[kind - 2];
        std::mem::swap(&mut flood.posts, posts);
        let round = course.measured(&pids, || flood.run(requests, course.seconds));
        std::mem::swap(&mut flood.posts, posts);
        if let Some(probes) = &flood.probes {
            timed[kind - 2].extend(&probes.latencies);
        }
        round
    })?;
    drop((flood, redis));
    // The end of Redis ends it.
    drop(heard.join());
    report(course, &results, &timed)
}

fn report(course: &Course, results: &[Vec<Round>; 4], timed: &[Latencies; 2]) -> Result<()> {
    let [publish, pipelined, none, delivered] = results;
    say(&format!(
        "Node A, one Redis, node B; {PAYLOAD} B, `POST /v1/messages` with {PER_CALL} messages to A, {USERS} users at B. \
         All processes on all cores; \"server\" is Redis and both nodes.\n\n{}",
        rounds::HEAD
    ))?;
    say(&rounds::line("redis-benchmark PUBLISH, unpipelined, nobody hears", publish))?;
    say(&rounds::line("redis-benchmark PUBLISH, 64 pipelined, one hears", pipelined))?;
    say(&rounds::line("hubs, wait: none", none))?;
    say(&rounds::line("hubs, wait: delivered", delivered))?;
    say(
        "\n| core-seconds per million messages | Redis | node A | node B | generator |\n|---|---|---|---|---|",
    )?;
    for (name, rounds) in [("hubs, wait: none", none), ("hubs, wait: delivered", delivered)] {
        let part = |part: usize| median(rounds, |round| round.core_seconds_per_million(part));
        let load = median(rounds, |round| round.load.as_secs_f64() * 1e6 / round.count as f64);
        say(&format!("| {name} | {:.3} | {:.3} | {:.3} | {load:.3} |", part(0), part(1), part(2)))?;
    }
    say(&format!(
        "\nAmong that load, messages one by one, from when a call was due until its receiver had parsed the frame.\n\n{}",
        latencies::HEAD
    ))?;
    say(&timed[0].line("hubs, wait: none"))?;
    say(&timed[1].line("hubs, wait: delivered"))?;
    say("")?;
    let rate = |rounds: &[Round]| median(rounds, Round::per_second);
    let redis_cost = |rounds: &[Round]| median(rounds, |round| round.core_seconds_per_million(0));
    course.goal(
        "G5 messages a second from node to node, `wait: none`",
        "400,000",
        format!("{:.0}", rate(none)),
    );
    course.goal("the same against unpipelined PUBLISH", "8", format!("{:.1}", rate(none) / rate(publish)));
    course.goal(
        "`wait: delivered` against `wait: none`",
        "0.5",
        format!("{:.2}", rate(delivered) / rate(none)),
    );
    course.goal(
        "G5 end to end at that load, p99",
        "10 ms",
        format!("{:.1} ms, delivered {:.1} ms", timed[0].millis_within(0.99), timed[1].millis_within(0.99)),
    );
    course.goal(
        "G6 Redis, core-seconds per million messages from node to node",
        "0.15",
        format!("{:.3} (PUBLISH one by one, pipelined: {:.3})", redis_cost(none), redis_cost(pipelined)),
    );
    Ok(())
}
