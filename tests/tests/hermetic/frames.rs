//! Frames between a client and a hub that is alone.

use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};
use wsc_tests::{
    lone_hub::LoneHub,
    ws_client::{Incoming, PATIENCE, WsClient, WsRequest},
};

async fn hub() -> Result<LoneHub> {
    LoneHub::trusted(|options| options).await
}

#[tokio::test]
async fn welcome_comes_first_and_says_who_and_where() -> Result<()> {
    let lone = hub().await?;
    let request =
        WsRequest::new("/ws?user_id=alice&client_id=phone").header("Sec-WebSocket-Protocol", "wsc.v1");
    let alice = WsClient::connect(lone.hub.client, &request).await?;
    assert_eq!(alice.welcome["user_id"], "alice");
    assert_eq!(alice.welcome["client_id"], "phone");
    assert_eq!(alice.welcome["node_id"], "lone");
    assert_eq!(alice.welcome["resumed"], false);
    assert_eq!(alice.welcome["ping_interval_ms"], 25_000);
    assert_eq!(alice.headers["x-wsc-node-id"], "lone");
    assert_eq!(
        alice.headers["x-wsc-connection-id"].to_str()?,
        alice.welcome["connection_id"].as_str().unwrap()
    );
    assert_eq!(alice.headers["sec-websocket-protocol"], "wsc.v1");

    let bob = lone.hub.connect("bob").await?;
    assert_eq!(
        bob.welcome["client_id"], bob.welcome["connection_id"],
        "the default device is the connection"
    );
    assert!(!bob.headers.contains_key("sec-websocket-protocol"), "none was offered");
    alice.close().await?;
    bob.close().await
}

#[tokio::test]
async fn a_ping_is_answered_by_a_pong_with_its_id() -> Result<()> {
    let lone = hub().await?;
    let mut alice = lone.hub.connect("alice").await?;
    alice.send(&json!({"message_type": "ping", "message_id": "p1"})).await?;
    assert_eq!(alice.expect("pong").await?, json!({"message_type": "pong", "message_id": "p1"}));
    alice.send(&json!({"message_type": "ping"})).await?;
    assert_eq!(alice.expect("pong").await?, json!({"message_type": "pong"}));
    Ok(())
}

#[tokio::test]
async fn a_text_reaches_every_connection_of_its_receiver_as_it_was_written() -> Result<()> {
    let lone = hub().await?;
    let mut alice = lone.hub.connect("alice").await?;
    let mut phone = lone.hub.connect("bob").await?;
    let mut desk = lone.hub.connect("bob").await?;
    let data = json!({"nested": [1, {"deep": "ü"}], "large": 9_007_199_254_740_993_u64});
    alice
        .send(&json!({
            "message_type": "text", "receiver": "bob", "content": "hi \"bob\" \u{1F600}", "data": data,
            "message_id": "m1", "sender": "eve", "unknown": true
        }))
        .await?;
    let result = alice.expect("result").await?;
    assert_eq!(
        (&result["message_id"], &result["status"], &result["connections"]),
        (&json!("m1"), &json!("delivered"), &json!(2)),
        "{result}"
    );
    for client in [&mut phone, &mut desk] {
        let text = client.expect_text("hi \"bob\" \u{1F600}").await?;
        assert_eq!(text["sender"], "alice", "the hub knows who speaks");
        assert_eq!(text["receiver"], "bob");
        assert_eq!(text["data"], data);
        assert_eq!(text["message_id"], "m1");
        assert!(text["id"].as_str().is_some_and(|id| id.len() == 26), "a ULID: {text}");
        assert!(text["create_at"].as_str().is_some_and(|at| at.ends_with('Z') && at.contains('T')), "{text}");
    }
    alice.expect_nothing().await
}

#[tokio::test]
async fn the_sender_hears_offline_for_a_user_who_is_not_there() -> Result<()> {
    let lone = hub().await?;
    let mut alice = lone.hub.connect("alice").await?;
    assert_eq!(alice.send_to("nobody", "hello?").await?, "offline");
    Ok(())
}

#[tokio::test]
async fn a_message_without_id_is_delivered_and_not_answered() -> Result<()> {
    let lone = hub().await?;
    let mut alice = lone.hub.connect("alice").await?;
    let mut bob = lone.hub.connect("bob").await?;
    alice.send(&json!({"receiver": "bob", "content": "quiet"})).await?;
    bob.expect_text("quiet").await?;
    alice.expect_nothing().await
}

#[tokio::test]
async fn a_message_may_have_a_type_of_its_senders_choice() -> Result<()> {
    let lone = hub().await?;
    let mut alice = lone.hub.connect("alice").await?;
    alice.send(&json!({"message_type": "call.offer", "receiver": "alice", "data": {"sdp": ""}})).await?;
    let offer = alice.expect("call.offer").await?;
    assert_eq!(offer["data"], json!({"sdp": ""}));
    assert_eq!(offer.get("content"), None, "empty fields are left out");
    Ok(())
}

