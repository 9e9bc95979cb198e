//! What clients send to `@backend` is read as events.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use wsc_tests::{
    event_reader::EventReader,
    hub_fleet::{API_KEY, HubFleet},
    hub_process::HubOptions,
    lone_hub::LoneHub,
    tcp_proxy::{Flow, ProxiedRedis},
    tokens::{claims, claims_with_send},
    ws_client::WsClient,
};

fn with_events(options: HubOptions) -> HubOptions {
    options.set("WSC_EVENTS", "true")
}

fn to_backend(message_id: &str, content: &str) -> Value {
    json!({"message_type": "order.new", "receiver": "@backend", "content": content, "message_id": message_id})
}

/// The answer to a message, which must be a `result`.
async fn tell(client: &mut WsClient, message_id: &str, content: &str) -> Result<Value> {
    client.send(&to_backend(message_id, content)).await?;
    let result = client.expect("result").await?;
    assert_eq!(result["message_id"], message_id, "{result}");
    Ok(result)
}

/// The next event of the type `message`.
async fn next_message(events: &mut EventReader) -> Result<Value> {
    loop {
        let event = events.next().await?.context("the answer ended")?;
        if event["type"] == "message" {
            return Ok(event);
        }
    }
}

#[tokio::test]
async fn what_a_client_tells_the_backend_is_read_on_any_node_as_it_was_sent() -> Result<()> {
    let fleet = HubFleet::start_with(2, with_events).await?;
    let mut events = EventReader::open(fleet.hubs[1].api, API_KEY, None).await?;
    let mut alice = fleet.hubs[0].connect("alice").await?;
    // Ends of lines between tokens are JSON, but events are lines.
    let frame = r#"{"message_type":"order.new","receiver":"@backend","sender":"mallory","message_id":"m1",
        "content":"two\nlines","data":{"items":
        [1, "x\n"]}}"#;
    alice.send_text(frame).await?;
    let result = alice.expect("result").await?;
    assert_eq!((&result["message_id"], &result["status"]), (&json!("m1"), &json!("accepted")), "{result}");

    let seen = events.until("message", "alice").await?;
    let event = seen.last().context("nothing seen")?;
    assert!(seen.iter().any(|event| event["type"] == "connected"), "the connection is told first: {seen:?}");
    assert_eq!(event["event_id"], format!("message:{}", result["id"].as_str().unwrap_or("?")), "{event}");
    assert_eq!((&event["user_id"], &event["node_id"]), (&json!("alice"), &json!("node-0")), "{event}");
    assert_eq!(event["connection_id"], alice.welcome["connection_id"], "{event}");
    let message = json!({"id": result["id"], "sender": "alice", "message_type": "order.new", "message_id": "m1",
        "content": "two\nlines", "data": {"items": [1, "x\n"]}});
    assert_eq!(event["message"], message);

    // One without an id is told too, and answered by nothing.
    alice.send(&json!({"receiver": "@backend", "content": "by the way"})).await?;
    let event = next_message(&mut events).await?;
    assert_eq!(
        (&event["message"]["content"], &event["message"]["message_type"]),
        (&json!("by the way"), &json!("text"))
    );
    alice.expect_nothing().await
}

#[tokio::test]
async fn messages_for_the_backend_keep_their_order_and_a_repeat_is_told_once() -> Result<()> {
    let lone = LoneHub::trusted(with_events).await?;
    let mut events = EventReader::open(lone.hub.api, API_KEY, None).await?;
    let mut alice = lone.hub.connect("alice").await?;
    for n in 0..40 {
        alice.send(&to_backend(&format!("m{n}"), &n.to_string())).await?;
    }
    for _ in 0..40 {
        assert_eq!(alice.expect("result").await?["status"], "accepted");
    }
    let first = tell(&mut alice, "again", "first").await?;
    // Another connection of the same user is the same sender.
    let mut second = lone.hub.connect("alice").await?;
    for client in [&mut alice, &mut second] {
        let repeat = tell(client, "again", "other words").await?;
        assert_eq!((&repeat["duplicate"], &repeat["id"]), (&json!(true), &first["id"]), "{repeat}");
    }
    let mut bob = lone.hub.connect("bob").await?;
    assert_eq!(tell(&mut bob, "again", "of bob").await?["duplicate"], Value::Null);
    let mut told = Vec::new();
    for _ in 0..42 {
        told.push(next_message(&mut events).await?["message"]["content"].as_str().unwrap_or("?").to_owned());
    }
    let expected = (0..40).map(|n| n.to_string()).chain(["first", "of bob"].map(str::to_owned));
    assert_eq!(told, expected.collect::<Vec<_>>());
    let metrics = lone.api()?.get("/metrics").await?.text;
    // The repeats are answered too.
    let counted = r#"wsc_backend_messages_total{status="accepted"} 44"#;
    assert!(metrics.lines().any(|line| line == counted), "{counted} in {metrics}");
    Ok(())
}

