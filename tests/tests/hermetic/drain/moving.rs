//! A user who was sent away from one node is on the move until it connects to another, and sends wait for it.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::{Value, json};
use wsc_tests::{
    hub_fleet::HubFleet,
    lone_hub::LoneHub,
    scrape::Scrape,
    wait::{Look, eventually},
    ws_client::PATIENCE,
};

use super::leavers::{Leavers, admin, drain, send};

/// A user is sent away from the first hub, told to come back at once; gives the time when its connection was closed. The
/// registry knows of it then: a moment earlier other nodes are still right to ask the first one.
async fn sent_away(fleet: &HubFleet, user: &str) -> Result<Instant> {
    let mut client = fleet.hubs[0].connect(user).await?;
    let body = json!({"id": user, "rate_per_second": 1000, "retry_after_max_ms": 0});
    drain(&fleet.hubs[0], body).await?;
    client.expect_close(1012, PATIENCE).await?;
    let closed = Instant::now();
    eventually("the registry knows that the user has left", PATIENCE, async || {
        let fields: Vec<String> = fleet.redis.command(&format!("HKEYS wsc:{{u:{user}}}:conn")).await?;
        let there = fields.iter().any(|field| field.starts_with("node-0#"));
        Ok(Look::when(!there, (), format!("{fields:?}")))
    })
    .await?;
    Ok(closed)
}

#[tokio::test]
async fn sends_wait_for_a_user_on_the_move_whoever_sends_and_are_delivered_when_it_is_back() -> Result<()> {
    let fleet = HubFleet::start(3).await?;
    sent_away(&fleet, "alice").await?;
    let mut sends = Vec::new();
    // From the node that sent it away, from the one it comes to, and from a third; without retries.
    for number in 0..3 {
        let api = fleet.api(number)?;
        let options = json!({"max_retries": 0, "timeout_ms": 8000});
        sends
            .push(tokio::spawn(async move { send(&api, "alice", &format!("from {number}"), options).await }));
    }
    let api = fleet.api(2)?;
    let batch = tokio::spawn(async move {
        let body = json!({"messages": [
            {"receiver": "alice", "content": "first of two"},
            {"receiver": "alice", "content": "second of two"},
            {"receiver": "nobody", "content": "x"},
        ]});
        api.post("/v1/messages", &body).await?.ok()
    });
    let mut bob = fleet.hubs[2].connect("bob").await?;
    // One from a client whose result nobody reads waits too.
    bob.send(&json!({"message_type": "text", "receiver": "alice", "content": "from bob"})).await?;
    let with_result =
        json!({"message_type": "text", "receiver": "alice", "content": "bob 2", "message_id": "m1"});
    bob.send(&with_result).await?;
    eventually("sends wait", PATIENCE, async || {
        let mut waiting = 0.0;
        for hub in &fleet.hubs {
            waiting += Scrape::of(&admin(hub)?).await?.sum("wsc_moving_waits_total", &[])?;
        }
        // Three by the API, two of the batch, one or two of bob: his second waits behind his first.
        Ok(Look::when(waiting >= 6.0, (), waiting))
    })
    .await?;
    let mut alice = fleet.hubs[1].connect("alice").await?;
    let back = Instant::now();
    for send in sends {
        let result = send.await??;
        assert_eq!((&result["status"], &result["connections"]), (&json!("delivered"), &json!(1)), "{result}");
        assert_eq!(result["nodes"][0]["node_id"], "node-1", "{result}");
        assert_eq!(result["total_retries"], 0, "waiting is no retry: {result}");
        assert!(result["moving"].is_null(), "{result}");
    }
    println!("three sends were delivered {:?} after the user came back", back.elapsed());
    let results = batch.await??;
    let statuses: Vec<&Value> = (0..3).map(|n| &results["results"][n]["status"]).collect();
    assert_eq!(statuses, ["delivered", "delivered", "offline"], "{results}");
    assert!(results["results"][2]["moving"].is_null(), "{results}");
    assert_eq!(bob.expect("result").await?["status"], "delivered");
    let mut contents = Vec::new();
    for _ in 0..7 {
        let frame = alice.expect("text").await?;
        contents.push(frame["content"].as_str().unwrap_or_default().to_owned());
    }
    alice.expect_nothing().await?;
    let place = |content: &str| contents.iter().position(|found| found == content);
    assert!(place("first of two") < place("second of two"), "{contents:?}");
    assert!(place("from bob") < place("bob 2"), "{contents:?}");
    contents.sort();
    contents.dedup();
    assert_eq!(contents.len(), 7, "each once: {contents:?}");
    Ok(())
}

