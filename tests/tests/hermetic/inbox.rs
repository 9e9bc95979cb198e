//! Stored messages: kept first, delivered in order, read again by devices that come back.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use wsc_tests::{
    api_client::ApiClient,
    hub_fleet::HubFleet,
    hub_process::HubProcess,
    lone_hub::LoneHub,
    wait::{Look, eventually},
    ws_client::{Incoming, PATIENCE, WsClient, WsRequest},
};

/// A device of a user; with the last offset that it has, if it says one.
pub(crate) async fn device(
    hub: &HubProcess,
    user: &str,
    client: &str,
    offset: Option<&str>,
) -> Result<WsClient> {
    let offset = offset.map_or_else(String::new, |offset| format!("&offset={offset}"));
    let request = WsRequest::new(&format!("/ws?user_id={user}&client_id={client}{offset}"));
    Ok(WsClient::connect(hub.client, &request).await?.showing_resume())
}

/// Stores a message and gives the result.
pub(crate) async fn store(api: &ApiClient, user: &str, content: &str) -> Result<Value> {
    let body = json!({"content": content, "options": {"store": true}});
    let result = api.post(&format!("/v1/users/{user}/messages"), &body).await?.ok()?;
    ensure!(result["offset"].is_string(), "no offset: {result}");
    Ok(result)
}

async fn store_all(api: &ApiClient, user: &str, contents: &[String]) -> Result<()> {
    for part in contents.chunks(250) {
        let message = |content| json!({"receiver": user, "content": content, "options": {"store": true}});
        let messages: Vec<Value> = part.iter().map(message).collect();
        let answer = api.post("/v1/messages", &json!({ "messages": messages })).await?.ok()?;
        for result in answer["results"].as_array().context("no results")? {
            ensure!(result["status"] == "stored", "{result}");
        }
    }
    Ok(())
}

fn ack(frame: &Value) -> Value {
    json!({"message_type": "ack", "offset": frame["offset"]})
}

/// Waits until a device that acknowledged and is gone would be given nothing any more.
async fn nothing_left(hub: &HubProcess, user: &str, client: &str) -> Result<()> {
    eventually("the acknowledgement is written", PATIENCE, async || {
        let mut again = device(hub, user, client, None).await?;
        let next = again.next(PATIENCE).await?;
        let done = matches!(&next, Incoming::Frame(frame) if frame["message_type"] == "resume_done");
        Ok(Look::when(done, (), format!("{next:?}")))
    })
    .await
}

async fn kept_and_delivered(asked: &ApiClient, hub: &HubProcess) -> Result<()> {
    let first = store(asked, "alice", "while away").await?;
    assert_eq!((&first["status"], &first["connections"]), (&json!("stored"), &json!(0)), "{first}");
    let mut phone = device(hub, "alice", "phone", None).await?;
    let frame = phone.expect_text("while away").await?;
    assert_eq!(frame["offset"], first["offset"], "{frame}");
    phone.expect("resume_done").await?;
    let second = store(asked, "alice", "while here").await?;
    assert_eq!((&second["status"], &second["connections"]), (&json!("delivered"), &json!(1)), "{second}");
    let frame = phone.expect_text("while here").await?;
    assert_eq!((&frame["offset"], &frame["receiver"]), (&second["offset"], &json!("alice")), "{frame}");

    // Somebody without a device gets what is stored while there, and no more.
    let mut plain = hub.connect("alice").await?.showing_resume();
    plain.expect_nothing().await?;
    let body = json!({"content": "nobody waits", "options": {"store": true, "wait": "none"}});
    let third = asked.post("/v1/users/alice/messages", &body).await?.ok()?;
    assert_eq!((&third["status"], &third["connections"]), (&json!("stored"), &json!(0)), "{third}");
    for client in [&mut plain, &mut phone] {
        let frame = client.expect_text("nobody waits").await?;
        assert_eq!(frame["offset"], third["offset"], "{frame}");
    }
    phone.send(&ack(&third)).await?;
    phone.expect_nothing().await?;
    phone.close().await?;
    nothing_left(hub, "alice", "phone").await
}

