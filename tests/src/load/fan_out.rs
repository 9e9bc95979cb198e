//! G1 and G2: one frame to each of many clients, then sixteen at once, beside a bare loop of `send()`.

use anyhow::Result;

use super::{
    course::{Course, LOAD_CORE, PATIENCE, PAYLOAD, SERVER_CORE, body, lone_hub, say},
    cpu,
    http_posts::HttpPosts,
    measured_hub::KEY,
    raw_server::RawServer,
    rounds::{self, Round, median},
    swarm::Swarm,
};

/// Clients of a fan-out, all in one group.
pub const MEMBERS: usize = 1000;
/// Messages of a burst.
pub const BURST: usize = 16;

/// Measures it.
///
/// # Errors
/// When a hub fails, or a frame does not come.
pub fn run(course: &Course) -> Result<()> {
    let hub = lone_hub()?;
    let mut raw = cpu::on_core(SERVER_CORE, LOAD_CORE, || RawServer::start(MEMBERS))?;
    let (mut hub_clients, mut raw_clients) = (Swarm::new()?, Swarm::new()?);
    for n in 0..MEMBERS {
        hub_clients.connect_with(hub.client, &format!("user_id=user-{n}&groups=room"))?;
        raw_clients.connect(raw.address, "anybody")?;
    }
    let mut posts = HttpPosts::connect(hub.api, 1)?;
    let to_group = HttpPosts::request("/v1/groups/room/messages", KEY, &body("none"));
    let to_all = HttpPosts::request("/v1/broadcast", KEY, &body("none"));
    let bursts = [&to_group, &to_all].map(|one| [one.clone(), one.repeat(BURST)]);

    let results = course.in_turn::<6>(|kind| {
        let (burst, what) = (kind / 3, kind % 3);
        let count = [1, BURST][burst];
        let frames = (count * MEMBERS) as u64;
        if what == 0 {
            return course.round(&[raw.pid()], || {
                let expected = raw_clients.parsed + frames;
                raw.send(count, PAYLOAD)?;
                raw_clients.read_until(expected, PATIENCE)?;
                Ok(frames)
            });
        }
        course.round(&[hub.pid()], || {
            let expected = hub_clients.parsed + frames;
            posts.write(&bursts[what - 1][burst])?;
            hub_clients.read_until(expected, PATIENCE)?;
            posts.answers(count as u64, &mut hub_clients)?;
            Ok(frames)
        })
    })?;
    let [raw_one, group_one, all_one, raw_many, group_many, all_many] = &results;
    say(&format!("Fan-out to {MEMBERS} clients, {PAYLOAD} B, one call at a time.\n\n{}", rounds::HEAD))?;
    say(&rounds::line("bare send() loop, 1 frame per write", raw_one))?;
    say(&rounds::line("hub, 1 message to the group at a time", group_one))?;
    say(&rounds::line("hub, 1 broadcast at a time", all_one))?;
    say(&rounds::line("bare send() loop, 16 frames per write", raw_many))?;
    say(&rounds::line("hub, 16 messages to the group at once", group_many))?;
    say(&rounds::line("hub, 16 broadcasts at once", all_many))?;
    say("")?;
    let ratio = |a: &[Round], b: &[Round]| {
        let by = |value: fn(&Round) -> f64| median(a, value) / median(b, value);
        format!("{:.2} by the clock, {:.2} by core time", by(Round::per_second), by(Round::per_core_second))
    };
    course.goal(
        "G1 fan-out, one frame per write, group, against the bare loop",
        "0.6",
        ratio(group_one, raw_one),
    );
    course.goal("the same, broadcast", "0.6", ratio(all_one, raw_one));
    course.goal("G2 bursts of 16 against G1, group", "6", ratio(group_many, group_one));
    course.goal("the same, broadcast", "6", ratio(all_many, all_one));
    Ok(())
}
