//! A send with a message_id is sent once.

use anyhow::Result;
use rustix::process::Signal;
use serde_json::{Value, json};
use wsc_tests::{
    hub_fleet::{ADMIN_KEY, HubFleet},
    lone_hub::LoneHub,
    wait::{Look, eventually},
    ws_client::PATIENCE,
};

fn body(message_id: &str, content: &str) -> Value {
    json!({"message_id": message_id, "content": content})
}

#[tokio::test]
async fn a_repeat_is_answered_with_the_first_result_and_sends_nothing() -> Result<()> {
    let fleet = HubFleet::start(2).await?;
    let mut alice = fleet.hubs[1].connect("alice").await?;
    let mut bob = fleet.hubs[0].connect("bob").await?;
    let api = fleet.api(0)?;
    for (user, client) in [("alice", &mut alice), ("bob", &mut bob)] {
        let path = format!("/v1/users/{user}/messages");
        let first = api.post(&path, &body("m1", "first")).await?.ok()?;
        assert_eq!((&first["status"], &first["duplicate"]), (&json!("delivered"), &Value::Null), "{first}");
        client.expect_text("first").await?;
        for _ in 0..3 {
            let repeat = api.post(&path, &body("m1", "other words")).await?.ok()?;
            assert_eq!(repeat["duplicate"], true, "{repeat}");
            for field in ["id", "message_id", "status", "connections", "nodes"] {
                assert_eq!(repeat[field], first[field], "{field} of {repeat}");
            }
        }
        client.expect_nothing().await?;
        // Another message, another receiver or another caller is no repeat.
        assert_eq!(api.post(&path, &body("m2", "second")).await?.ok()?["duplicate"], Value::Null);
        client.expect_text("second").await?;
        let admin = api.with_key(Some(ADMIN_KEY)).post(&path, &body("m1", "by another key")).await?.ok()?;
        assert_eq!(admin["duplicate"], Value::Null, "{admin}");
        client.expect_text("by another key").await?;
        for _ in 0..2 {
            assert_eq!(api.send(user, "without an id").await?["duplicate"], Value::Null);
            client.expect_text("without an id").await?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_repeat_while_the_first_is_under_way_waits_for_it() -> Result<()> {
    let mut fleet =
        HubFleet::start_with(2, |o| o.set("WSC_LEASE", "20s").set("WSC_HEARTBEAT_INTERVAL", "2s")).await?;
    let mut alice = fleet.hubs[1].connect("alice").await?;
    fleet.hubs[1].process().halt().await?;
    let sends: Vec<_> = (0..3)
        .map(|_| {
            let api = fleet.api(0)?;
            Ok(tokio::spawn(
                async move { api.post("/v1/users/alice/messages", &body("m1", "x")).await?.ok() },
            ))
        })
        .collect::<Result<_>>()?;
    eventually("a report was waited for in vain", PATIENCE, async || {
        let missed = fleet.api(0)?.metric("wsc_bus_reports_missed_total").await?;
        Ok(Look::when(missed == 1, (), missed))
    })
    .await?;
    fleet.hubs[1].process().signal(Signal::CONT)?;
    let mut results = Vec::new();
    for send in sends {
        results.push(send.await??);
    }
    let firsts = results.iter().filter(|result| result["duplicate"] != true).count();
    assert_eq!(firsts, 1, "{results:?}");
    for result in &results {
        assert_eq!((&result["status"], &result["id"]), (&json!("delivered"), &results[0]["id"]), "{result}");
    }
    alice.expect_text("x").await?;
    alice.expect_nothing().await
}

#[tokio::test]
async fn a_client_that_repeats_a_message_id_is_told_so() -> Result<()> {
    let lone = LoneHub::trusted(|options| options).await?;
    let mut alice = lone.hub.connect("alice").await?;
    let mut bob = lone.hub.connect("bob").await?;
    let mut carol = lone.hub.connect("carol").await?;
    let frame = json!({"receiver": "bob", "content": "once", "message_id": "m1"});
    for (sender, repeats) in [(&mut alice, 2), (&mut carol, 1)] {
        for repeat in 0..=repeats {
            sender.send(&frame).await?;
            let result = sender.expect("result").await?;
            assert_eq!(result["status"], "delivered", "{result}");
            let duplicate = if repeat == 0 { Value::Null } else { json!(true) };
            assert_eq!(result["duplicate"], duplicate, "{result}");
        }
        bob.expect_text("once").await?;
        bob.expect_nothing().await?;
    }
    Ok(())
}
