//! A client that was cut off takes up its session on any node: same device, same groups, same login slot.

use std::time::Duration;

use anyhow::{Context as _, Result};
use jsonwebtoken::Algorithm;
use serde_json::{Value, json};
use wsc_tests::{
    api_client::ApiClient,
    hub_fleet::HubFleet,
    hub_process::HubProcess,
    lone_hub::{LoneHub, TOKEN_SECRET},
    tokens,
    wait::{Look, eventually},
    ws_client::{Incoming, PATIENCE, WsClient, WsRequest},
};

fn session_of(client: &WsClient) -> Result<String> {
    Ok(client.welcome["session"].as_str().with_context(|| client.welcome.to_string())?.to_owned())
}

/// Connects a user with more in the query, such as `&session=..`.
async fn connect(hub: &HubProcess, user: &str, more: &str) -> Result<WsClient> {
    WsClient::connect(hub.client, &WsRequest::new(&format!("/ws?user_id={user}{more}"))).await
}

async fn resume(hub: &HubProcess, user: &str, session: &str) -> Result<WsClient> {
    connect(hub, user, &format!("&session={session}")).await
}

async fn join(client: &mut WsClient, group: &str) -> Result<()> {
    client.send(&json!({"message_type": "join", "group": group, "message_id": "j"})).await?;
    let result = client.expect("result").await?;
    anyhow::ensure!(result["status"] == "complete", "{result}");
    Ok(())
}

/// Waits until the registry keeps these groups for the session, in any order.
async fn kept(fleet: &HubFleet, user: &str, session: &str, groups: &[&str]) -> Result<()> {
    eventually("the session is kept with its groups", PATIENCE, async || {
        let text: Option<String> =
            fleet.redis.command(&format!("GET wsc:{{u:{user}}}:session:{session}")).await?;
        let state: Value = serde_json::from_str(text.as_deref().unwrap_or("null"))?;
        let mut found: Vec<&str> = ["groups", "given"]
            .iter()
            .flat_map(|field| state[field].as_array().into_iter().flatten())
            .filter_map(Value::as_str)
            .collect();
        found.sort_unstable();
        Ok(Look::when(found == groups, (), state.clone()))
    })
    .await
}

async fn send_to_group(api: &ApiClient, group: &str, content: &str) -> Result<Value> {
    api.post(&format!("/v1/groups/{group}/messages"), &json!({"content": content})).await?.ok()
}

async fn closed_as_replaced(client: &mut WsClient) -> Result<()> {
    match client.next(PATIENCE).await? {
        Incoming::Close { code: 4002, .. } => Ok(()),
        other => anyhow::bail!("expected 4002, got {other:?}"),
    }
}

#[tokio::test]
async fn a_client_is_on_another_node_who_it_was() -> Result<()> {
    let fleet = HubFleet::start(2).await?;
    let api = fleet.api(0)?;
    let mut first = connect(&fleet.hubs[0], "alice", "&client_id=phone&groups=lobby").await?;
    assert_eq!(first.welcome["resumed"], false);
    let session = session_of(&first)?;
    assert!(session.len() == 32 && session.bytes().all(|b| b.is_ascii_hexdigit()), "{session}");
    join(&mut first, "room").await?;
    join(&mut first, "left").await?;
    first.send(&json!({"message_type": "leave", "group": "left", "message_id": "l"})).await?;
    first.expect("result").await?;
    api.request(http::Method::PUT, "/v1/groups/given/members/alice", None).await?.ok()?;
    kept(&fleet, "alice", &session, &["given", "lobby", "room"]).await?;
    drop(first);
    let mut second = resume(&fleet.hubs[1], "alice", &session).await?;
    assert_eq!((&second.welcome["resumed"], &second.welcome["client_id"]), (&json!(true), &json!("phone")));
    assert_ne!(session_of(&second)?, session, "each connection has its own");
    for group in ["lobby", "room", "given"] {
        let sent = send_to_group(&api, group, group).await?;
        assert_eq!(
            (&sent["status"], &sent["connections"]),
            (&json!("complete"), &json!(1)),
            "{group} {sent}"
        );
        second.expect_text(group).await?;
    }
    assert_eq!(send_to_group(&api, "left", "x").await?["connections"], 0);
    Ok(())
}

