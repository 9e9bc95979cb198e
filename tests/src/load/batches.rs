//! `POST /v1/messages`: many messages in one call, all users on the node that is asked.

use anyhow::Result;

use super::{
    course::{Course, batches, lone_hub, say},
    flood::Flood,
    http_posts::HttpPosts,
    measured_hub::KEY,
    rounds::{self, Round, median},
    swarm::Swarm,
};

/// Messages of one call.
pub const PER_CALL: usize = 1000;
/// Receivers.
pub const USERS: usize = 100;
/// Calls at the same time.
pub const CONNECTIONS: usize = 4;

/// The calls of a flood, by what is waited for.
#[must_use]
pub fn calls(wait: &str) -> Vec<Vec<u8>> {
    let users: Vec<String> = (0..USERS).map(|n| format!("user-{n}")).collect();
    let request = |body: &String| HttpPosts::request("/v1/messages", KEY, body);
    batches(&users, PER_CALL, wait).iter().map(request).collect()
}

/// Measures it.
///
/// # Errors
/// When a hub fails, or a frame does not come.
pub fn run(course: &Course) -> Result<()> {
    let hub = lone_hub()?;
    let mut floods = Vec::new();
    for (wait, word) in [("none", "\"status\":\"accepted\""), ("delivered", "\"status\":\"delivered\"")] {
        let posts = HttpPosts::connect(hub.api, CONNECTIONS)?.counting(word);
        let window = 4 * PER_CALL as u64;
        let flood = Flood { posts, clients: Swarm::new()?, probes: None, per_call: PER_CALL as u64, window };
        floods.push((calls(wait), flood));
    }
    let mut clients = Swarm::new()?;
    for n in 0..USERS {
        clients.connect(hub.client, &format!("user-{n}"))?;
    }
    let results = course.in_turn::<2>(|kind| {
        let (requests, flood) = &mut floods[kind];
        // Both floods have the same receivers.
        std::mem::swap(&mut flood.clients, &mut clients);
        let round = course.measured(&[hub.pid()], || flood.run(requests, course.seconds));
        std::mem::swap(&mut flood.clients, &mut clients);
        round
    })?;
    say(&format!(
        "`POST /v1/messages`, {PER_CALL} messages in a call, {CONNECTIONS} kept-alive connections, {USERS} users.\n\n{}",
        rounds::HEAD
    ))?;
    let [none, delivered] = &results;
    say(&rounds::line("hub, wait: none", none))?;
    say(&rounds::line("hub, wait: delivered", delivered))?;
    say("")?;
    for (what, rounds) in [("none", none), ("delivered", delivered)] {
        let by = |value: fn(&Round) -> f64| median(rounds, value);
        course.goal(
            &format!("messages a second in calls of {PER_CALL}, one core, `wait: {what}`"),
            "300,000",
            format!(
                "{:.0} by the clock, {:.0} by core time",
                by(Round::per_second),
                by(Round::per_core_second)
            ),
        );
    }
    Ok(())
}
