//! `GET /v1/stats`: the cluster in six numbers.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::json;
use wsc_tests::{
    client_socket,
    hub_fleet::HubFleet,
    lone_hub::LoneHub,
    scrape::Scrape,
    wait::{Look, eventually},
};

const SOON: Duration = Duration::from_secs(15);

#[tokio::test]
async fn stats_add_up_the_nodes_and_say_when_they_are_of_one_node_only() -> Result<()> {
    let mut fleet = HubFleet::start(2).await?;
    let _alice = (fleet.hubs[0].connect("alice").await?, fleet.hubs[1].connect("alice").await?);
    let _bob = (fleet.hubs[1].connect("bob").await?, fleet.hubs[1].connect("bob").await?);
    for number in 0..2 {
        let api = fleet.api(number)?;
        eventually("the other node's heartbeat tells its load", SOON, async || {
            let mut stats = api.get("/v1/stats").await?.ok()?;
            let rate = stats["messages_per_second"].take();
            assert!(rate.is_u64(), "{rate}");
            // Alice is counted on each of her nodes.
            let expected = json!({"nodes": 2, "connections": 4, "users": 3, "groups": 0, "redis": "up", "messages_per_second": null});
            Ok(Look::when(stats == expected, (), stats))
        })
        .await?;
    }
    fleet.redis.kill().await?;
    let api = fleet.api(1)?;
    eventually("only this node's numbers are left", SOON, async || {
        let stats = api.get("/v1/stats").await?.ok()?;
        let holds = stats["redis"] == "down" && stats["nodes"] == 1 && stats["connections"] == 3;
        Ok(Look::when(holds, (), stats))
    })
    .await
}

#[tokio::test]
async fn messages_per_second_follow_what_clients_get() -> Result<()> {
    let lone = LoneHub::trusted(|options| options).await?;
    let mut alice = lone.hub.connect("alice").await?;
    let api = lone.api()?;
    let body = json!({"content": "x", "options": {"wait": "none"}});
    for _ in 0..100 {
        api.post("/v1/users/alice/messages", &body).await?.ok()?;
        alice.expect_text("x").await?;
    }
    eventually("a hundred frames in ten seconds are seen", SOON, async || {
        let stats = api.get("/v1/stats").await?.ok()?;
        let rate = stats["messages_per_second"].as_u64().unwrap_or(0);
        // Within the first ten seconds the rate is that of the time since the start.
        Ok(Look::when((8..=110).contains(&rate), (), stats))
    })
    .await?;
    eventually("the rate falls when nothing is sent", SOON, async || {
        let stats = api.get("/v1/stats").await?.ok()?;
        Ok(Look::when(stats["messages_per_second"] == 0, (), stats))
    })
    .await?;
    let stats = api.get("/v1/stats").await?.ok()?;
    assert_eq!((&stats["nodes"], &stats["redis"]), (&json!(1), &json!("embedded")), "{stats}");
    api.with_key(None).get("/v1/stats").await?.problem(401, "invalid_token")?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scrape_with_thousands_of_connections_and_a_waiting_queue_takes_less_than_50_ms() -> Result<()> {
    let lone = LoneHub::trusted(|options| options.set("WSC_OUTBOUND_QUEUE_BYTES", "16000000")).await?;
    let mut clients = vec![client_socket::stalling(lone.hub.client, "stalled").await?];
    for number in 0..3000 {
        clients.push(lone.hub.connect(&format!("idle-{number}")).await?);
    }
    let api = lone.api()?;
    let part = json!({"content": "x".repeat(60_000), "options": {"wait": "none"}});
    // With something that waits every queue is asked which is the largest.
    for _ in 0..20 {
        api.post("/v1/users/stalled/messages", &part).await?.ok()?;
    }
    let mut took = Vec::new();
    for _ in 0..15 {
        let began = Instant::now();
        let scrape = Scrape::of(&api).await?;
        took.push(began.elapsed());
        assert!(scrape.sum("wsc_largest_queue_bytes", &[])? > 100_000.0, "{}", scrape.text);
        assert_eq!(scrape.sum("wsc_connections", &[])?, 3001.0);
    }
    took.sort();
    println!("a scrape takes {:?} in the middle, {:?} to {:?} in all", took[7], took[0], took[14]);
    assert!(took[7] < Duration::from_millis(50), "{took:?}");
    Ok(())
}
