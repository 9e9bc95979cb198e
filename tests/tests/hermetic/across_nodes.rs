//! Several hubs on one Redis act as one.

use std::time::Duration;

use anyhow::Result;
use http::Method;
use serde_json::json;
use wsc_tests::{
    hub_fleet::HubFleet,
    wait::{Look, eventually},
    ws_client::PATIENCE,
};

#[tokio::test]
async fn clients_on_two_nodes_exchange_messages() -> Result<()> {
    let fleet = HubFleet::start(2).await?;
    let mut alice = fleet.hubs[0].connect("alice").await?;
    let mut bob = fleet.hubs[1].connect("bob").await?;
    assert_eq!((alice.node(), bob.node()), ("node-0", "node-1"));
    assert_eq!(alice.send_to("bob", "hi bob").await?, "delivered");
    assert_eq!(bob.expect_text("hi bob").await?["sender"], "alice");
    assert_eq!(bob.send_to("alice", "hi alice").await?, "delivered");
    assert_eq!(alice.expect_text("hi alice").await?["sender"], "bob");
    Ok(())
}

#[tokio::test]
async fn a_send_reaches_every_node_of_its_receiver_and_names_them() -> Result<()> {
    let fleet = HubFleet::start(3).await?;
    let mut first = fleet.hubs[0].connect("alice").await?;
    let mut second = fleet.hubs[1].connect("alice").await?;
    let mut third = fleet.hubs[1].connect("alice").await?;
    for asked in 0..3 {
        let content = format!("from node {asked}");
        let sent = fleet.api(asked)?.send("alice", &content).await?;
        assert_eq!((&sent["status"], &sent["connections"]), (&json!("delivered"), &json!(3)), "{sent}");
        let mut nodes: Vec<_> = sent["nodes"].as_array().cloned().unwrap_or_default();
        nodes.sort_by_key(|node| node["node_id"].to_string());
        assert_eq!(
            nodes,
            [json!({"node_id": "node-0", "connections": 1}), json!({"node_id": "node-1", "connections": 2})]
        );
        for client in [&mut first, &mut second, &mut third] {
            client.expect_text(&content).await?;
            client.expect_nothing().await?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_broadcast_reaches_each_connection_once_and_every_node_confirms() -> Result<()> {
    let fleet = HubFleet::start(3).await?;
    let mut clients = Vec::new();
    for (number, hub) in fleet.hubs.iter().enumerate() {
        for device in 0..2 {
            clients.push(hub.connect(&format!("user-{number}-{device}")).await?);
        }
    }
    for round in 0..5 {
        let content = format!("round {round}");
        let result = fleet.api(round % 3)?.broadcast(&content).await?;
        assert_eq!(
            (&result["status"], &result["nodes_expected"], &result["nodes_answered"], &result["connections"]),
            (&json!("complete"), &json!(3), &json!(3), &json!(6)),
            "{result}"
        );
        for client in &mut clients {
            client.expect_text(&content).await?;
            client.expect_nothing().await?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn kick_reaches_every_node_and_counts_connections() -> Result<()> {
    let fleet = HubFleet::start(3).await?;
    let mut clients = Vec::new();
    for node in [0, 1, 1] {
        clients.push(fleet.hubs[node].connect("alice").await?);
    }
    let mut bystander = fleet.hubs[1].connect("bob").await?;
    // Asked of a node where the user is not.
    let body = json!({"reason": "moved", "notify": true, "message": "bye"});
    let kicked = fleet.api(2)?.post("/v1/users/alice/kick", &body).await?.ok()?;
    assert_eq!(kicked["kicked_connections"], 3, "{kicked}");
    assert_eq!(kicked["nodes_expected"], kicked["nodes_answered"], "{kicked}");
    assert_eq!(kicked["notification_sent"], true);
    for client in &mut clients {
        client.expect("kick_out").await?;
        client.expect_close(4001, PATIENCE).await?;
    }
    fleet.user_has(0, "alice", 0, PATIENCE).await?;
    bystander.expect_nothing().await
}

#[tokio::test]
async fn every_node_answers_where_a_user_is() -> Result<()> {
    let fleet = HubFleet::start(3).await?;
    let on_first = fleet.hubs[0].connect("alice").await?;
    let on_third = fleet.hubs[2].connect("alice").await?;
    for asked in 0..3 {
        let found = fleet.user_has(asked, "alice", 2, PATIENCE).await?;
        assert_eq!((&found["online"], &found["nodes"]), (&json!(true), &json!(["node-0", "node-2"])));
    }
    on_first.close().await?;
    for asked in 0..3 {
        let found = fleet.user_has(asked, "alice", 1, PATIENCE).await?;
        assert_eq!(found["nodes"], json!(["node-2"]));
    }
    on_third.close().await?;
    let found = fleet.user_has(1, "alice", 0, PATIENCE).await?;
    assert_eq!(found["online"], false);
    fleet.redis.no_key("wsc:{u:alice}:conn", PATIENCE).await
}

#[tokio::test]
async fn every_node_lists_all_nodes_and_a_new_one_is_seen_at_once() -> Result<()> {
    let mut fleet = HubFleet::start(2).await?;
    let options = fleet.options("node-2");
    fleet.hubs.push(wsc_tests::hub_process::HubProcess::ready(&options).await?);
    fleet.all_see(3).await?;
    let mut alice = fleet.hubs[0].connect("alice").await?;
    let sent = fleet.api(2)?.send("alice", "from the new node").await?;
    assert_eq!(sent["status"], "delivered", "{sent}");
    alice.expect_text("from the new node").await?;
    let mut bob = fleet.hubs[2].connect("bob").await?;
    assert_eq!(alice.send_to("bob", "to the new node").await?, "delivered");
    bob.expect_text("to the new node").await?;
    Ok(())
}

#[tokio::test]
async fn the_order_of_one_clients_messages_holds_across_nodes() -> Result<()> {
    let fleet = HubFleet::start(2).await?;
    let mut alice = fleet.hubs[0].connect("alice").await?;
    let mut bob = fleet.hubs[1].connect("bob").await?;
    // Below the 64 that may be in flight.
    for number in 0..60 {
        alice.send(&json!({"receiver": "bob", "content": number.to_string()})).await?;
    }
    for number in 0..60 {
        bob.expect_text(&number.to_string()).await?;
    }
    Ok(())
}

#[tokio::test]
async fn many_sends_at_once_are_each_delivered_once() -> Result<()> {
    let fleet = HubFleet::start(2).await?;
    let mut bob = fleet.hubs[1].connect("bob").await?;
    let api = fleet.api(0)?;
    let reader = tokio::spawn(async move {
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..400 {
            let frame = bob.expect("text").await?;
            assert!(seen.insert(frame["content"].to_string()), "twice: {frame}");
        }
        bob.expect_nothing().await
    });
    let sends = (0..400).map(|number| {
        let api = api.clone();
        async move { api.send("bob", &number.to_string()).await }
    });
    let results = futures::future::try_join_all(sends).await?;
    assert!(results.iter().all(|result| result["status"] == "delivered"));
    wsc_tests::wait::at_most("all are read", Duration::from_secs(20), reader).await??
}

#[tokio::test]
async fn two_prefixes_on_one_redis_never_meet() -> Result<()> {
    let fleet = HubFleet::start(1).await?;
    let options = fleet.options("stranger").set("WSC_KEY_PREFIX", "wsc:other:");
    let stranger = wsc_tests::hub_process::HubProcess::ready(&options).await?;
    let mut alice = fleet.hubs[0].connect("alice").await?;
    let api = stranger.api(wsc_tests::hub_fleet::API_KEY)?;
    // The registry of its own prefix is a fresh one.
    eventually("the stranger can say who is nowhere", PATIENCE, async || {
        let answer = api.get("/v1/users/nobody").await?;
        Ok(Look::when(answer.status == 200, (), answer.text))
    })
    .await?;
    assert_eq!(api.node_ids().await?, ["stranger"]);
    assert_eq!(api.user("alice").await?["online"], false);
    assert_eq!(api.send("alice", "x").await?["status"], "offline");
    assert_eq!(api.broadcast("x").await?["nodes_expected"], 1);
    alice.expect_nothing().await
}

#[tokio::test]
async fn a_node_that_nobody_hears_has_not_answered_a_kick() -> Result<()> {
    // It keeps its lease for a while, so the registry still names it.
    let mut fleet =
        HubFleet::start_with(2, |o| o.set("WSC_LEASE", "30s").set("WSC_HEARTBEAT_INTERVAL", "2s")).await?;
    let _bob = fleet.hubs[1].connect("bob").await?;
    fleet.user_has(0, "bob", 1, Duration::from_secs(10)).await?;
    fleet.hubs[1].kill().await?;
    let api = fleet.api(0)?;
    let kick = api.kick("bob", "out").await?;
    let member = api.request(Method::PUT, "/v1/groups/room-1/members/bob", None).await?.ok()?;
    for answer in [&kick, &member] {
        let nodes = (&answer["nodes_expected"], &answer["nodes_answered"]);
        assert_eq!(nodes, (&json!(1), &json!(0)), "{answer}");
    }
    assert_eq!((&kick["kicked_connections"], &member["connections"]), (&json!(0), &json!(0)));
    Ok(())
}