#[tokio::test]
async fn only_who_is_granted_may_tell_the_backend_and_no_api_caller_can() -> Result<()> {
    let lone = LoneHub::with_tokens(with_events).await?;
    let mut events = EventReader::open(lone.hub.api, API_KEY, None).await?;
    for grants in [claims("alice"), claims_with_send("alice", &["user:*", "group:*"])] {
        let mut alice = lone.connect_with(&grants).await?;
        alice.send(&to_backend("m1", "no")).await?;
        let error = alice.expect("error").await?;
        assert_eq!(
            (&error["code"], &error["message_id"]),
            (&json!("not_permitted"), &json!("m1")),
            "{error}"
        );
    }
    let mut bob = lone.connect_with(&claims_with_send("bob", &["backend"])).await?;
    assert_eq!(tell(&mut bob, "m2", "yes").await?["status"], "accepted");
    assert_eq!(next_message(&mut events).await?["user_id"], "bob", "the first that is told");

    let api = lone.api()?;
    api.post("/v1/users/@backend/messages", &json!({"content": "x"}))
        .await?
        .problem(400, "invalid_user_id")?;
    let batch = json!({"messages": [{"receiver": "@backend", "content": "x"}]});
    api.post("/v1/messages", &batch).await?.problem(400, "bad_request")?;

    let users_only = LoneHub::trusted(|options| with_events(options).set("WSC_CLIENT_SEND", "users")).await?;
    let mut carol = users_only.hub.connect("carol").await?;
    carol.send(&to_backend("m3", "no")).await?;
    carol.expect_error("not_permitted").await?;
    Ok(())
}

#[tokio::test]
async fn where_events_are_off_a_client_is_told_that_nobody_hears_it() -> Result<()> {
    let lone = LoneHub::trusted(|options| options).await?;
    let mut alice = lone.hub.connect("alice").await?;
    alice.send(&to_backend("m1", "hello?")).await?;
    let error = alice.expect("error").await?;
    assert_eq!((&error["code"], &error["message_id"]), (&json!("not_found"), &json!("m1")), "{error}");
    assert!(error["content"].as_str().is_some_and(|text| text.contains("WSC_EVENTS")), "{error}");
    alice.expect_nothing().await
}

#[tokio::test]
async fn while_redis_does_not_answer_the_backend_is_not_told_and_the_client_hears_so() -> Result<()> {
    let fleet = HubFleet::over(ProxiedRedis::start().await?, 1, |options| {
        with_events(options).set("WSC_CLIENT_IN_FLIGHT", "4")
    })
    .await?;
    let mut alice = fleet.hubs[0].connect("alice").await?;
    assert_eq!(tell(&mut alice, "before", "before").await?["status"], "accepted");
    fleet.redis.proxy.set(Flow::Stall, Flow::Stall);
    let began = Instant::now();
    for n in 0..4 {
        alice.send(&to_backend(&format!("m{n}"), "anybody?")).await?;
    }
    // What waits for Redis is bounded.
    alice.send(&to_backend("m4", "x")).await?;
    let error = alice.expect("error").await?;
    assert_eq!((&error["code"], &error["message_id"]), (&json!("rate_limited"), &json!("m4")), "{error}");
    let mut answered = Vec::new();
    for _ in 0..4 {
        let error = alice.expect("error").await?;
        assert_eq!(error["code"], "registry_unavailable", "{error}");
        answered.push(error["message_id"].as_str().unwrap_or("?").to_owned());
    }
    answered.sort();
    assert_eq!(answered, ["m0", "m1", "m2", "m3"]);
    assert!(began.elapsed() < Duration::from_secs(9), "{:?}", began.elapsed());

    fleet.redis.proxy.set(Flow::Pass, Flow::Pass);
    let healed = Instant::now();
    let mut events = EventReader::open(fleet.hubs[0].api, API_KEY, Some("0")).await;
    while events.is_err() && healed.elapsed() < Duration::from_secs(10) {
        events = EventReader::open(fleet.hubs[0].api, API_KEY, Some("0")).await;
    }
    let mut events = events?;
    // The answer was an error, so the same message is sent and is no repeat.
    let again = tell(&mut alice, "m0", "now?").await?;
    assert_eq!((&again["status"], &again["duplicate"]), (&json!("accepted"), &Value::Null), "{again}");
    loop {
        let message = next_message(&mut events).await?["message"].clone();
        if message["content"] == "now?" {
            return Ok(());
        }
    }
}
