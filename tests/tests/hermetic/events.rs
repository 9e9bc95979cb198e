//! What the backend hears of connections.

use anyhow::{Context as _, Result};
use rustix::process::Signal;
use serde_json::Value;
use wsc_tests::{
    event_reader::EventReader,
    hub_fleet::{API_KEY, HubFleet},
    lone_hub::LoneHub,
    ws_client::{WsClient, WsRequest},
};

fn kinds(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["type"].as_str().unwrap_or("?")).collect()
}

#[tokio::test]
async fn connections_and_their_ends_are_told_in_order_and_can_be_read_again_from_any_place() -> Result<()> {
    let lone = LoneHub::trusted(|options| options.set("WSC_EVENTS", "true")).await?;
    let mut now = EventReader::open(lone.hub.api, API_KEY, None).await?;
    let client = WsClient::connect(lone.hub.client, &WsRequest::user("alice")).await?;
    let connection = client.welcome["connection_id"].clone();
    client.close().await?;
    let seen = now.until("offline", "alice").await?;
    assert_eq!(kinds(&seen), ["online", "connected", "disconnected", "offline"], "{seen:?}");
    for event in &seen {
        assert_eq!((&event["user_id"], &event["node_id"]), (&"alice".into(), &"lone".into()), "{event}");
        for field in ["event_id", "stream_id", "at"] {
            assert!(event[field].as_str().is_some_and(|text| !text.is_empty()), "{field}: {event}");
        }
    }
    assert_eq!((&seen[1]["connection_id"], &seen[2]["connection_id"]), (&connection, &connection));
    assert_eq!(seen[2]["reason"], "client");

    let mut all = EventReader::open(lone.hub.api, API_KEY, Some("0")).await?;
    assert_eq!(all.until("offline", "alice").await?, seen, "the same again");
    let after = seen[1]["stream_id"].as_str().context("no stream id")?;
    let mut rest = EventReader::open(lone.hub.api, API_KEY, Some(after)).await?;
    assert_eq!(rest.until("offline", "alice").await?, seen[2..]);
    Ok(())
}

#[tokio::test]
async fn a_reader_is_refused_without_key_with_a_bad_place_or_when_events_are_off() -> Result<()> {
    let lone = LoneHub::trusted(|options| options.set("WSC_EVENTS", "true")).await?;
    let api = lone.api()?;
    api.with_key(None).get("/v1/events").await?.problem(401, "invalid_token")?;
    for bad in ["x", "1-", "-1", "%24"] {
        let detail = api.get(&format!("/v1/events?after={bad}")).await?.problem(400, "bad_request")?;
        assert!(detail.contains("after"), "{detail}");
    }
    let off = LoneHub::trusted(|options| options).await?;
    off.api()?.get("/v1/events").await?.problem(404, "not_found")?;
    Ok(())
}

#[tokio::test]
async fn a_hub_that_stops_tells_the_last_ends_and_then_ends_its_readers_answers() -> Result<()> {
    let mut fleet = HubFleet::start_with(2, |options| options.set("WSC_EVENTS", "true")).await?;
    let mut here = EventReader::open(fleet.hubs[0].api, API_KEY, None).await?;
    let mut other = EventReader::open(fleet.hubs[1].api, API_KEY, None).await?;
    let _client = WsClient::connect(fleet.hubs[0].client, &WsRequest::user("alice")).await?;
    other.until("online", "alice").await?;
    fleet.hubs[0].process().signal(Signal::TERM)?;
    let seen = other.until("disconnected", "alice").await?;
    assert_eq!(seen.last().context("none")?["reason"], "restart", "{seen:?}");
    // What it had not read is read; then the answer ends, well-formed.
    while here.next().await?.is_some() {}
    Ok(())
}

#[tokio::test]
async fn each_user_of_a_killed_node_is_told_offline_once() -> Result<()> {
    let mut fleet = HubFleet::start_with(2, |options| options.set("WSC_EVENTS", "true")).await?;
    let mut reader = EventReader::open(fleet.hubs[0].api, API_KEY, None).await?;
    let users: Vec<_> = (0..5).map(|n| format!("user-{n}")).collect();
    let mut clients = Vec::new();
    for user in &users {
        clients.push(fleet.hubs[1].connect(user).await?);
        reader.until("online", user).await?;
    }
    // This one is on both nodes and stays online.
    let _stays = fleet.hubs[0].connect("user-0").await?;
    fleet.hubs[1].kill().await?;
    let mut offline = Vec::new();
    while offline.len() < users.len() - 1 {
        let event = reader.next().await?.context("the answer ended")?;
        if event["type"] == "offline" {
            assert_eq!(
                (&event["node_id"], &event["reason"]),
                (&"node-1".into(), &"node_lost".into()),
                "{event}"
            );
            offline.push(event["user_id"].as_str().unwrap_or("?").to_owned());
        }
    }
    offline.sort();
    assert_eq!(offline, users[1..]);
    // What comes next is not a second word about them.
    let late = fleet.hubs[0].connect("late").await?;
    let rest = reader.until("connected", "late").await?;
    assert!(rest.iter().all(|event| event["type"] != "offline"), "{rest:?}");
    drop(late);
    Ok(())
}

#[tokio::test]
async fn a_user_who_was_told_offline_while_the_node_was_paused_is_told_online_again() -> Result<()> {
    let mut fleet = HubFleet::start_with(2, |options| options.set("WSC_EVENTS", "true")).await?;
    let mut reader = EventReader::open(fleet.hubs[0].api, API_KEY, None).await?;
    let mut alice = fleet.hubs[1].connect("alice").await?;
    reader.until("online", "alice").await?;
    fleet.hubs[1].process().halt().await?;
    reader.until("offline", "alice").await?;
    fleet.hubs[1].process().signal(Signal::CONT)?;
    let seen = reader.until("online", "alice").await?;
    assert!(
        seen.iter().all(|event| event["type"] != "connected"),
        "the connection was open all the time: {seen:?}"
    );
    alice.expect_nothing().await
}
