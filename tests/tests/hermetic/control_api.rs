//! The control API of a hub that is alone: answers, and the words for requests that cannot be processed.

use anyhow::Result;
use http::Method;
use serde_json::json;
use wsc_tests::{lone_hub::LoneHub, ws_client::PATIENCE};

#[tokio::test]
async fn a_send_says_what_happened_to_the_message() -> Result<()> {
    let lone = LoneHub::trusted(|options| options).await?;
    let api = lone.api()?;
    let mut phone = lone.hub.connect("alice").await?;
    let mut desk = lone.hub.connect("alice").await?;
    let body = json!({"message_type": "notice", "message_id": "o-1", "content": "ready", "data": {"n": 1}});
    let sent = api.post("/v1/users/alice/messages", &body).await?.ok()?;
    assert_eq!(sent["status"], "delivered", "{sent}");
    assert_eq!(sent["message_id"], "o-1");
    assert_eq!(sent["connections"], 2);
    assert_eq!(sent["nodes"], json!([{"node_id": "lone", "connections": 2}]));
    assert_eq!(sent["total_retries"], 0);
    assert!(sent["total_duration_ms"].is_u64() && sent["id"].is_string(), "{sent}");
    for client in [&mut phone, &mut desk] {
        let notice = client.expect("notice").await?;
        assert_eq!(
            (&notice["content"], &notice["data"], &notice["id"]),
            (&json!("ready"), &json!({"n": 1}), &sent["id"])
        );
        assert_eq!(notice.get("sender"), None, "the backend has no user id");
    }
    let offline = api.send("nobody", "x").await?;
    assert_eq!(
        (&offline["status"], &offline["connections"], &offline["nodes"]),
        (&json!("offline"), &json!(0), &json!([]))
    );
    let body = json!({"content": "no wait", "options": {"wait": "none"}});
    assert_eq!(api.post("/v1/users/alice/messages", &body).await?.ok()?["status"], "accepted");
    phone.expect_text("no wait").await?;
    Ok(())
}

