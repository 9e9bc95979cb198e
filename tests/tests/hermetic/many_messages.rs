//! `POST /v1/messages` and `POST /v1/users/query`.

use anyhow::{Context as _, Result};
use http::Method;
use serde_json::{Value, json};
use wsc_tests::{hub_fleet::HubFleet, lone_hub::LoneHub};

async fn results(answer: Value) -> Result<Vec<Value>> {
    Ok(answer["results"].as_array().with_context(|| format!("no results: {answer}"))?.clone())
}

#[tokio::test]
async fn many_messages_in_one_call_are_each_delivered_in_order_and_travel_together() -> Result<()> {
    let fleet = HubFleet::start(3).await?;
    let mut clients = Vec::new();
    for number in 0..6 {
        clients.push(fleet.hubs[number % 3].connect(&format!("user-{number}")).await?);
    }
    let batches = async || fleet.api(0)?.metric("wsc_bus_batches_sent_total").await;
    for wait in ["delivered", "none"] {
        // 150 for each user, which the queues of 1,024 take, and 100 for users who are nowhere.
        let messages: Vec<Value> = (0..1000)
            .map(|n| {
                let receiver = if n % 10 == 9 { "nobody".to_owned() } else { format!("user-{}", n % 6) };
                json!({"receiver": receiver, "content": n.to_string(), "message_id": format!("{wait}-{n}"),
                       "options": {"wait": wait, "max_retries": 0}})
            })
            .collect();
        let before = batches().await?;
        let answer = fleet.api(0)?.post("/v1/messages", &json!({"messages": messages})).await?.ok()?;
        let sent = batches().await? - before;
        let results = results(answer).await?;
        assert_eq!(results.len(), 1000);
        let reached = if wait == "none" { "accepted" } else { "delivered" };
        for (n, result) in results.iter().enumerate() {
            let expected = if n % 10 == 9 { "offline" } else { reached };
            assert_eq!(result["status"], expected, "{n}: {result}");
            assert_eq!(result["message_id"], format!("{wait}-{n}"), "{result}");
        }
        for (number, client) in clients.iter_mut().enumerate() {
            for n in (0..1000usize).filter(|n| n % 10 != 9 && n % 6 == number) {
                client.expect_text(&n.to_string()).await?;
            }
            client.expect_nothing().await?;
        }
        // Two nodes, some 50 KB each, and what heartbeats send meanwhile.
        assert!(sent <= 16, "600 messages to two nodes took {sent} batches");
    }
    Ok(())
}

#[tokio::test]
async fn one_bad_message_refuses_the_call_and_nothing_is_sent() -> Result<()> {
    let lone = LoneHub::trusted(|options| options).await?;
    let api = lone.api()?;
    let mut alice = lone.hub.connect("alice").await?;
    let good = json!({"receiver": "alice", "content": "x"});
    for (bad, words) in [
        (json!({"receiver": "a b", "content": "x"}), "messages[1]: receiver"),
        (json!({"content": "x"}), "messages[1]: receiver is missing"),
        (json!({"receiver": "alice", "options": {"wait": "soon"}}), "messages[1]: options.wait"),
        (json!(5), "messages[1] must be an object"),
    ] {
        let answer = api.post("/v1/messages", &json!({"messages": [good, bad]})).await?;
        let detail = answer.problem(400, "bad_request")?;
        assert!(detail.starts_with(words), "{detail}");
    }
    let many = json!({"messages": vec![good.clone(); 1001]});
    let detail = api.post("/v1/messages", &many).await?.problem(400, "bad_request")?;
    assert!(detail.contains("1001") && detail.contains("1000"), "{detail}");
    let large = json!({"messages": [{"receiver": "alice", "content": "x".repeat(4 << 20)}]});
    api.post("/v1/messages", &large).await?.problem(413, "payload_too_large")?;
    alice.expect_nothing().await?;
    let none = api.post("/v1/messages", &json!({"messages": []})).await?.ok()?;
    assert_eq!(none, json!({"results": []}));
    let key = api.with_key(None);
    key.post("/v1/messages", &json!({"messages": []})).await?.problem(401, "invalid_token")?;
    key.post("/v1/users/query", &json!({"users": []})).await?.problem(401, "invalid_token")?;
    Ok(())
}

#[tokio::test]
async fn a_message_that_is_twice_in_one_call_is_sent_once() -> Result<()> {
    let lone = LoneHub::trusted(|options| options).await?;
    let mut alice = lone.hub.connect("alice").await?;
    let message = json!({"receiver": "alice", "content": "x", "message_id": "m1"});
    let body = json!({"messages": [message, message]});
    let first = results(lone.api()?.post("/v1/messages", &body).await?.ok()?).await?;
    assert_eq!((&first[0]["duplicate"], &first[1]["duplicate"]), (&Value::Null, &json!(true)), "{first:?}");
    assert_eq!((&first[0]["id"], &first[1]["status"]), (&first[1]["id"], &json!("delivered")));
    let again = results(lone.api()?.post("/v1/messages", &body).await?.ok()?).await?;
    assert!(again.iter().all(|result| result["duplicate"] == true), "{again:?}");
    let single = lone.api()?.post("/v1/users/alice/messages", &message).await?.ok()?;
    assert_eq!((&single["duplicate"], &single["id"]), (&json!(true), &first[0]["id"]), "{single}");
    alice.expect_text("x").await?;
    alice.expect_nothing().await
}

#[tokio::test]
async fn many_users_are_asked_for_at_once() -> Result<()> {
    let fleet = HubFleet::start(2).await?;
    let _clients = (
        fleet.hubs[0].connect("alice").await?,
        fleet.hubs[1].connect("alice").await?,
        fleet.hubs[1].connect("bob").await?,
        fleet.hubs[0].connect("query").await?,
    );
    let mut users: Vec<String> = (0..997).map(|n| format!("nobody-{n}")).collect();
    users.extend(["bob", "alice", "query"].map(str::to_owned));
    for asked in 0..2 {
        let api = fleet.api(asked)?;
        let found = api.post("/v1/users/query", &json!({"users": users})).await?.ok()?;
        let expected = json!({"alice": ["node-0", "node-1"], "bob": ["node-1"], "query": ["node-0"]});
        assert_eq!(found, json!({"online": expected}));
        assert_eq!(api.user("query").await?["online"], true, "a user may be called so");
        let other = api.request(Method::POST, "/v1/users/alice", Some("{}".into())).await?;
        assert_eq!(other.status, 405, "{}", other.text);
        users.push("one-more".to_owned());
        let refused = api.post("/v1/users/query", &json!({"users": users})).await?;
        refused.problem(400, "bad_request")?;
        users.pop();
    }
    Ok(())
}
