//! How long after Redis comes back empty everybody is registered again, with thousands of real sockets.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::{
    across::pair,
    course::{Course, LOAD_CORE, PATIENCE, say},
    cpu,
    latencies::{self, Latencies},
    measured_hub::MeasuredHub,
    measured_redis::MeasuredRedis,
    swarm::Swarm,
};

/// Connections of both nodes together, each of a user of its own. The promise is for up to 50,000; here they are real, with
/// both of their ends on one machine.
const CONNECTIONS: usize = 10_000;
/// How long Redis is away.
const AWAY: Duration = Duration::from_secs(2);

/// Measures it. All processes may use all cores.
///
/// # Errors
/// When a hub or Redis fails, a connection ends, or not all are registered again within a minute.
pub fn run(course: &Course) -> Result<()> {
    cpu::unpin()?;
    let measured = measure(course);
    cpu::pin(LOAD_CORE)?;
    measured
}

fn measure(course: &Course) -> Result<()> {
    let mut redis = MeasuredRedis::start()?;
    let hubs = pair(&redis)?;
    let mut clients = Swarm::new()?;
    for n in 0..CONNECTIONS {
        clients.connect(hubs[n % hubs.len()].client, &format!("user-{n}"))?;
    }
    let mut timed = Latencies::default();
    for _ in 0..course.rounds {
        until_registered(&redis, &hubs, &mut clients)?;
        redis.kill()?;
        let away = Instant::now();
        while away.elapsed() < AWAY {
            clients.read_some(Duration::from_millis(50))?;
        }
        redis.run()?;
        timed.add(until_registered(&redis, &hubs, &mut clients)?);
    }
    say(&format!(
        "{CONNECTIONS} connections of {CONNECTIONS} users at two nodes; Redis is killed, is away for {} s, and comes back \
         empty. From when it listens until each user is there again and no node has anybody left to write. All processes on \
         all cores.\n\n{}",
        AWAY.as_secs(),
        latencies::HEAD
    ))?;
    say(&timed.line("all registered again"))?;
    say("")?;
    course.goal(
        &format!("{CONNECTIONS} real connections registered again after Redis came back empty, the slowest"),
        "5 s",
        format!("{:.2} s", timed.within(1.0).as_secs_f64()),
    );
    Ok(())
}

/// Waits until Redis has the connections of each user, and no hub has anybody to write.
fn until_registered(redis: &MeasuredRedis, hubs: &[MeasuredHub], clients: &mut Swarm) -> Result<Duration> {
    let begin = Instant::now();
    loop {
        let left = unsettled(hubs)?;
        // Nobody is left also before the hubs have heard of the loss.
        if left == 0 && redis.keys("*}:conn")? == CONNECTIONS as u64 {
            return Ok(begin.elapsed());
        }
        ensure!(begin.elapsed() < PATIENCE, "{left} connections are not registered");
        clients.read_some(Duration::from_millis(20))?;
    }
}

/// Connections that are to be written to the registry again.
fn unsettled(hubs: &[MeasuredHub]) -> Result<u64> {
    hubs.iter().map(|hub| hub.metric("wsc_unsettled_connections")).sum()
}
