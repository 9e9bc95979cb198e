//! What an idle connection costs, and that a burst costs nothing when it is over.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use wsc_tests::load::{
    cpu::resident_kib,
    http_posts::HttpPosts,
    measured_hub::{KEY, MeasuredHub},
    swarm::{Swarm, allow_open_files},
};

const CONNECTIONS: usize = 5000;
/// Idle, each; the kernel's part is not in it.
const MOST_KIB: f64 = 8.0;
/// After bursts, against idle.
const MOST_AFTER: f64 = 1.3;
const BURSTS: usize = 3;
const BURST: usize = 20;
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn an_idle_connection_costs_little_memory_and_a_burst_gives_back_what_it_took() -> Result<()> {
    allow_open_files(2 * CONNECTIONS as u64 + 2048)?;
    let hub = MeasuredHub::start("memory", &[])?;
    let mut clients = Swarm::new()?;
    // What the first connections bring into being is not the price of one more.
    for n in 0..100 {
        clients.connect(hub.client, &format!("warm-{n}"))?;
    }
    let before = resident_kib(hub.pid())?;
    for n in 0..CONNECTIONS {
        clients.connect(hub.client, &format!("user-{n}"))?;
    }
    let each =
        || -> Result<f64> { Ok(resident_kib(hub.pid())?.saturating_sub(before) as f64 / CONNECTIONS as f64) };
    let settle = |clients: &mut Swarm, most: f64| -> Result<f64> {
        let begin = Instant::now();
        loop {
            clients.read_some(Duration::from_millis(100))?;
            let now = each()?;
            if now <= most || begin.elapsed() > PATIENCE {
                return Ok(now);
            }
        }
    };
    let idle = settle(&mut clients, MOST_KIB)?;
    ensure!(idle <= MOST_KIB, "{idle:.2} KiB for each of {CONNECTIONS} idle connections");

    let body = format!(r#"{{"content":"{}","options":{{"wait":"none"}}}}"#, "x".repeat(200));
    let burst = HttpPosts::request("/v1/broadcast", KEY, &body).repeat(BURST);
    let mut posts = HttpPosts::connect(hub.api, 1)?;
    for _ in 0..BURSTS {
        let expected = clients.parsed + (BURST * clients.len()) as u64;
        posts.write(&burst)?;
        posts.answers(BURST as u64, &mut clients)?;
        clients.read_until(expected, PATIENCE)?;
    }
    let after = settle(&mut clients, MOST_AFTER * idle)?;
    ensure!(after <= MOST_AFTER * idle, "{after:.2} KiB for each after bursts, {idle:.2} before");
    Ok(())
}
