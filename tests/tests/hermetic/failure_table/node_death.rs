//! A node is killed, or sleeps for longer than its lease.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use serde_json::json;
use wsc_tests::{
    hub_fleet::{HEARTBEAT, HubFleet, LEASE},
    wait::{Look, eventually},
    ws_client::PATIENCE,
};

use super::crowd::{Crowd, Visitors};

/// Users at the node that fails.
const USERS: usize = 20;
/// What users are promised.
const NOTICED: Duration = LEASE.saturating_add(Duration::from_secs(5));

/// Sends to all users in turn until each was called offline once; counts what was said.
async fn send_until_all_are_offline(fleet: &HubFleet, name: &str) -> Result<BTreeMap<String, usize>> {
    let began = Instant::now();
    let mut statuses = BTreeMap::<String, usize>::new();
    let mut offline = [false; USERS];
    let mut number = 0;
    while offline.contains(&false) {
        ensure!(began.elapsed() < NOTICED, "not all offline within {NOTICED:?}: {statuses:?}");
        let user = number % USERS;
        let body =
            json!({"content": format!("stale {number}"), "options": {"timeout_ms": 150, "max_retries": 1}});
        let answer = fleet.api(0)?.post(&format!("/v1/users/{name}-{user}/messages"), &body).await?.ok()?;
        let status = answer["status"].as_str().unwrap_or("?").to_owned();
        offline[user] |= status == "offline";
        *statuses.entry(status).or_default() += 1;
        number += 1;
    }
    Ok(statuses)
}

#[tokio::test]
async fn a_killed_nodes_users_are_offline_in_time_and_no_send_meanwhile_is_called_delivered() -> Result<()> {
    let mut fleet = HubFleet::start(2).await?;
    let staying = Crowd::connect(&fleet.hubs[0], "staying", USERS).await?;
    let gone = Crowd::connect(&fleet.hubs[1], "gone", USERS).await?;
    for member in &gone.0 {
        assert_eq!(fleet.api(0)?.send(&member.user, "before").await?["status"], "delivered");
    }
    let visitors = Visitors::start(fleet.hubs[0].client, "zero");
    fleet.hubs[1].kill().await?;
    let killed = Instant::now();
    let statuses = send_until_all_are_offline(&fleet, "gone").await?;
    let took = killed.elapsed();
    let visits = visitors.finish().await?;
    println!(
        "killed with {USERS} users: all offline after {took:?}; sends meanwhile {statuses:?}; {} visitors at the other node",
        visits.good
    );
    assert!(!statuses.contains_key("delivered"), "{statuses:?}");
    assert!(visits.bad.is_empty(), "{:?}", visits.bad);
    assert_eq!(staying.ended(), Vec::<String>::new());
    fleet.hubs.pop();
    fleet.all_see(1).await?;
    let result = fleet.api(0)?.broadcast("who is left").await?;
    assert_eq!((&result["status"], &result["connections"]), (&json!("complete"), &json!(USERS)), "{result}");
    staying.each_got_once("who is left", PATIENCE).await
}

