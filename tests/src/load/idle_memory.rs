//! G8, G9: memory of idle connections, and of the same after bursts.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::{
    course::{Course, PATIENCE, body, lone_hub, say},
    cpu,
    http_posts::HttpPosts,
    measured_hub::KEY,
    swarm::Swarm,
};

/// Memory of idle connections, and of the same after bursts.
///
/// # Errors
/// When a hub fails, or a frame does not come.
pub fn run(course: &Course, count: usize) -> Result<()> {
    let hub = lone_hub()?;
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
    course.goal(
        &format!("G8 memory of an idle connection, resident, {count} connections"),
        "8 KiB (later 4)",
        format!("{:.2} KiB", each(idle)),
    );
    course.goal(
        "G9 the same after 10 bursts of 50 frames to each",
        "1.3 x",
        format!("{:.2} x", each(settled) / each(idle)),
    );
    say(&format!(
        "Connects: {:.0} upgrades a second, one after another.\n",
        count as f64 / took.as_secs_f64()
    ))
}