#[tokio::test]
async fn who_does_not_come_back_is_moving_for_a_while_and_then_offline_and_leaves_no_key() -> Result<()> {
    let fleet = HubFleet::start(2).await?;
    let away = sent_away(&fleet, "alice").await?;
    let api = fleet.api(1)?;
    // Nobody waits: nothing is handed on, and said so.
    let none = send(&api, "alice", "x", json!({"wait": "none"})).await?;
    assert_eq!((&none["status"], &none["moving"]), (&json!("offline"), &json!(true)), "{none}");
    let short = send(&api, "alice", "x", json!({"timeout_ms": 500})).await?;
    assert_eq!((&short["status"], &short["moving"]), (&json!("offline"), &json!(true)), "{short}");
    let waited = short["total_duration_ms"].as_u64().unwrap_or(0);
    assert!((400..5000).contains(&waited), "{short}");
    assert_eq!(api.user("alice").await?["online"], false);
    // 3 s after the hint, which was 0, nobody is expected any more: a send that waits hears so.
    let long = send(&api, "alice", "x", json!({"timeout_ms": 20_000})).await?;
    let took = away.elapsed();
    println!("called offline {took:?} after it was sent away");
    assert_eq!((&long["status"], &long["moving"]), (&json!("offline"), &Value::Null), "{long}");
    assert!(took > Duration::from_millis(2800) && took < Duration::from_secs(8), "{took:?}");
    eventually("nothing of alice is left", PATIENCE, async || {
        let keys = fleet.redis.keys("wsc:{u:alice}:conn*").await?;
        Ok(Look::when(keys.is_empty(), (), format!("{keys:?}")))
    })
    .await?;
    let result = send(&api, "alice", "x", json!({})).await?;
    assert_eq!((&result["status"], &result["moving"]), (&json!("offline"), &Value::Null), "{result}");
    Ok(())
}

#[tokio::test]
async fn a_user_with_another_connection_is_not_on_the_move() -> Result<()> {
    let fleet = HubFleet::start(2).await?;
    let mut other = fleet.hubs[1].connect("alice").await?;
    sent_away(&fleet, "alice").await?;
    let result = send(&fleet.api(0)?, "alice", "hi", json!({})).await?;
    assert_eq!((&result["status"], &result["connections"]), (&json!("delivered"), &json!(1)), "{result}");
    other.expect_text("hi").await?;
    other.close().await?;
    eventually("nothing of alice is left", PATIENCE, async || {
        let keys = fleet.redis.keys("wsc:{u:alice}:conn*").await?;
        Ok(Look::when(keys.is_empty(), (), format!("{keys:?}")))
    })
    .await
}

#[tokio::test]
async fn sends_wait_on_a_lone_hub_too_while_its_clients_are_told_to_connect_again() -> Result<()> {
    let lone = LoneHub::trusted(|options| options).await?;
    let leavers = Leavers::connect(lone.hub.client, "guest", 1).await?;
    admin(&lone.hub)?.post("/admin/rebalance", &json!({"close": 1})).await?.ok()?;
    leavers.are_gone(1, PATIENCE).await?;
    let api = lone.api()?;
    let sending = tokio::spawn(async move { send(&api, "guest-0", "welcome back", json!({})).await });
    eventually("the send waits", PATIENCE, async || {
        let waits = Scrape::of(&admin(&lone.hub)?).await?.sum("wsc_moving_waits_total", &[])?;
        Ok(Look::when(waits >= 1.0, (), waits))
    })
    .await?;
    let mut guest = lone.hub.connect("guest-0").await?;
    assert_eq!(sending.await??["status"], "delivered");
    guest.expect_text("welcome back").await?;
    Ok(())
}
