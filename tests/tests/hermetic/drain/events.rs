//! What the events say of users who are sent from one node to another.

use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use wsc_tests::{
    event_reader::EventReader,
    hub_fleet::{API_KEY, HubFleet},
    lone_hub::LoneHub,
    ws_client::PATIENCE,
};

use super::leavers::{admin, drain};

/// The types of a user's events, in order.
fn types(events: &[Value], user: &str) -> Vec<String> {
    let of_user = events.iter().filter(|event| event["user_id"] == user);
    of_user.map(|event| event["type"].as_str().unwrap_or("?").to_owned()).collect()
}

#[tokio::test]
async fn who_is_back_in_time_was_never_offline_and_who_is_not_is_once() -> Result<()> {
    let mut fleet = HubFleet::start_with(3, |options| options.set("WSC_EVENTS", "true")).await?;
    let mut reader = EventReader::open(fleet.hubs[1].api, API_KEY, None).await?;
    let mut clients = Vec::new();
    for user in ["alice", "bob"] {
        clients.push(fleet.hubs[0].connect(user).await?);
        reader.until("connected", user).await?;
    }
    drain(&fleet.hubs[0], json!({"id": "d1", "retry_after_max_ms": 0})).await?;
    for client in &mut clients {
        client.expect_close(1012, PATIENCE).await?;
    }
    let _alice = fleet.hubs[1].connect("alice").await?;
    // The node they left is gone when it is time to tell.
    fleet.hubs[0].terminate(PATIENCE).await?;
    let mut events = reader.until("offline", "bob").await?;
    let offline = events.last().context("none")?.clone();
    assert_eq!(
        (&offline["node_id"], &offline["reason"]),
        (&json!("node-0"), &json!("not_back")),
        "{offline}"
    );
    assert!(offline["event_id"].as_str().is_some_and(|id| id.starts_with("offline:bob:")), "{offline}");
    // Longer than it takes every node to look twice.
    tokio::time::sleep(Duration::from_secs(4)).await;
    let mut bob = fleet.hubs[2].connect("bob").await?;
    events.extend(reader.until("connected", "bob").await?);
    println!("alice {:?}, bob {:?}", types(&events, "alice"), types(&events, "bob"));
    assert_eq!(types(&events, "alice"), ["disconnected", "connected"], "neither offline nor online");
    let of_bob = types(&events, "bob");
    assert_eq!(of_bob.iter().filter(|kind| *kind == "offline").count(), 1, "{of_bob:?}");
    assert_eq!(of_bob.iter().filter(|kind| *kind == "online").count(), 1, "{of_bob:?}");
    assert_eq!(of_bob[..2], ["disconnected", "offline"], "{of_bob:?}");
    assert_eq!(fleet.redis.keys("wsc:{events}:moving").await?, Vec::<String>::new());
    bob.expect_nothing().await?;
    Ok(())
}

#[tokio::test]
async fn a_lone_hub_tells_it_too() -> Result<()> {
    let lone = LoneHub::trusted(|options| {
        options.set("WSC_EVENTS", "true").set("WSC_DRAIN_SETTLE", "0s").set("WSC_RETRY_AFTER_MAX", "0s")
    })
    .await?;
    let mut reader = EventReader::open(lone.hub.api, API_KEY, None).await?;
    let mut clients = Vec::new();
    for user in ["alice", "bob"] {
        clients.push(lone.hub.connect(user).await?);
        reader.until("connected", user).await?;
    }
    admin(&lone.hub)?.post("/admin/rebalance", &json!({"close": 2})).await?.ok()?;
    for client in &mut clients {
        client.expect_close(1012, PATIENCE).await?;
    }
    let _alice = lone.hub.connect("alice").await?;
    let events = reader.until("offline", "bob").await?;
    assert_eq!(types(&events, "alice"), ["disconnected", "connected"]);
    assert_eq!(types(&events, "bob"), ["disconnected", "offline"]);
    Ok(())
}