#[tokio::test]
async fn an_old_connection_that_is_still_there_gives_way_without_needing_room() -> Result<()> {
    let fleet = HubFleet::start_with(2, |options| {
        options.set("WSC_MAX_CONNECTIONS_PER_USER", "2").set("WSC_ON_EXCESS", "reject")
    })
    .await?;
    let mut phone = connect(&fleet.hubs[0], "alice", "").await?;
    let mut tablet = connect(&fleet.hubs[1], "alice", "&client_id=tablet").await?;
    let device = phone.welcome["client_id"].clone();
    let mut again = resume(&fleet.hubs[1], "alice", &session_of(&phone)?).await?;
    assert_eq!((&again.welcome["resumed"], &again.welcome["client_id"]), (&json!(true), &device));
    closed_as_replaced(&mut phone).await?;
    fleet.user_has(0, "alice", 2, PATIENCE).await?;
    let refused = WsClient::refused(fleet.hubs[0].client, &WsRequest::user("alice")).await?;
    refused.problem(429, "too_many_connections")?;
    assert_eq!(fleet.api(0)?.send("alice", "hi").await?["connections"], 2);
    tablet.expect_text("hi").await?;
    again.expect_text("hi").await?;
    Ok(())
}

#[tokio::test]
async fn a_device_has_one_connection_the_newest() -> Result<()> {
    let fleet = HubFleet::start(2).await?;
    let mut first = connect(&fleet.hubs[0], "alice", "&client_id=phone").await?;
    let mut other = connect(&fleet.hubs[0], "alice", "&client_id=phone-2").await?;
    let mut bobs = connect(&fleet.hubs[0], "bob", "&client_id=phone").await?;
    let mut second = connect(&fleet.hubs[1], "alice", "&client_id=phone").await?;
    assert_eq!(second.welcome["resumed"], false);
    closed_as_replaced(&mut first).await?;
    let mut third = connect(&fleet.hubs[1], "alice", "&client_id=phone").await?;
    closed_as_replaced(&mut second).await?;
    fleet.user_has(1, "alice", 2, PATIENCE).await?;
    for client in [&mut other, &mut bobs, &mut third] {
        client.expect_nothing().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_session_is_nobody_elses_and_no_other_devices() -> Result<()> {
    let fleet = HubFleet::start(1).await?;
    let hub = &fleet.hubs[0];
    let mut alice = connect(hub, "alice", "&client_id=phone&groups=room").await?;
    let session = session_of(&alice)?;
    kept(&fleet, "alice", &session, &["room"]).await?;
    let eve = resume(hub, "eve", &session).await?;
    assert_eq!(eve.welcome["resumed"], false);
    let tablet = connect(hub, "alice", &format!("&client_id=tablet&session={session}")).await?;
    assert_eq!((&tablet.welcome["resumed"], &tablet.welcome["client_id"]), (&json!(false), &json!("tablet")));
    alice.expect_nothing().await?;
    assert_eq!(send_to_group(&fleet.api(0)?, "room", "x").await?["connections"], 1);
    for bad in ["x", "0123456789ABCDEF0123456789ABCDEF", "..%2f"] {
        let request = WsRequest::new(&format!("/ws?user_id=alice&session={bad}"));
        WsClient::refused(hub.client, &request).await?.problem(400, "bad_request")?;
    }
    let unknown = resume(hub, "alice", "0123456789abcdef0123456789abcdef").await?;
    assert_eq!(unknown.welcome["resumed"], false);
    Ok(())
}

#[tokio::test]
async fn it_lasts_for_its_window_and_not_beyond_a_kick() -> Result<()> {
    let fleet = HubFleet::start_with(2, |options| options.set("WSC_RESUME_WINDOW", "2s")).await?;
    let old = connect(&fleet.hubs[0], "alice", "&client_id=phone").await?;
    let session = session_of(&old)?;
    old.close().await?;
    fleet.user_has(1, "alice", 0, PATIENCE).await?;
    assert_eq!(resume(&fleet.hubs[1], "alice", &session).await?.welcome["resumed"], true);
    let pattern = format!("wsc:{{u:alice}}:session:{session}");
    eventually("the window ends", Duration::from_secs(10), async || {
        let left: i64 = fleet.redis.command(&format!("EXISTS {pattern}")).await?;
        Ok(Look::when(left == 0, (), left))
    })
    .await?;
    assert_eq!(resume(&fleet.hubs[1], "alice", &session).await?.welcome["resumed"], false);

    let gone = connect(&fleet.hubs[0], "bob", "&client_id=tablet").await?;
    let there = connect(&fleet.hubs[1], "bob", "&client_id=phone").await?;
    let sessions = [session_of(&gone)?, session_of(&there)?];
    drop(gone);
    fleet.user_has(0, "bob", 1, PATIENCE).await?;
    fleet.api(0)?.kick("bob", "enough").await?;
    drop(there);
    fleet.user_has(0, "bob", 0, PATIENCE).await?;
    for session in &sessions {
        assert_eq!(resume(&fleet.hubs[0], "bob", session).await?.welcome["resumed"], false);
    }
    Ok(())
}

#[tokio::test]
async fn a_client_of_a_node_that_was_killed_finds_its_session() -> Result<()> {
    let mut fleet = HubFleet::start(2).await?;
    let mut client = connect(&fleet.hubs[0], "alice", "&client_id=phone").await?;
    join(&mut client, "room").await?;
    let session = session_of(&client)?;
    kept(&fleet, "alice", &session, &["room"]).await?;
    fleet.hubs[0].kill().await?;
    let mut client = resume(&fleet.hubs[1], "alice", &session).await?;
    assert_eq!(client.welcome["resumed"], true);
    send_to_group(&fleet.api(1)?, "room", "hi").await?;
    client.expect_text("hi").await?;
    Ok(())
}

#[tokio::test]
async fn todays_token_decides_which_groups_a_session_keeps() -> Result<()> {
    let lone = LoneHub::with_tokens(|options| options).await?;
    let claims = |join: &[&str]| json!({"sub": "alice", "exp": tokens::unix_now() + 600, "wsc": {"client_id": "phone", "join": join}});
    let mut first = lone.connect_with(&claims(&["room-*"])).await?;
    join(&mut first, "room-1").await?;
    join(&mut first, "room-2").await?;
    lone.api()?.request(http::Method::PUT, "/v1/groups/given/members/alice", None).await?.ok()?;
    let session = session_of(&first)?;
    // The embedded registry hears of groups soon after the answer.
    let mut second = eventually("the session has all groups", PATIENCE, async || {
        let token = tokens::sign(Algorithm::HS256, None, TOKEN_SECRET, &claims(&["room-2"]))?;
        let request = WsRequest::new(&format!("/ws?session={session}"))
            .header("Authorization", &format!("Bearer {token}"));
        let client = WsClient::connect(lone.hub.client, &request).await?;
        let listing = lone.api()?.get("/v1/groups/room-2").await?.ok()?;
        let there = listing["members"].as_array().is_some_and(|members| !members.is_empty());
        Ok(if there { Look::Holds(client) } else { Look::NotYet(listing.to_string()) })
    })
    .await?;
    assert_eq!(second.welcome["resumed"], true);
    for (group, members) in [("room-1", 0), ("room-2", 1), ("given", 1)] {
        assert_eq!(send_to_group(&lone.api()?, group, group).await?["connections"], members, "{group}");
    }
    second.expect_text("room-2").await?;
    second.expect_text("given").await?;
    Ok(())
}

#[tokio::test]
async fn sessions_can_be_off() -> Result<()> {
    let lone = LoneHub::trusted(|options| options.set("WSC_RESUME_WINDOW", "0s")).await?;
    let client = lone.hub.connect("alice").await?;
    assert_eq!((client.welcome.get("session"), &client.welcome["resumed"]), (None, &json!(false)));
    let client = resume(&lone.hub, "alice", "0123456789abcdef0123456789abcdef").await?;
    assert_eq!(client.welcome["resumed"], false);
    Ok(())
}