#[tokio::test]
async fn a_stored_message_is_delivered_to_who_is_here_and_waits_for_who_is_not() -> Result<()> {
    let lone = LoneHub::trusted(|options| options).await?;
    kept_and_delivered(&lone.api()?, &lone.hub).await?;
    let fleet = HubFleet::start(2).await?;
    kept_and_delivered(&fleet.api(0)?, &fleet.hubs[1]).await
}

#[tokio::test]
async fn each_device_has_its_own_cursor_on_whatever_node_and_a_kick_takes_none_of_it() -> Result<()> {
    let fleet = HubFleet::start(2).await?;
    let api = fleet.api(0)?;
    let mut offsets = Vec::new();
    for content in ["a", "b", "c", "d"] {
        offsets.push(store(&api, "alice", content).await?);
    }
    let mut phone = device(&fleet.hubs[0], "alice", "phone", None).await?;
    let mut desk = device(&fleet.hubs[1], "alice", "desk", None).await?;
    for client in [&mut phone, &mut desk] {
        for content in ["a", "b", "c", "d"] {
            client.expect_text(content).await?;
        }
        client.expect("resume_done").await?;
    }
    phone.send(&ack(&offsets[2])).await?;
    desk.send(&ack(&offsets[0])).await?;
    for client in [&mut phone, &mut desk] {
        client.expect_nothing().await?;
    }
    let kicked = api.kick("alice", "out").await?;
    assert_eq!(kicked["kicked_connections"], 2, "{kicked}");
    for client in [&mut phone, &mut desk] {
        client.expect_close(4001, PATIENCE).await?;
    }
    drop((phone, desk));
    fleet.user_has(0, "alice", 0, PATIENCE).await?;
    store(&api, "alice", "e").await?;
    // On the other nodes now.
    let mut phone = device(&fleet.hubs[1], "alice", "phone", None).await?;
    let mut desk = device(&fleet.hubs[0], "alice", "desk", None).await?;
    for content in ["d", "e"] {
        phone.expect_text(content).await?;
    }
    phone.expect("resume_done").await?;
    for content in ["b", "c", "d", "e"] {
        desk.expect_text(content).await?;
    }
    desk.expect("resume_done").await?;
    // What a client says it has counts where it is further than the cursor, and only there.
    for (offset, expected) in [(&offsets[3], &["e"][..]), (&offsets[1], &["d", "e"][..])] {
        let mut phone = device(&fleet.hubs[0], "alice", "phone", offset["offset"].as_str()).await?;
        for content in expected {
            phone.expect_text(content).await?;
        }
        phone.expect("resume_done").await?;
    }
    // A device that was never here begins at what some device acknowledged.
    let mut new = device(&fleet.hubs[0], "alice", "new", None).await?;
    new.expect_text("d").await?;
    Ok(())
}

#[tokio::test]
async fn a_device_gets_a_thousand_messages_that_came_while_it_was_offline() -> Result<()> {
    let fleet = HubFleet::start(2).await?;
    // A frame of about 1 KiB, so that a thousand fit into 1 MiB.
    let contents: Vec<String> = (0..1000).map(|n| format!("{n:04}{}", "x".repeat(800))).collect();
    store_all(&fleet.api(0)?, "alice", &contents).await?;
    let began = Instant::now();
    let mut phone = device(&fleet.hubs[1], "alice", "phone", None).await?;
    for content in &contents {
        phone.expect_text(content).await?;
    }
    phone.expect("resume_done").await?;
    println!("1000 stored messages replayed in {:?}", began.elapsed());
    phone.expect_nothing().await
}