#[tokio::test]
async fn a_broadcast_reaches_everyone_once() -> Result<()> {
    let lone = LoneHub::trusted(|options| options).await?;
    let mut clients = Vec::new();
    for user in ["alice", "bob", "bob"] {
        clients.push(lone.hub.connect(user).await?);
    }
    let result = lone.api()?.broadcast("to all").await?;
    assert_eq!(
        (&result["status"], &result["nodes_expected"], &result["nodes_answered"], &result["connections"]),
        (&json!("complete"), &json!(1), &json!(1), &json!(3)),
        "{result}"
    );
    for client in &mut clients {
        let frame = client.expect_text("to all").await?;
        assert_eq!(frame.get("receiver"), None);
        client.expect_nothing().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_kick_closes_all_of_the_users_connections_with_a_notice_and_counts_them() -> Result<()> {
    let lone = LoneHub::trusted(|options| options).await?;
    let mut first = lone.hub.connect("alice").await?;
    let mut second = lone.hub.connect("alice").await?;
    let mut other = lone.hub.connect("bob").await?;
    let body = json!({"reason": "spam", "notify": true, "message": "You were asked to leave."});
    let kicked = lone.api()?.post("/v1/users/alice/kick", &body).await?.ok()?;
    assert_eq!(kicked["user_id"], "alice");
    assert_eq!(
        (&kicked["kicked_connections"], &kicked["notification_sent"]),
        (&json!(2), &json!(true)),
        "{kicked}"
    );
    for client in [&mut first, &mut second] {
        let notice = client.expect("kick_out").await?;
        assert_eq!(
            (&notice["content"], &notice["data"]["reason"]),
            (&json!("You were asked to leave."), &json!("spam"))
        );
        assert!(client.expect_close(4001, PATIENCE).await?.contains("spam"));
    }
    other.expect_nothing().await?;
    lone.connections(1, PATIENCE).await?;
    assert_eq!(lone.api()?.user("alice").await?["online"], false);
    assert_eq!(lone.api()?.kick("alice", "again").await?["kicked_connections"], 0);
    // A kick is no ban.
    lone.hub.connect("alice").await?;
    Ok(())
}

#[tokio::test]
async fn a_user_look_up_names_connections_and_node() -> Result<()> {
    let lone = LoneHub::trusted(|options| options).await?;
    let api = lone.api()?;
    let offline = api.user("alice").await?;
    assert_eq!(offline, json!({"user_id": "alice", "online": false, "nodes": [], "connections": []}));
    let alice = lone.hub.connect("alice").await?;
    let online = api.user("alice").await?;
    assert_eq!((&online["online"], &online["nodes"]), (&json!(true), &json!(["lone"])));
    let connection = &online["connections"][0];
    assert_eq!(connection["connection_id"], alice.welcome["connection_id"]);
    assert_eq!(connection["client_id"], alice.welcome["client_id"]);
    assert_eq!(connection["node_id"], "lone");
    assert!(connection["remote_address"].as_str().is_some_and(|address| address.starts_with("127.0.0.1")));
    assert!(connection["connected_at"].as_str().is_some_and(|at| at.contains('T') && at.ends_with('Z')));
    Ok(())
}

#[tokio::test]
async fn user_ids_in_paths_are_decoded_once_and_checked() -> Result<()> {
    let lone = LoneHub::trusted(|options| options).await?;
    let api = lone.api()?;
    let mut client = lone.hub.connect("a@x.org:1").await?;
    assert_eq!(api.send("a%40x.org%3A1", "encoded").await?["status"], "delivered");
    client.expect_text("encoded").await?;
    assert_eq!(api.user("a@x.org:1").await?["online"], true);
    let long = "x".repeat(129);
    for user in ["a%20b", "@backend", "%7Bu%7D", "a%2540b", long.as_str(), "%ff"] {
        let answer = api.get(&format!("/v1/users/{user}")).await?;
        answer.problem(400, "invalid_user_id").map_err(|error| error.context(user.to_owned()))?;
        let answer = api.post(&format!("/v1/users/{user}/messages"), &json!({"content": "x"})).await?;
        answer.problem(400, "invalid_user_id").map_err(|error| error.context(user.to_owned()))?;
        let answer = api.post(&format!("/v1/users/{user}/kick"), &json!({})).await?;
        answer.problem(400, "invalid_user_id").map_err(|error| error.context(user.to_owned()))?;
    }
    Ok(())
}

#[tokio::test]
async fn a_bad_body_is_answered_with_400_and_what_to_change() -> Result<()> {
    let lone = LoneHub::trusted(|options| options).await?;
    let api = lone.api()?;
    let send = "/v1/users/alice/messages";
    let cases = [
        (send, "", "empty"),
        (send, "not json", "JSON"),
        (send, "[]", "JSON object"),
        (send, "{\"content\":5}", "content must be a string"),
        (send, "{\"content\":\"x\"", "JSON"),
        (send, "{\"message_type\":\"welcome\"}", "reserved"),
        (send, "{\"message_type\":\"Bad Type\"}", "message_type"),
        (send, "{\"message_id\":\"a b\"}", "message_id"),
        (send, "{\"options\":5}", "options"),
        (send, "{\"options\":{\"wait\":\"forever\"}}", "wait"),
        (send, "{\"options\":{\"store\":\"yes\"}}", "options.store must be"),
        (send, "{\"options\":{\"ttl_seconds\":5}}", "goes with options.store"),
        ("/v1/broadcast", "{\"options\":{\"store\":true}}", "to one user only"),
        ("/v1/groups/room/messages", "{\"options\":{\"store\":true}}", "to one user only"),
        (
            "/v1/messages",
            "{\"messages\":[{\"receiver\":\"a\",\"options\":{\"store\":1}}]}",
            "messages[0]: options.store",
        ),
        (send, "{\"options\":{\"timeout_ms\":0}}", "timeout_ms"),
        (send, "{\"options\":{\"timeout_ms\":\"5s\"}}", "timeout_ms"),
        (send, "{\"options\":{\"max_retries\":-1}}", "max_retries"),
        ("/v1/broadcast", "{\"exclude_users\":[\"a b\"]}", "exclude_users[0]"),
        ("/v1/messages", "{}", "messages"),
        ("/v1/messages", "{\"messages\":[{\"content\":\"x\"}]}", "messages[0]: receiver"),
        ("/v1/users/query", "{}", "users"),
        ("/v1/broadcast", "", "empty"),
        ("/v1/users/alice/kick", "{\"reason\":5}", "reason"),
        ("/v1/users/alice/kick", "{\"ban_seconds\":-1}", "ban_seconds must be"),
        ("/v1/users/alice/revoke", "{\"before\":\"now\"}", "before must be"),
        ("/v1/users/alice/kick", "{\"notify\":\"yes\"}", "notify"),
    ];
    for (path, body, word) in cases {
        let answer = api.request(Method::POST, path, Some(body.to_owned())).await?;
        let detail = answer.problem(400, "bad_request").map_err(|e| e.context(format!("{path} {body:?}")))?;
        assert!(detail.contains(word), "{path} {body:?}: {detail}");
    }
    let not_utf8 = api.request(Method::POST, send, Some("{\"content\":\"\\ud800\"}".into())).await?;
    assert!(not_utf8.status == 200 || not_utf8.status == 400, "{} {}", not_utf8.status, not_utf8.text);
    Ok(())
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_with_413() -> Result<()> {
    let lone = LoneHub::trusted(|options| options).await?;
    for path in ["/v1/users/alice/messages", "/v1/broadcast"] {
        let answer = lone.api()?.post(path, &json!({"content": "x".repeat(5 << 20)})).await?;
        answer.problem(413, "payload_too_large").map_err(|error| error.context(path))?;
    }
    Ok(())
}

#[tokio::test]
async fn paths_and_methods_that_are_not_there_get_problem_documents() -> Result<()> {
    let lone = LoneHub::trusted(|options| options).await?;
    let api = lone.api()?;
    for path in ["/", "/v1", "/v2/nodes", "/v1/users", "/nodes/x", "/openapi.yaml"] {
        let answer = api.get(path).await?;
        answer.problem(404, "not_found").map_err(|error| error.context(path))?;
    }
    for (method, path) in [
        (Method::DELETE, "/nodes"),
        (Method::GET, "/v1/broadcast"),
        (Method::PUT, "/v1/users/alice/messages"),
        (Method::POST, "/v1/users/alice"),
    ] {
        let answer = api.request(method.clone(), path, None).await?;
        assert_eq!(answer.status, 405, "{method} {path}: {}", answer.text);
        assert_eq!(answer.headers["content-type"], "application/problem+json", "{method} {path}");
    }
    Ok(())
}
