//! A new token for an open connection: what it changes, what it may not change, and what a bad one leaves.

use std::time::Duration;

use anyhow::Result;
use http::Method;
use jsonwebtoken::Algorithm;
use serde_json::{Value, json};
use wsc_tests::{
    lone_hub::{LoneHub, TOKEN_SECRET},
    tokens::{self, claims, claims_with_send, unix_now},
    ws_client::{Incoming, WsClient, WsRequest},
};

fn signed(claims: &Value) -> Result<String> {
    tokens::sign(Algorithm::HS256, None, TOKEN_SECRET, claims)
}

fn renewal(token: &str, id: &str) -> Value {
    json!({"message_type": "auth", "data": {"token": token}, "message_id": id})
}

#[tokio::test]
async fn a_new_token_keeps_the_connection_open_beyond_the_end_of_the_old_one() -> Result<()> {
    let lone = LoneHub::with_tokens(|options| options).await?;
    // With 5 s of leeway these end 2 s from now, so both are warned at once.
    let exp = unix_now() - 3;
    let mut alice = lone.connect_with(&json!({"sub": "alice", "exp": exp})).await?;
    let mut bob = lone.connect_with(&json!({"sub": "bob", "exp": exp})).await?;
    let warning = alice.expect("auth_expiring").await?;
    assert!(warning["data"]["expires_in_ms"].as_u64().is_some_and(|left| left <= 2_000), "{warning}");

    let new_exp = unix_now() + 600;
    alice.send(&renewal(&signed(&json!({"sub": "alice", "exp": new_exp}))?, "a1")).await?;
    let result = alice.expect("result").await?;
    assert_eq!((&result["message_id"], &result["status"]), (&json!("a1"), &json!("renewed")));
    assert!(result["data"]["expires_at"].as_str().is_some_and(|at| at.ends_with('Z')), "{result}");

    bob.expect_close(4003, Duration::from_secs(6)).await?;
    alice.expect_nothing().await?;
    // One without an id is put in force too, and answered by nothing.
    let last = signed(&json!({"sub": "alice", "exp": unix_now() - 3}))?;
    alice.send(&json!({"message_type": "auth", "data": {"token": last}})).await?;
    alice.expect("auth_expiring").await?;
    let reason = alice.expect_close(4003, Duration::from_secs(6)).await?;
    assert!(reason.contains("expired"), "{reason}");
    Ok(())
}

#[tokio::test]
async fn a_token_is_announced_thirty_seconds_before_its_connection_ends() -> Result<()> {
    let lone = LoneHub::with_tokens(|options| options).await?;
    // Ends in 32 s to 33 s.
    let mut alice = lone.connect_with(&json!({"sub": "alice", "exp": unix_now() + 28})).await?;
    alice.expect_nothing().await?;
    let warning = alice.expect("auth_expiring").await?;
    let left = warning["data"]["expires_in_ms"].as_u64().unwrap_or_default();
    assert!((28_000..=30_000).contains(&left), "{warning}");
    alice.expect_nothing().await
}

#[tokio::test]
async fn what_the_new_token_grants_counts_from_the_next_frame() -> Result<()> {
    let lone = LoneHub::with_tokens(|options| options).await?;
    let mut bob = lone.connect_with(&claims("bob")).await?;
    let mut alice = lone.connect_with(&claims("alice")).await?;
    let to_bob = |id: &str| json!({"receiver": "bob", "content": id, "message_id": id});
    alice.send(&to_bob("m0")).await?;
    alice.expect_error("not_permitted").await?;

    // All in one go: each frame is judged by the token before it.
    let granting = signed(&claims_with_send("alice", &["user:bob"]))?;
    let taking = signed(&claims_with_send("alice", &["user:carol"]))?;
    alice.send(&renewal(&granting, "a1")).await?;
    alice.send(&to_bob("m1")).await?;
    alice.send(&renewal(&taking, "a2")).await?;
    alice.send(&to_bob("m2")).await?;
    let mut answers = Vec::new();
    for _ in 0..4 {
        match alice.next(Duration::from_secs(10)).await? {
            Incoming::Frame(frame) => {
                let id = frame["message_id"].as_str().unwrap_or_default().to_owned();
                let said = frame.get("status").or(frame.get("code")).cloned().unwrap_or_default();
                answers.push(format!("{id} {}", said.as_str().unwrap_or_default()));
            }
            other => anyhow::bail!("{other:?}"),
        }
    }
    // The result of m1 comes when it was delivered, whenever that is.
    answers.sort();
    assert_eq!(answers, ["a1 renewed", "a2 renewed", "m1 delivered", "m2 not_permitted"]);
    bob.expect_text("m1").await?;
    bob.expect_nothing().await
}