#[tokio::test]
async fn what_an_inbox_over_its_limits_has_lost_is_told() -> Result<()> {
    let lone = LoneHub::trusted(|options| options.set("WSC_INBOX_MAX_MESSAGES", "5")).await?;
    let api = lone.api()?;
    let first = store(&api, "alice", "seen").await?;
    let mut phone = device(&lone.hub, "alice", "phone", None).await?;
    let seen = phone.expect_text("seen").await?;
    phone.expect("resume_done").await?;
    phone.send(&ack(&seen)).await?;
    phone.close().await?;
    let mut offsets = Vec::new();
    for n in 0..8 {
        offsets.push(store(&api, "alice", &n.to_string()).await?["offset"].clone());
    }
    for asked in [None, first["offset"].as_str()] {
        let mut phone = device(&lone.hub, "alice", "phone", asked).await?;
        let gap = phone.expect("resume_gap").await?;
        assert_eq!(gap["data"], json!({"from": first["offset"], "to": offsets[2]}), "{gap}");
        for n in 3..8 {
            phone.expect_text(&n.to_string()).await?;
        }
        phone.expect("resume_done").await?;
    }
    // A message whose own time is over is a loss too.
    let body = json!({"content": "short", "options": {"store": true, "ttl_seconds": 1}});
    let short = api.post("/v1/users/bob/messages", &body).await?.ok()?;
    store(&api, "bob", "long").await?;
    eventually("its time is over", PATIENCE, async || {
        let mut bob = device(&lone.hub, "bob", "phone", None).await?;
        let next = bob.next(PATIENCE).await?;
        let Incoming::Frame(frame) = &next else { return Ok(Look::NotYet(format!("{next:?}"))) };
        let told = frame["message_type"] == "resume_gap" && frame["data"]["to"] == short["offset"];
        if told {
            bob.expect_text("long").await?;
        }
        Ok(Look::when(told, (), frame))
    })
    .await?;
    // An offset of another life of the inbox.
    let mut phone = device(&lone.hub, "alice", "phone", Some("1:5-0")).await?;
    let gap = phone.expect("resume_gap").await?;
    assert_eq!((&gap["data"]["from"], &gap["data"]["to"]), (&json!("1:5-0"), &first["offset"]), "{gap}");
    Ok(())
}

#[tokio::test]
async fn acknowledgements_are_answered_only_when_wrong() -> Result<()> {
    let lone = LoneHub::trusted(|options| options).await?;
    let stored = store(&lone.api()?, "alice", "a").await?;
    let mut phone = device(&lone.hub, "alice", "phone", None).await?;
    phone.expect_text("a").await?;
    phone.expect("resume_done").await?;
    let beyond = format!("{}9", stored["offset"].as_str().context("no offset")?);
    for good in [stored["offset"].clone(), json!(beyond), stored["offset"].clone()] {
        phone.send(&json!({"message_type": "ack", "offset": good, "message_id": "x"})).await?;
        phone.expect_nothing().await?;
    }
    for (bad, why) in
        [(json!("1:1-1"), "is gone"), (json!("here"), "looks like"), (Value::Null, "needs an offset")]
    {
        phone.send(&json!({"message_type": "ack", "offset": bad, "message_id": "x"})).await?;
        let detail = phone.expect_error("bad_request").await?;
        assert!(detail.contains(why), "{detail}");
    }
    // Nobody acknowledges what is to come.
    store(&lone.api()?, "alice", "b").await?;
    phone.expect_text("b").await?;
    phone.close().await?;
    let mut phone = device(&lone.hub, "alice", "phone", None).await?;
    phone.expect_text("b").await?;
    Ok(())
}

#[tokio::test]
async fn a_store_that_cannot_be_is_refused_and_says_why() -> Result<()> {
    let small = LoneHub::trusted(|options| options.set("WSC_INBOX_MAX_BYTES", "1024")).await?;
    let path = "/v1/users/alice/messages";
    let body = json!({"content": "x".repeat(2000), "options": {"store": true}});
    let detail = small.api()?.post(path, &body).await?.problem(413, "payload_too_large")?;
    assert!(detail.contains("1024"), "{detail}");
    let off = LoneHub::trusted(|options| options.set("WSC_INBOX_MAX_MESSAGES", "0")).await?;
    let detail = off.api()?.post(path, &body).await?.problem(400, "bad_request")?;
    assert!(detail.contains("WSC_INBOX_MAX_MESSAGES"), "{detail}");
    let mut phone = device(&off.hub, "alice", "phone", None).await?;
    phone.expect_nothing().await?;
    phone.send(&json!({"message_type": "ack", "offset": "1:1-1"})).await?;
    phone.expect_error("bad_request").await?;
    phone.send(&json!({"receiver": "bob", "content": "x", "store": true})).await?;
    phone.expect_error("not_permitted").await?;
    let many = json!({"messages": [
        {"receiver": "alice", "content": "kept?", "options": {"store": true}}, {"receiver": "alice", "content": "live"}
    ]});
    let answer = off.api()?.post("/v1/messages", &many).await?.ok()?;
    let results = answer["results"].as_array().context("no results")?;
    assert_eq!(
        (&results[0]["status"], &results[0]["error"]["code"]),
        (&json!("failed"), &json!("bad_request"))
    );
    assert_eq!(results[1]["status"], "delivered", "{answer}");
    Ok(())
}