#[tokio::test]
async fn one_clients_messages_to_one_receiver_keep_their_order() -> Result<()> {
    let lone = hub().await?;
    let mut alice = lone.hub.connect("alice").await?;
    let mut bob = lone.hub.connect("bob").await?;
    for number in 0..60 {
        alice.send(&json!({"receiver": "bob", "content": format!("{number}")})).await?;
    }
    for number in 0..60 {
        bob.expect_text(&number.to_string()).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_bad_frame_is_answered_with_code_and_sentence_and_the_connection_goes_on() -> Result<()> {
    let lone = hub().await?;
    let mut alice = lone.hub.connect("alice").await?;
    let cases: [(&str, &str, &str); 22] = [
        ("", "bad_request", "JSON"),
        ("not json", "bad_request", "line 1 column"),
        ("{\"receiver\":\"bob\"", "bad_request", "line 1 column"),
        ("[]", "bad_request", "JSON object"),
        ("null", "bad_request", "JSON object"),
        ("\"text\"", "bad_request", "JSON object"),
        ("{}", "bad_request", "receiver"),
        ("{\"receiver\":null,\"content\":\"x\"}", "bad_request", "receiver"),
        ("{\"receiver\":5}", "bad_request", "column"),
        ("{\"receiver\":\"\"}", "invalid_user_id", "empty"),
        ("{\"receiver\":\"a b\"}", "invalid_user_id", "' '"),
        ("{\"receiver\":\"@everyone\"}", "invalid_user_id", "@"),
        ("{\"receiver\":\"bob\",\"content\":5}", "bad_request", "content must be a string"),
        ("{\"receiver\":\"bob\",\"message_id\":\"a b\"}", "bad_request", "message_id"),
        ("{\"receiver\":\"bob\",\"message_type\":\"UPPER\"}", "bad_request", "message_type"),
        ("{\"receiver\":\"bob\",\"message_type\":\"welcome\"}", "not_permitted", "reserved"),
        ("{\"receiver\":\"bob\",\"message_type\":\"kick_out\"}", "not_permitted", "reserved"),
        ("{\"receiver\":\"bob\",\"store\":true}", "not_permitted", "store"),
        ("{\"group\":\"a room\",\"content\":\"x\"}", "bad_request", "group contains ' '"),
        ("{\"message_type\":\"join\"}", "bad_request", "group is missing"),
        ("{\"receiver\":\"@backend\"}", "not_found", "events are off"),
        ("{\"receiver\":\"bob\",\"group\":\"room\"}", "bad_request", "not both"),
    ];
    for (frame, code, word) in cases {
        alice.send_text(frame).await?;
        let sentence = alice.expect_error(code).await?;
        assert!(sentence.contains(word), "{frame}: {sentence}");
        // A good frame between two bad ones keeps the count of bad frames in a row at one.
        alice.expect_nothing().await?;
    }
    // The payload is passed on unread, however deep; here to nobody, since test clients do read it.
    let deep = format!("{{\"receiver\":\"nobody\",\"data\":{}1{}}}", "[".repeat(5000), "]".repeat(5000));
    alice.send_text(&deep).await?;
    alice.expect_nothing().await
}

#[tokio::test]
async fn an_error_names_the_frame_it_is_about() -> Result<()> {
    let lone = hub().await?;
    let mut alice = lone.hub.connect("alice").await?;
    alice.send(&json!({"message_type": "text", "message_id": "m9"})).await?;
    let error: Value = alice.expect("error").await?;
    assert_eq!(error["message_id"], "m9");
    Ok(())
}

#[tokio::test]
async fn ten_bad_frames_in_a_row_close_with_1008_and_nine_do_not() -> Result<()> {
    let lone = hub().await?;
    let mut alice = lone.hub.connect("alice").await?;
    for _ in 0..9 {
        alice.send_text("bad").await?;
        alice.expect_error("bad_request").await?;
    }
    alice.expect_nothing().await?;
    for _ in 0..10 {
        alice.send_text("bad").await?;
    }
    alice.expect_close(1008, PATIENCE).await?;
    Ok(())
}

#[tokio::test]
async fn frames_beyond_the_rate_are_refused_and_the_connection_goes_on() -> Result<()> {
    let lone = hub().await?;
    let mut alice = lone.hub.connect("alice").await?;
    for number in 0..160 {
        alice.send(&json!({"message_type": "ping", "message_id": format!("p{number}")})).await?;
    }
    let (mut pongs, mut refused) = (0, 0);
    for _ in 0..160 {
        match alice.next(PATIENCE).await? {
            Incoming::Frame(frame) if frame["message_type"] == "pong" => pongs += 1,
            Incoming::Frame(frame) if frame["code"] == "rate_limited" => {
                assert!(frame["message_id"].as_str().is_some_and(|id| id.starts_with('p')), "{frame}");
                refused += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(pongs >= 100, "a burst of 100 is allowed, {pongs} passed");
    assert!(refused >= 10, "160 at once are beyond 50/s with burst 100, {refused} refused");
    Ok(())
}

#[tokio::test]
async fn a_client_that_answers_no_pings_is_closed_with_4005() -> Result<()> {
    let lone = LoneHub::trusted(|options| options.set("WSC_PING_INTERVAL", "300ms")).await?;
    let mut silent = lone.hub.connect("silent").await?;
    let mut lively = lone.hub.connect("lively").await?;
    // `lively` is read all the time, which answers pings; `silent` is not read at all.
    let close = tokio::spawn(async move {
        let outcome = lively.next(Duration::from_secs(4)).await;
        (lively, outcome)
    });
    lone.connections(1, Duration::from_secs(8)).await?;
    silent.expect_close(4005, PATIENCE).await?;
    let (mut lively, outcome) = close.await?;
    assert!(outcome.is_err(), "the client that answers pings got {outcome:?}");
    lively.expect_nothing().await
}
