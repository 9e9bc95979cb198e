//! G3: system calls of the hub for each frame delivered.

use std::{
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result};

use super::{
    course::{Course, PATIENCE, body, lone_hub, say},
    cpu,
    fan_out::{BURST, MEMBERS},
    http_posts::HttpPosts,
    measured_hub::KEY,
    swarm::Swarm,
};

/// System calls of the hub for each frame delivered, counted by strace.
///
/// # Errors
/// When a hub fails, a frame does not come, or there is no strace.
pub fn run(course: &Course) -> Result<()> {
    let hub = lone_hub()?;
    let mut clients = Swarm::new()?;
    for n in 0..MEMBERS {
        clients.connect(hub.client, &format!("user-{n}"))?;
    }
    let mut posts = HttpPosts::connect(hub.api, 1)?;
    let one = HttpPosts::request("/v1/broadcast", KEY, &body("none"));
    say("System calls of the hub's process for each frame delivered, all of them, by strace.\n")?;
    for (burst, aim) in [(1usize, "1.05"), (BURST, "0.10")] {
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
        let each = total as f64 / frames as f64;
        course.goal(&format!("G3 system calls for each frame, {burst} at once"), aim, format!("{each:.3}"));
        say(&format!("- {burst} at once: {each:.3} for each of {frames} frames ({})", listed.join(", ")))?;
    }
    say("")
}