#[tokio::test]
async fn groups_that_the_new_token_does_not_grant_are_left() -> Result<()> {
    let lone = LoneHub::with_tokens(|options| options).await?;
    let api = lone.api()?;
    let token = |wsc: Value| json!({"sub": "alice", "exp": unix_now() + 600, "wsc": wsc});
    let mut alice = lone.connect_with(&token(json!({"groups": ["team"], "join": ["room-*"]}))).await?;
    for group in ["room-1", "room-2"] {
        alice.send(&json!({"message_type": "join", "group": group, "message_id": group})).await?;
        alice.expect("result").await?;
    }
    api.request(Method::PUT, "/v1/groups/given/members/alice", None).await?.ok()?;
    let is_in = async || -> Result<Vec<&str>> {
        let mut found = Vec::new();
        for group in ["team", "room-1", "room-2", "given", "club"] {
            let listed = api.get(&format!("/v1/groups/{group}")).await?.ok()?;
            if listed["members"].as_array().is_some_and(|members| !members.is_empty()) {
                found.push(group);
            }
        }
        Ok(found)
    };
    assert_eq!(is_in().await?, ["team", "room-1", "room-2", "given"]);
    let new = token(json!({"groups": ["club"], "join": ["room-2"]}));
    alice.send(&renewal(&signed(&new)?, "a1")).await?;
    assert_eq!(alice.expect("result").await?["status"], "renewed");
    assert_eq!(is_in().await?, ["room-2", "given", "club"], "what the backend gave stays");
    alice.send(&json!({"message_type": "join", "group": "room-1", "message_id": "j"})).await?;
    alice.expect_error("not_permitted").await?;
    Ok(())
}

#[tokio::test]
async fn a_bad_new_token_is_an_error_and_leaves_the_old_one_in_force() -> Result<()> {
    let lone = LoneHub::with_tokens(|options| options).await?;
    let mut bob = lone.connect_with(&claims("bob")).await?;
    let old = json!({"sub": "alice", "exp": unix_now() + 1, "iat": unix_now(), "wsc": {"send": ["user:bob"], "client_id": "phone"}});
    let mut alice = lone.connect_with(&old).await?;
    alice.expect("auth_expiring").await?;
    let of = |claims: Value| signed(&claims);
    let exp = unix_now() + 600;
    let cases = [
        ("nonsense".to_owned(), "invalid_token", "not a JWT"),
        (of(json!({"sub": "alice", "exp": unix_now() - 60}))?, "token_expired", "expired"),
        (
            of(json!({"sub": "mallory", "exp": exp, "wsc": {"send": ["user:*"]}}))?,
            "bad_request",
            "another user",
        ),
        (of(json!({"sub": "alice", "exp": exp, "wsc": {"client_id": "desk"}}))?, "bad_request", "client_id"),
        (of(json!({"sub": "alice"}))?, "invalid_token", "no exp"),
        (
            tokens::sign(Algorithm::HS256, None, &"x".repeat(32), &claims("alice"))?,
            "invalid_token",
            "signature",
        ),
        (tokens::unsigned(&claims("alice")), "invalid_token", "alg"),
        (of(json!({"sub": "alice", "exp": exp, "iat": unix_now() - 60}))?, "invalid_token", "issued before"),
        (of(json!({"sub": "alice", "exp": exp}))?, "invalid_token", "issued before"),
    ];
    for (n, (token, code, why)) in cases.iter().enumerate() {
        alice.send(&renewal(token, &format!("a{n}"))).await?;
        let error = alice.expect("error").await?;
        assert_eq!((&error["message_id"], &error["code"]), (&json!(format!("a{n}")), &json!(code)), "{why}");
        let detail = error["content"].as_str().unwrap_or_default();
        assert!(detail.contains(why) && !detail.contains(token.as_str()), "{detail}, expected {why}");
    }
    for frame in [
        json!({"message_type": "auth", "message_id": "b1"}),
        json!({"message_type": "auth", "data": "e.y.j", "message_id": "b1"}),
        json!({"message_type": "auth", "data": {"token": 5}, "message_id": "b1"}),
    ] {
        alice.send(&frame).await?;
        let error = alice.expect("error").await?;
        assert_eq!((&error["message_id"], &error["code"]), (&json!("b1"), &json!("bad_request")), "{frame}");
    }
    assert_eq!(alice.send_to("bob", "still granted").await?, "delivered");
    bob.expect_text("still granted").await?;
    alice.expect_close(4003, Duration::from_secs(10)).await?;
    Ok(())
}

#[tokio::test]
async fn where_clients_have_no_tokens_there_is_none_to_renew() -> Result<()> {
    let lone = LoneHub::trusted(|options| options).await?;
    let mut alice = WsClient::connect(lone.hub.client, &WsRequest::user("alice")).await?;
    alice.send(&renewal(&signed(&claims("alice"))?, "a1")).await?;
    let sentence = alice.expect_error("not_permitted").await?;
    assert!(sentence.contains("no tokens"), "{sentence}");
    alice.expect_nothing().await
}
