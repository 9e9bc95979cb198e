//! Who may join a group and who may send to it, how many groups one connection may be in, and names that are none.

use anyhow::Result;
use http::Method;
use serde_json::{Value, json};
use wsc_tests::{
    lone_hub::{LoneHub, TOKEN_SECRET},
    tokens::{self, unix_now},
    ws_client::{WsClient, WsRequest},
};

fn claims(user: &str, wsc: &Value) -> Value {
    json!({"sub": user, "exp": unix_now() + 600, "wsc": wsc})
}

fn request(user: &str, wsc: &Value, groups: &str) -> Result<WsRequest> {
    let token = tokens::sign(jsonwebtoken::Algorithm::HS256, None, TOKEN_SECRET, &claims(user, wsc))?;
    Ok(WsRequest::new(&format!("/ws?groups={groups}")).header("Authorization", &format!("Bearer {token}")))
}

async fn change(client: &mut WsClient, word: &str, group: &str) -> Result<Value> {
    client.send(&json!({"message_type": word, "group": group, "message_id": "j1"})).await?;
    client.expect("result").await
}

async fn send(lone: &LoneHub, group: &str, content: &str) -> Result<Value> {
    lone.api()?.post(&format!("/v1/groups/{group}/messages"), &json!({"content": content})).await?.ok()
}

#[tokio::test]
async fn a_client_joins_only_what_its_token_grants() -> Result<()> {
    let lone = LoneHub::with_tokens(|options| options).await?;
    let mut alice = lone.connect_with(&claims("alice", &json!({"join": ["room-*", "hall"]}))).await?;
    for group in ["room-1", "room-", "hall"] {
        let result = change(&mut alice, "join", group).await?;
        assert_eq!(
            (&result["status"], &result["message_id"]),
            (&json!("complete"), &json!("j1")),
            "{result}"
        );
    }
    for group in ["hallway", "Room-1", "yard"] {
        alice.send(&json!({"message_type": "join", "group": group})).await?;
        let sentence = alice.expect_error("not_permitted").await?;
        assert!(sentence.contains(group), "{sentence}");
        assert_eq!(send(&lone, group, "x").await?["connections"], 0);
    }
    // Without an id a join that worked is not answered.
    alice.send(&json!({"message_type": "join", "group": "room-2"})).await?;
    alice.expect_nothing().await?;
    assert_eq!(send(&lone, "room-2", "silently joined").await?["connections"], 1);
    alice.expect_text("silently joined").await?;
    // Nothing asks whether a client may leave, or was there.
    assert_eq!(change(&mut alice, "leave", "yard").await?["status"], "complete");
    assert_eq!(change(&mut alice, "leave", "room-2").await?["status"], "complete");
    assert_eq!(send(&lone, "room-2", "x").await?["connections"], 0);
    let mut bare = lone.connect_with(&json!({"sub": "bob", "exp": unix_now() + 600})).await?;
    bare.send(&json!({"message_type": "join", "group": "room-1"})).await?;
    bare.expect_error("not_permitted").await?;
    Ok(())
}

#[tokio::test]
async fn membership_does_not_grant_sending_nor_the_other_way_round() -> Result<()> {
    let lone = LoneHub::with_tokens(|options| options).await?;
    let mut member = lone.connect_with(&claims("member", &json!({"join": ["room-1"]}))).await?;
    change(&mut member, "join", "room-1").await?;
    let grants = json!({"send": ["group:room-*"]});
    let mut speaker = lone.connect_with(&claims("speaker", &grants)).await?;
    member.send(&json!({"group": "room-1", "content": "x", "message_id": "m1"})).await?;
    let sentence = member.expect_error("not_permitted").await?;
    assert!(sentence.contains("group:room-1"), "{sentence}");
    speaker.send(&json!({"group": "room-1", "content": "hi", "message_id": "m1"})).await?;
    let result = speaker.expect("result").await?;
    assert_eq!((&result["status"], &result["connections"]), (&json!("complete"), &json!(1)), "{result}");
    member.expect_text("hi").await?;
    for frame in
        [json!({"group": "hall", "content": "x"}), json!({"message_type": "join", "group": "room-1"})]
    {
        speaker.send(&frame).await?;
        speaker.expect_error("not_permitted").await?;
    }
    speaker.expect_nothing().await?;
    member.expect_nothing().await
}

#[tokio::test]
async fn a_token_names_groups_and_the_query_asks_for_granted_ones() -> Result<()> {
    let lone = LoneHub::with_tokens(|options| options.set("WSC_MAX_GROUPS", "3")).await?;
    let wsc = json!({"groups": ["team", "hall"], "join": ["room-*"]});
    let mut alice = WsClient::connect(lone.hub.client, &request("alice", &wsc, "room-1,team")?).await?;
    for group in ["team", "hall", "room-1"] {
        assert_eq!(send(&lone, group, group).await?["connections"], 1, "{group}");
        alice.expect_text(group).await?;
    }
    // What the token names may be left and joined again.
    change(&mut alice, "leave", "team").await?;
    assert_eq!(send(&lone, "team", "x").await?["connections"], 0);
    assert_eq!(change(&mut alice, "join", "team").await?["status"], "complete");
    for (groups, status, code) in [
        ("yard", 403, "not_permitted"),
        ("room-1,room-2", 400, "bad_request"),
        ("room-1,,room-2", 400, "bad_request"),
        ("room%201", 400, "bad_request"),
        ("room-1&groups=room-2", 400, "bad_request"),
    ] {
        let refused = WsClient::refused(lone.hub.client, &request("bob", &wsc, groups)?).await?;
        refused.problem(status, code).map_err(|error| error.context(groups))?;
    }
    assert_eq!(lone.api()?.user("bob").await?["online"], false, "a refused client leaves nothing behind");
    assert_eq!(send(&lone, "hall", "x").await?["connections"], 1);
    Ok(())
}

