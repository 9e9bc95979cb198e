//! Redis is away for longer than a lease.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use wsc_tests::{
    api_client::ApiClient,
    hub_fleet::{HEARTBEAT, HubFleet, LEASE},
    wait::{Look, eventually},
};

use super::crowd::{Crowd, Visitors};

/// Users at each node.
const USERS: usize = 30;
/// More than four leases.
const AWAY: Duration = Duration::from_secs(7);
/// What users are promised once Redis is back.
const HEALED: Duration = Duration::from_secs(5);

/// Asks one node about users of the other, over and over, and keeps every answer that calls one offline.
async fn watch_for_offline(
    api: ApiClient,
    users: Vec<String>,
    stop: CancellationToken,
) -> Result<(usize, Vec<Value>)> {
    let (mut asked, mut wrong) = (0, Vec::new());
    for user in users.iter().cycle() {
        if stop.is_cancelled() {
            break;
        }
        let body = json!({"content": "probe", "options": {"timeout_ms": 200, "max_retries": 0}});
        let answer = api.post(&format!("/v1/users/{user}/messages"), &body).await?;
        if answer.status == 200 && answer.json()?["status"] == "offline" {
            wrong.push(answer.json()?);
        }
        let answer = api.get(&format!("/v1/users/{user}")).await?;
        if answer.status == 200 && answer.json()?["online"] == false {
            wrong.push(answer.json()?);
        }
        asked += 1;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok((asked, wrong))
}

/// All users are where they are, as both nodes say.
async fn all_are_found(fleet: &HubFleet, crowds: [&Crowd; 2], within: Duration) -> Result<()> {
    eventually("both nodes know all users of the other", within, async || {
        for (asked, crowd) in [(0, crowds[1]), (1, crowds[0])] {
            for member in &crowd.0 {
                let found = fleet.api(asked)?.get(&format!("/v1/users/{}", member.user)).await?;
                if found.status != 200 || found.json()?["nodes"] != json!([format!("node-{}", 1 - asked)]) {
                    return Ok(Look::NotYet(format!("node-{asked} about {}: {}", member.user, found.text)));
                }
            }
        }
        Ok(Look::Holds(()))
    })
    .await
}

#[tokio::test]
async fn redis_away_for_longer_than_the_lease_closes_nobody_and_all_is_registered_again() -> Result<()> {
    let mut fleet = HubFleet::start(2).await?;
    let here = Crowd::connect(&fleet.hubs[0], "here", USERS).await?;
    let there = Crowd::connect(&fleet.hubs[1], "there", USERS).await?;
    let victim = Crowd::connect(&fleet.hubs[0], "victim", 1).await?;
    let api = fleet.api(0)?;
    api.request(http::Method::PUT, "/v1/groups/room/members/here-0", Some("{}".into())).await?.ok()?;
    api.request(http::Method::PUT, "/v1/groups/room/members/there-0", Some("{}".into())).await?.ok()?;
    for member in &there.0 {
        assert_eq!(api.send(&member.user, "before").await?["status"], "delivered");
    }
    there.each_got_once("before", HEALED).await?;
    let visitors =
        [Visitors::start(fleet.hubs[0].client, "zero"), Visitors::start(fleet.hubs[1].client, "one")];
    let all_there: Vec<String> = there.0.iter().map(|member| member.user.clone()).collect();
    let stop = CancellationToken::new();
    let watch = tokio::spawn(watch_for_offline(api.clone(), all_there.clone(), stop.clone()));

    // A hub looks for the others once per heartbeat.
    tokio::time::sleep(HEARTBEAT * 3).await;
    fleet.redis.kill().await?;
    let began = Instant::now();
    // Both have noticed, and a lease has passed.
    tokio::time::sleep(LEASE + LEASE / 2).await;
    let mut statuses = BTreeMap::<String, usize>::new();
    for number in 0..USERS {
        let sent = api.send(&format!("here-{number}"), "same node").await?;
        ensure!(sent["status"] == "delivered", "a receiver on this node only: {sent}");
        let asked = Instant::now();
        let body = json!({"content": "far", "options": {"timeout_ms": 300}});
        let far = api.post(&format!("/v1/users/there-{number}/messages"), &body).await?.ok()?;
        ensure!(asked.elapsed() < Duration::from_millis(300 + 1200), "{:?} for {far}", asked.elapsed());
        *statuses.entry(far["status"].as_str().unwrap_or("?").to_owned()).or_default() += 1;
    }
    here.each_got_once("same node", HEALED).await?;
    ensure!(!statuses.contains_key("delivered") && !statuses.contains_key("offline"), "{statuses:?}");
    let result = api.broadcast("to those here").await?;
    assert_eq!((&result["status"], &result["nodes_answered"]), (&json!("partial"), &json!(1)), "{result}");
    here.each_got_once("to those here", HEALED).await?;
    let kick = api.kick("victim-0", "local").await?;
    assert_eq!(
        (&kick["kicked_connections"], &kick["nodes_expected"], &kick["nodes_answered"]),
        (&json!(1), &json!(2), &json!(1)),
        "{kick}"
    );
    let group = api.post("/v1/groups/room/messages", &json!({"content": "to the room"})).await?.ok()?;
    assert_eq!((&group["status"], &group["connections"]), (&json!("partial"), &json!(1)), "{group}");
    tokio::time::sleep(AWAY.saturating_sub(began.elapsed())).await;

    fleet.redis.run().await?;
    let back = Instant::now();
    all_are_found(&fleet, [&here, &there], HEALED).await.context("after redis came back")?;
    let took = back.elapsed();
    for member in &there.0 {
        let sent = fleet.api(0)?.send(&member.user, "after").await?;
        ensure!(sent["status"] == "delivered", "{sent}");
    }
    there.each_got_once("after", HEALED).await?;
    stop.cancel();
    let (asked, offline) = watch.await??;
    let mut good = 0;
    let mut longest = Duration::ZERO;
    for visitors in visitors {
        let visits = visitors.finish().await?;
        ensure!(visits.bad.is_empty(), "{} bad visits: {:?}", visits.bad.len(), visits.bad);
        good += visits.good;
        longest = longest.max(visits.longest);
    }
    let reaped = fleet.api(0)?.metric("wsc_reaped_users_total").await?
        + fleet.api(1)?.metric("wsc_reaped_users_total").await?;
    println!(
        "away for {:.1} s: {} of {} clients still connected, {good} visitors came and went (longest {longest:?}), \
         {} same-node sends delivered, cross-node {statuses:?}; after it all {} users known again in {took:?}; \
         asked {asked} times, {} answers called somebody offline, {reaped} users reaped",
        AWAY.as_secs_f64(),
        2 * USERS - here.ended().len() - there.ended().len(),
        2 * USERS,
        USERS,
        2 * USERS,
        offline.len(),
    );
    assert_eq!((here.ended(), there.ended()), (vec![], vec![]), "connections that ended");
    assert!(offline.is_empty(), "nobody went offline: {offline:?}");
    assert_eq!(reaped, 0, "nobody died, so nobody is reaped");
    assert_eq!(victim.ended().len(), 1, "the kicked one is gone");
    assert!(good >= 20, "{good} visitors in {AWAY:?}");
    Ok(())
}

#[tokio::test]
async fn redis_that_hangs_for_longer_than_the_lease_and_keeps_its_data_has_no_user_reaped() -> Result<()> {
    let fleet = HubFleet::start(2).await?;
    let here = Crowd::connect(&fleet.hubs[0], "here", USERS).await?;
    let there = Crowd::connect(&fleet.hubs[1], "there", USERS).await?;
    all_are_found(&fleet, [&here, &there], HEALED).await?;
    let all_there: Vec<String> = there.0.iter().map(|member| member.user.clone()).collect();
    let stop = CancellationToken::new();
    let watch = tokio::spawn(watch_for_offline(fleet.api(0)?, all_there, stop.clone()));

    // The leases run out meanwhile, the users' records stay.
    let hang = LEASE * 3;
    let mut redis = fleet.redis.connection().await?;
    let millis = u64::try_from(hang.as_millis())?;
    redis::cmd("CLIENT").arg("PAUSE").arg(millis).arg("ALL").exec_async(&mut redis).await?;
    let began = Instant::now();
    for number in 0..USERS {
        let sent = fleet.api(0)?.send(&format!("here-{number}"), "same node").await?;
        ensure!(sent["status"] == "delivered", "{sent}");
    }
    here.each_got_once("same node", HEALED).await?;
    tokio::time::sleep(hang.saturating_sub(began.elapsed())).await;

    let back = Instant::now();
    all_are_found(&fleet, [&here, &there], HEALED).await.context("after redis answered again")?;
    let took = back.elapsed();
    // Long enough for a sweep of the lives that ended.
    tokio::time::sleep(LEASE * 2).await;
    all_are_found(&fleet, [&here, &there], HEALED).await.context("after the sweep")?;
    let result = fleet.api(1)?.broadcast("all are here").await?;
    assert_eq!(
        (&result["status"], &result["connections"]),
        (&json!("complete"), &json!(2 * USERS)),
        "{result}"
    );
    stop.cancel();
    let (asked, offline) = watch.await??;
    println!(
        "hung for {hang:?}: all {} users known again after {took:?}; asked {asked} times, {} called somebody offline",
        2 * USERS,
        offline.len()
    );
    assert_eq!((here.ended(), there.ended()), (vec![], vec![]), "connections that ended");
    assert!(offline.is_empty(), "nobody went offline: {offline:?}");
    Ok(())
}