#[tokio::test]
async fn a_repeat_on_another_node_stores_nothing_and_gets_the_first_offset() -> Result<()> {
    let fleet = HubFleet::start(2).await?;
    let mut phone = device(&fleet.hubs[1], "alice", "phone", None).await?;
    phone.expect("resume_done").await?;
    let body = json!({"content": "once", "message_id": "m1", "options": {"store": true}});
    let first = fleet.api(0)?.post("/v1/users/alice/messages", &body).await?.ok()?;
    assert_eq!((&first["status"], &first["duplicate"]), (&json!("delivered"), &Value::Null), "{first}");
    for asked in [0, 1, 1] {
        let again = fleet.api(asked)?.post("/v1/users/alice/messages", &body).await?.ok()?;
        assert_eq!(again["duplicate"], true, "{again}");
        for field in ["id", "offset", "message_id"] {
            assert_eq!(again[field], first[field], "{field} of {again}");
        }
        let status = again["status"].as_str().unwrap_or_default();
        assert!(["stored", "delivered"].contains(&status), "{again}");
    }
    phone.expect_text("once").await?;
    phone.expect_nothing().await?;
    // In a call with many, too.
    let entry =
        |id: &str| json!({"receiver": "alice", "content": id, "message_id": id, "options": {"store": true}});
    let many = json!({"messages": [entry("m1"), entry("m2"), entry("m2"), entry("m3")]});
    let answer = fleet.api(1)?.post("/v1/messages", &many).await?.ok()?;
    let results = answer["results"].as_array().context("no results")?;
    let duplicates: Vec<_> = results.iter().map(|result| result["duplicate"] == true).collect();
    assert_eq!(duplicates, [true, false, true, false], "{answer}");
    assert_eq!(results[0]["offset"], first["offset"], "{answer}");
    for content in ["m2", "m3"] {
        phone.expect_text(content).await?;
    }
    phone.expect_nothing().await
}

#[tokio::test]
async fn the_messages_of_one_call_keep_their_order_stored_or_not() -> Result<()> {
    let fleet = HubFleet::start(2).await?;
    let mut phone = device(&fleet.hubs[1], "alice", "phone", None).await?;
    phone.expect("resume_done").await?;
    for round in 0..10 {
        let entry = |n: u32| json!({"receiver": "alice", "content": format!("{round}-{n}"), "options": {"store": n % 3 != 2}});
        let many = json!({"messages": (0..20).map(entry).collect::<Vec<_>>()});
        let answer = fleet.api(round % 2)?.post("/v1/messages", &many).await?.ok()?;
        for (n, result) in answer["results"].as_array().context("no results")?.iter().enumerate() {
            assert_eq!(result["status"], "delivered", "{result}");
            assert_eq!(result["offset"].is_string(), n % 3 != 2, "{result}");
        }
        for n in 0..20 {
            phone.expect_text(&format!("{round}-{n}")).await?;
        }
    }
    phone.expect_nothing().await
}

#[tokio::test]
async fn a_device_that_reads_slowly_is_given_its_inbox_at_its_own_pace() -> Result<()> {
    let lone = LoneHub::trusted(|options| {
        options.set("WSC_OUTBOUND_QUEUE_BYTES", "70000").set("WSC_INBOX_MAX_BYTES", "33554432")
    })
    .await?;
    // More than the kernel's buffers hold.
    let contents: Vec<String> = (0..1000).map(|n| format!("{n:04}{}", "x".repeat(10_000))).collect();
    store_all(&lone.api()?, "alice", &contents[..900]).await?;
    let mut phone = device(&lone.hub, "alice", "phone", None).await?;
    // Those come while the queue is full of older ones.
    store_all(&lone.api()?, "alice", &contents[900..]).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    for content in &contents {
        phone.expect_text(content).await?;
    }
    phone.expect("resume_done").await?;
    phone.expect_nothing().await
}