#[tokio::test]
async fn client_send_says_whether_clients_speak_to_groups() -> Result<()> {
    for (setting, users, groups) in
        [("none", false, false), ("users", true, false), ("groups", false, true), ("all", true, true)]
    {
        let lone = LoneHub::trusted(|options| options.set("WSC_CLIENT_SEND", setting)).await?;
        let mut alice = lone.hub.connect("alice").await?;
        let cases = [
            (json!({"receiver": "bob", "message_id": "m"}), users),
            (json!({"group": "g", "message_id": "m"}), groups),
        ];
        for (frame, may) in cases {
            alice.send(&frame).await?;
            match may {
                true => drop(alice.expect("result").await?),
                false => drop(alice.expect_error("not_permitted").await?),
            }
        }
        assert_eq!(
            change(&mut alice, "join", "g").await?["status"],
            "complete",
            "{setting}: joining is no sending"
        );
    }
    Ok(())
}

#[tokio::test]
async fn one_connection_is_in_at_most_as_many_groups_as_the_setting_says() -> Result<()> {
    let lone = LoneHub::trusted(|options| options.set("WSC_MAX_GROUPS", "2")).await?;
    let mut alice = WsClient::connect(lone.hub.client, &WsRequest::new("/ws?user_id=alice&groups=a")).await?;
    change(&mut alice, "join", "b").await?;
    assert_eq!(
        change(&mut alice, "join", "b").await?["status"],
        "complete",
        "being there already is no excess"
    );
    alice.send(&json!({"message_type": "join", "group": "c", "message_id": "j9"})).await?;
    let error = alice.expect("error").await?;
    assert_eq!((&error["code"], &error["message_id"]), (&json!("rate_limited"), &json!("j9")), "{error}");
    let put = lone.api()?.request(Method::PUT, "/v1/groups/c/members/alice", None).await?.ok()?;
    assert_eq!((&put["connections"], &put["nodes_answered"]), (&json!(0), &json!(1)), "{put}");
    change(&mut alice, "leave", "a").await?;
    let put = lone.api()?.request(Method::PUT, "/v1/groups/c/members/alice", None).await?.ok()?;
    assert_eq!(put["connections"], 1, "{put}");
    let request = WsRequest::new("/ws?user_id=bob&groups=a,b,c");
    WsClient::refused(lone.hub.client, &request).await?.problem(400, "bad_request")?;
    for gauge in ["wsc_groups", "wsc_group_memberships"] {
        assert_eq!(lone.api()?.metric(gauge).await?, 2, "{gauge}");
    }
    alice.close().await
}

#[tokio::test]
async fn names_of_groups_keep_the_grammar_everywhere() -> Result<()> {
    let lone = LoneHub::trusted(|options| options).await?;
    let api = lone.api()?;
    let long = "x".repeat(129);
    for bad in ["a%20b", "a%7Db", "z%C3%B6", "a%2Fb", "a%00", "%FF", &long] {
        for (method, path) in [
            (Method::POST, format!("/v1/groups/{bad}/messages")),
            (Method::PUT, format!("/v1/groups/{bad}/members/alice")),
            (Method::DELETE, format!("/v1/groups/{bad}/members/alice")),
            (Method::GET, format!("/v1/groups/{bad}")),
        ] {
            let answer = api.request(method.clone(), &path, Some("{\"content\":\"x\"}".into())).await?;
            answer.problem(400, "bad_request").map_err(|error| error.context(format!("{method} {path}")))?;
        }
    }
    api.request(Method::PUT, "/v1/groups/g/members/a%20b", None).await?.problem(400, "invalid_user_id")?;
    api.get("/v1/groups/g?after=a%20b").await?.problem(400, "invalid_user_id")?;
    assert_eq!(api.request(Method::GET, "/v1/groups/g/messages", None).await?.status, 405);
    assert_eq!(api.request(Method::POST, "/v1/groups/g", Some("{}".into())).await?.status, 405);
    assert_eq!(api.with_key(None).get("/v1/groups/g").await?.status, 401);
    api.post("/v1/groups/g/messages", &json!({"message_type": "join"})).await?.problem(400, "bad_request")?;

    let mut alice = lone.hub.connect("alice").await?;
    for frame in [
        json!({"message_type": "join"}),
        json!({"message_type": "join", "group": ""}),
        json!({"message_type": "leave", "group": "a b"}),
        json!({"message_type": "join", "group": long}),
        json!({"message_type": "join", "group": ["g"]}),
        json!({"group": "a}b", "content": "x"}),
        json!({"group": "g", "receiver": "bob", "content": "x"}),
        json!({"group": "g", "content": 5}),
    ] {
        alice.send(&frame).await?;
        alice.expect_error("bad_request").await.map_err(|error| error.context(frame.to_string()))?;
        alice.expect_nothing().await?;
    }
    // The whole grammar, `@` in front included, as one path part.
    let odd = "@A.b_c:d+e=f~g-h";
    assert_eq!(change(&mut alice, "join", odd).await?["group"], odd);
    assert_eq!(send(&lone, odd, "odd").await?["connections"], 1);
    assert_eq!(alice.expect_text("odd").await?["group"], odd);
    Ok(())
}