#[tokio::test]
async fn a_node_that_slept_longer_than_its_lease_drops_what_it_buffered_and_is_no_ghost() -> Result<()> {
    let mut fleet = HubFleet::start(2).await?;
    let asleep = Crowd::connect(&fleet.hubs[1], "asleep", USERS).await?;
    let awake = Crowd::connect(&fleet.hubs[0], "awake", USERS).await?;
    for member in &asleep.0 {
        assert_eq!(fleet.api(0)?.send(&member.user, "before").await?["status"], "delivered");
    }
    asleep.each_got_once("before", PATIENCE).await?;
    let incarnation = fleet.status(1).await?["incarnation"].clone();
    let dropped = fleet.api(1)?.metric("wsc_bus_unregistered_drops_total").await?;
    let rebuilt = fleet.api(1)?.metric("wsc_bus_subscriptions_total").await?;
    let visitors = Visitors::start(fleet.hubs[0].client, "zero");

    fleet.hubs[1].process().halt().await?;
    let slept = Instant::now();
    let body = json!({"content": "stale to all", "options": {"timeout_ms": 300}});
    let result = fleet.api(0)?.post("/v1/broadcast", &body).await?.ok()?;
    assert_eq!((&result["status"], &result["nodes_answered"]), (&json!("partial"), &json!(1)), "{result}");
    let statuses = send_until_all_are_offline(&fleet, "asleep").await?;
    // Once its death is seen, a broadcast counts only who lives.
    eventually("a broadcast expects one node", NOTICED, async || {
        let result = fleet.api(0)?.broadcast("stale to those who live").await?;
        let alone = result["status"] == "complete" && result["nodes_expected"] == 1;
        Ok(Look::when(alone, (), result))
    })
    .await?;
    // Its death may be seen a little before its own clock says so: the lease began with its last heartbeat.
    tokio::time::sleep((LEASE + HEARTBEAT).saturating_sub(slept.elapsed())).await;
    let asleep_for = slept.elapsed();
    ensure!(asleep_for > LEASE, "{asleep_for:?}");

    fleet.hubs[1].process().signal(Signal::CONT)?;
    let woke = Instant::now();
    fleet.all_see(2).await?;
    eventually("its users are registered again", NOTICED, async || {
        for member in &asleep.0 {
            let found = fleet.api(0)?.get(&format!("/v1/users/{}", member.user)).await?;
            let connections = found.json()?["connections"].as_array().map_or(0, Vec::len);
            if found.status != 200 || connections != 1 {
                return Ok(Look::NotYet(found.text));
            }
        }
        Ok(Look::Holds(()))
    })
    .await
    .context("after it woke")?;
    let took = woke.elapsed();
    for member in &asleep.0 {
        let sent = fleet.api(0)?.send(&member.user, "fresh").await?;
        ensure!(sent["status"] == "delivered" && sent["connections"] == 1, "{sent}");
    }
    asleep.each_got_once("fresh", PATIENCE).await?;
    // What was dropped would have come before this: one channel, in order.
    let result = fleet.api(0)?.broadcast("fresh to all").await?;
    assert_eq!((&result["status"], &result["nodes_answered"]), (&json!("complete"), &json!(2)), "{result}");
    asleep.each_got_once("fresh to all", PATIENCE).await?;
    awake.each_got_once("fresh to all", PATIENCE).await?;

    let stale = asleep.beginning("stale");
    let dropped = fleet.api(1)?.metric("wsc_bus_unregistered_drops_total").await? - dropped;
    let rebuilt = fleet.api(1)?.metric("wsc_bus_subscriptions_total").await? - rebuilt;
    let visits = visitors.finish().await?;
    println!(
        "asleep for {asleep_for:?}: sends meanwhile {statuses:?}; {USERS} users known again {took:?} after it woke; \
         {dropped} batches dropped, {rebuilt} subscriptions rebuilt, {stale} stale frames delivered; {} visitors at the other node",
        visits.good
    );
    assert!(!statuses.contains_key("delivered"), "{statuses:?}");
    assert_eq!(stale, 0, "frames that others had given up came nevertheless");
    // A subscription that was silent for so long may be given up as a whole, with what waited in it.
    assert!(dropped + rebuilt > 0, "what it had buffered is counted, or its subscription is");
    assert_ne!(fleet.status(1).await?["incarnation"], incarnation, "a new life");
    assert_eq!(asleep.ended(), Vec::<String>::new(), "its clients stay");
    assert_eq!(visits.bad, Vec::<String>::new());
    let old = format!("wsc:idx:{{node-1}}:{}:*", incarnation.as_str().unwrap_or_default());
    fleet.redis.no_key(&old, NOTICED).await.context("the old life is swept")
}
