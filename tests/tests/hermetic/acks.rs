//! A send with `wait: "acked"` waits for the word of a client, wherever that client is by then.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use wsc_tests::{
    api_client::ApiClient,
    hub_fleet::HubFleet,
    lone_hub::LoneHub,
    wait::{Look, eventually},
    ws_client::WsClient,
};

/// Sends and waits for an ack at most so long.
fn send_acked(api: ApiClient, user: &str, timeout_ms: u64) -> JoinHandle<Result<Value>> {
    let path = format!("/v1/users/{user}/messages");
    let body = json!({"content": "ack me", "message_id": "m1", "options": {"wait": "acked", "timeout_ms": timeout_ms}});
    tokio::spawn(async move { api.post(&path, &body).await?.ok() })
}

/// Reads the message and gives its token.
async fn token_of(client: &mut WsClient) -> Result<Value> {
    let frame = client.expect_text("ack me").await?;
    frame.get("ack").cloned().with_context(|| format!("no ack in {frame}"))
}

async fn acknowledge(client: &mut WsClient, token: &Value) -> Result<()> {
    client.send(&json!({"message_type": "ack", "ack": token})).await
}

#[tokio::test]
async fn the_word_of_a_client_on_this_node_or_another_ends_the_wait() -> Result<()> {
    let fleet = HubFleet::start(3).await?;
    for (asked, node) in [(0, 0), (0, 1), (2, 1)] {
        let user = format!("user-{asked}-{node}");
        let mut client = fleet.hubs[node].connect(&user).await?;
        let sending = send_acked(fleet.api(asked)?, &user, 10_000);
        let token = token_of(&mut client).await?;
        assert!(!sending.is_finished(), "written is not acknowledged");
        acknowledge(&mut client, &token).await?;
        let result = sending.await??;
        assert_eq!((&result["status"], &result["connections"]), (&json!("acked"), &json!(1)), "{result}");
        assert_eq!(result["nodes"], json!([{"node_id": format!("node-{node}"), "connections": 1}]));
        client.expect_nothing().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_client_that_moved_to_another_node_acknowledges_there() -> Result<()> {
    let fleet = HubFleet::start(3).await?;
    let mut client = fleet.hubs[1].connect("alice").await?;
    let sending = send_acked(fleet.api(0)?, "alice", 10_000);
    let token = token_of(&mut client).await?;
    drop(client);
    let mut client = fleet.hubs[2].connect("alice").await?;
    acknowledge(&mut client, &token).await?;
    let result = sending.await??;
    assert_eq!(result["status"], "acked", "{result}");
    Ok(())
}

#[tokio::test]
async fn the_word_comes_through_after_the_senders_node_registered_anew() -> Result<()> {
    let fleet = HubFleet::start(2).await?;
    let mut client = fleet.hubs[1].connect("alice").await?;
    let sending = send_acked(fleet.api(0)?, "alice", 15_000);
    let token = token_of(&mut client).await?;
    let before = fleet.status(0).await?["incarnation"].clone();
    fleet.redis.command::<i64>("DEL wsc:lease:{node-0}").await?;
    eventually("node-0 has a new life", Duration::from_secs(10), async || {
        let now = fleet.status(0).await?;
        let anew = now["incarnation"] != before && now["registered"] == true;
        Ok(Look::when(anew, (), now))
    })
    .await?;
    fleet.all_see(2).await?;
    acknowledge(&mut client, &token).await?;
    assert_eq!(sending.await??["status"], "acked");
    Ok(())
}

#[tokio::test]
async fn without_the_receivers_own_word_the_answer_is_what_was_reached() -> Result<()> {
    let fleet = HubFleet::start(2).await?;
    let mut alice = fleet.hubs[1].connect("alice").await?;
    let mut eve = fleet.hubs[1].connect("eve").await?;
    let began = Instant::now();
    let sending = send_acked(fleet.api(0)?, "alice", 1_500);
    let token = token_of(&mut alice).await?;
    acknowledge(&mut eve, &token).await?;
    let result = sending.await??;
    assert_eq!((&result["status"], &result["connections"]), (&json!("delivered"), &json!(1)), "{result}");
    assert!(began.elapsed() >= Duration::from_millis(1_500), "{:?}", began.elapsed());
    // Too late is not wrong.
    acknowledge(&mut alice, &token).await?;
    alice.expect_nothing().await?;
    eve.expect_nothing().await?;
    let again = send_acked(fleet.api(0)?, "alice", 1_500).await??;
    assert_eq!((&again["status"], &again["duplicate"]), (&json!("delivered"), &json!(true)), "{again}");
    Ok(())
}

#[tokio::test]
async fn nobody_waits_for_a_user_who_is_nowhere() -> Result<()> {
    let fleet = HubFleet::start(1).await?;
    let began = Instant::now();
    let result = send_acked(fleet.api(0)?, "nobody", 10_000).await??;
    assert_eq!(result["status"], "offline", "{result}");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    Ok(())
}

#[tokio::test]
async fn a_client_that_has_the_message_counts_though_its_node_dies() -> Result<()> {
    let mut fleet = HubFleet::start(3).await?;
    let mut alice = fleet.hubs[1].connect("alice").await?;
    let sending = send_acked(fleet.api(0)?, "alice", 10_000);
    let token = token_of(&mut alice).await?;
    fleet.hubs[1].kill().await?;
    let mut alice = fleet.hubs[2].connect("alice").await?;
    acknowledge(&mut alice, &token).await?;
    let result = sending.await??;
    assert_eq!(result["status"], "acked", "{result}");
    Ok(())
}

#[tokio::test]
async fn each_message_of_a_call_waits_for_its_own_word() -> Result<()> {
    let fleet = HubFleet::start(2).await?;
    let mut alice = fleet.hubs[0].connect("alice").await?;
    let mut bob = fleet.hubs[1].connect("bob").await?;
    let entry = |user: &str, wait: &str| json!({"receiver": user, "content": "ack me", "options": {"wait": wait, "timeout_ms": 2_000}});
    let body =
        json!({"messages": [entry("alice", "acked"), entry("bob", "acked"), entry("bob", "delivered")]});
    let api = fleet.api(0)?;
    let sending = tokio::spawn(async move { api.post("/v1/messages", &body).await?.ok() });
    token_of(&mut alice).await?;
    let token = token_of(&mut bob).await?;
    let plain = bob.expect_text("ack me").await?;
    assert_eq!(plain.get("ack"), None, "nobody waits for this one: {plain}");
    acknowledge(&mut bob, &token).await?;
    let answer = sending.await??;
    let statuses: Vec<_> = (0..3).map(|n| answer["results"][n]["status"].clone()).collect();
    assert_eq!(statuses, ["delivered", "acked", "delivered"], "{answer}");
    Ok(())
}

#[tokio::test]
async fn a_wrong_ack_is_answered_and_what_cannot_be_acknowledged_is_refused() -> Result<()> {
    let lone = LoneHub::trusted(|options| options).await?;
    let mut client = lone.hub.connect("alice").await?;
    for (frame, word) in [
        (json!({"message_type": "ack", "message_id": "a1"}), "an ack needs"),
        (json!({"message_type": "ack", "message_id": "a1", "ack": "t9"}), "not a token"),
        (json!({"message_type": "ack", "message_id": "a1", "ack": 9}), "the frame is not"),
    ] {
        client.send(&frame).await?;
        let error = client.expect("error").await?;
        assert_eq!((&error["code"], &error["message_id"]), (&json!("bad_request"), &json!("a1")), "{error}");
        assert!(error["content"].as_str().unwrap_or_default().contains(word), "{frame}: {error}");
    }
    // A node that does not exist is not an address that a client can make the hub publish to.
    acknowledge(&mut client, &json!("1@no-such-node#abc.1")).await?;
    client.expect_nothing().await?;
    for path in ["/v1/broadcast", "/v1/groups/room/messages"] {
        let body = json!({"content": "x", "options": {"wait": "acked"}});
        let detail = lone.api()?.post(path, &body).await?.problem(400, "bad_request")?;
        assert!(detail.contains("for messages to one user only"), "{path}: {detail}");
    }
    Ok(())
}
