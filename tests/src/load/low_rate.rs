//! G12: one message at a time from node to node, beside one PUBLISH at a time.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::{
    across::pair,
    course::{Course, LOAD_CORE, PATIENCE, SERVER_CORE, content, say},
    cpu,
    latencies::{self, Latencies},
    measured_redis::{MeasuredRedis, RawPublish},
    swarm::Swarm,
};

/// Between two messages: 1,000 a second at most.
const PAUSE: Duration = Duration::from_millis(1);

/// Measures it.
///
/// # Errors
/// When a hub or Redis fails, or a frame does not come.
pub fn run(course: &Course) -> Result<()> {
    let redis = cpu::on_core(SERVER_CORE, LOAD_CORE, MeasuredRedis::start)?;
    let [a, b] = cpu::on_core(SERVER_CORE, LOAD_CORE, || pair(&redis))?;
    let mut sender = Swarm::new()?;
    sender.connect(a.client, "sender")?;
    let mut receivers = [Swarm::new()?, Swarm::new()?];
    receivers[0].connect(b.client, "away")?;
    receivers[1].connect(a.client, "near")?;
    let mut raw = RawPublish::connect(&redis)?;
    let frame = |to| format!(r#"{{"receiver":"{to}","content":"{}"}}"#, content());
    let frames = [frame("away"), frame("near")];

    let mut timed: [Latencies; 3] = Default::default();
    for n in 0..=course.rounds {
        for (kind, timed) in timed.iter_mut().enumerate() {
            let begin = Instant::now();
            while begin.elapsed().as_secs_f64() < course.seconds {
                std::thread::sleep(PAUSE);
                let took = match kind {
                    0 => raw.once()?,
                    _ => {
                        let receiver = &mut receivers[kind - 1];
                        let expected = receiver.parsed + 1;
                        let sent = Instant::now();
                        sender.send_text(0, &frames[kind - 1])?;
                        receiver.read_until(expected, PATIENCE)?;
                        sent.elapsed()
                    }
                };
                if n > 0 {
                    timed.add(took);
                }
            }
        }
    }
    say(&format!(
        "One message at a time, a pause of 1 ms between; Redis and both nodes on core {SERVER_CORE}. A frame of a client \
         of node A until a client of node B, or of A, has parsed it.\n\n{}",
        latencies::HEAD
    ))?;
    let [publish, away, near] = &timed;
    say(&publish.line("Redis alone, PUBLISH until it is pushed"))?;
    say(&away.line("client, node A, Redis, node B, client"))?;
    say(&near.line("client, node A, client"))?;
    say("")?;
    let ratio = |part| away.millis_within(part) / publish.millis_within(part).max(1e-6);
    course.goal(
        "G12 from node to node at a low rate against Redis alone",
        "p50 1.5, p99 2",
        format!("p50 {:.2}, p99 {:.2}", ratio(0.5), ratio(0.99)),
    );
    Ok(())
}
