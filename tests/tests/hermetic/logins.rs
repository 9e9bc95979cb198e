//! Who is kept out or has to go: bans, revoked tokens, and too many connections of one user.

use anyhow::Result;
use http::Method;
use jsonwebtoken::Algorithm;
use serde_json::json;
use wsc_tests::{
    hub_fleet::{API_KEY, HubFleet},
    hub_process::{HubOptions, HubProcess},
    lone_hub::{LoneHub, TOKEN_SECRET},
    tokens::{self, unix_now},
    wait::{Look, eventually},
    ws_client::{Incoming, PATIENCE, Upgrade, WsClient, WsRequest},
};

async fn is_refused(fleet: &HubFleet, hub: usize, user: &str, status: u16, code: &str) -> Result<()> {
    let refused = WsClient::refused(fleet.hubs[hub].client, &WsRequest::user(user)).await?;
    refused.problem(status, code)?;
    Ok(())
}

#[tokio::test]
async fn a_ban_closes_everywhere_keeps_out_and_can_be_lifted() -> Result<()> {
    let fleet = HubFleet::start(3).await?;
    let mut first = fleet.hubs[0].connect("alice").await?;
    let mut second = fleet.hubs[1].connect("alice").await?;
    let body = json!({"reason": "spam", "notify": true, "ban_seconds": 600});
    let kicked = fleet.api(2)?.post("/v1/users/alice/kick", &body).await?.ok()?;
    assert_eq!(kicked["kicked_connections"], 2, "{kicked}");
    let until = kicked["banned_until"].as_str().unwrap_or_default().to_owned();
    assert!(until.starts_with("20") && until.ends_with('Z'), "{kicked}");
    for client in [&mut first, &mut second] {
        assert_eq!(client.expect("kick_out").await?["data"]["banned_until"], until.as_str());
        client.expect_close(4001, PATIENCE).await?;
    }
    for hub in 0..3 {
        is_refused(&fleet, hub, "alice", 403, "banned").await?;
        assert_eq!(fleet.user_has(hub, "alice", 0, PATIENCE).await?["banned_until"], until.as_str());
    }
    fleet.hubs[0].connect("bob").await?;
    let lifted = fleet.api(1)?.request(Method::DELETE, "/v1/users/alice/ban", None).await?;
    assert_eq!(lifted.status, 204);
    fleet.hubs[2].connect("alice").await?;
    assert_eq!(fleet.user_has(0, "alice", 0, PATIENCE).await?.get("banned_until"), None);
    Ok(())
}

#[tokio::test]
async fn a_connection_that_races_a_ban_never_stays() -> Result<()> {
    let fleet = HubFleet::start(2).await?;
    for round in 0..20 {
        let user = format!("racer-{round}");
        let body = json!({"ban_seconds": 600});
        let api = fleet.api(round % 2)?;
        let (path, request) = (format!("/v1/users/{user}/kick"), WsRequest::user(&user));
        let (upgrade, kicked) =
            tokio::join!(WsClient::upgrade(fleet.hubs[0].client, &request), api.post(&path, &body));
        kicked?.ok()?;
        match upgrade? {
            Upgrade::Refused(answer) => assert_eq!(answer.status, 403, "{}", answer.text),
            Upgrade::Open(mut client) => {
                // With or without a welcome before it.
                eventually("the racer is closed with 4001", PATIENCE, async || {
                    Ok(match client.next(PATIENCE).await? {
                        Incoming::Close { code, .. } => {
                            assert_eq!(code, 4001);
                            Look::Holds(())
                        }
                        other => Look::NotYet(format!("{other:?}")),
                    })
                })
                .await?;
            }
        }
        fleet.user_has(1, &user, 0, PATIENCE).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_known_ban_is_applied_while_redis_is_away_and_others_are_taken() -> Result<()> {
    let mut fleet = HubFleet::start(2).await?;
    let body = json!({"ban_seconds": 600});
    fleet.api(0)?.post("/v1/users/mallory/kick", &body).await?.ok()?;
    // The other node only heard of it.
    is_refused(&fleet, 0, "mallory", 403, "banned").await?;
    fleet.redis.kill().await?;
    for hub in 0..2 {
        let refused =
            eventually("the ban is known without redis", PATIENCE, async || {
                match WsClient::upgrade(fleet.hubs[hub].client, &WsRequest::user("mallory")).await? {
                    Upgrade::Refused(answer) => Ok(Look::Holds(answer)),
                    Upgrade::Open(_) => Ok(Look::NotYet("taken".to_owned())),
                }
            })
            .await?;
        refused.problem(403, "banned")?;
        fleet.hubs[hub].connect("alice").await?;
    }
    let unwritten = fleet.api(0)?.post("/v1/users/bob/kick", &body).await?;
    unwritten.problem(503, "registry_unavailable")?;
    Ok(())
}

#[tokio::test]
async fn nodes_can_refuse_clients_while_redis_is_away() -> Result<()> {
    let mut fleet = HubFleet::start_with(1, |options| options.set("WSC_ON_REGISTRY_DOWN", "refuse")).await?;
    let mut alice = fleet.hubs[0].connect("alice").await?;
    fleet.redis.kill().await?;
    let refused = WsClient::refused(fleet.hubs[0].client, &WsRequest::user("bob")).await?;
    refused.problem(503, "registry_unavailable")?;
    assert!(refused.headers.contains_key("retry-after"));
    alice.expect_nothing().await?;
    fleet.redis.run().await?;
    eventually("clients are taken again", PATIENCE, async || {
        Ok(match WsClient::upgrade(fleet.hubs[0].client, &WsRequest::user("bob")).await? {
            Upgrade::Open(_) => Look::Holds(()),
            Upgrade::Refused(answer) => Look::NotYet(answer.text),
        })
    })
    .await
}

#[tokio::test]
async fn a_users_oldest_connections_are_closed_on_every_node() -> Result<()> {
    let change = |options: HubOptions| options.set("WSC_MAX_CONNECTIONS_PER_USER", "2");
    let fleet = HubFleet::start_with(3, change).await?;
    let mut oldest = fleet.hubs[0].connect("alice").await?;
    let mut second = fleet.hubs[1].connect("alice").await?;
    let mut third = fleet.hubs[2].connect("alice").await?;
    oldest.expect_close(4002, PATIENCE).await?;
    fleet.user_has(0, "alice", 2, PATIENCE).await?;
    let mut fourth = fleet.hubs[2].connect("alice").await?;
    second.expect_close(4002, PATIENCE).await?;
    fleet.user_has(1, "alice", 2, PATIENCE).await?;
    for client in [&mut third, &mut fourth] {
        client.expect_nothing().await?;
    }
    Ok(())
}

#[tokio::test]
async fn or_the_newest_is_refused_and_connections_of_dead_nodes_do_not_count() -> Result<()> {
    let change =
        |options: HubOptions| options.set("WSC_MAX_CONNECTIONS_PER_USER", "2").set("WSC_ON_EXCESS", "reject");
    let mut fleet = HubFleet::start_with(2, change).await?;
    let mut first = fleet.hubs[0].connect("alice").await?;
    let _second = fleet.hubs[1].connect("alice").await?;
    let refused = WsClient::refused(fleet.hubs[0].client, &WsRequest::user("alice")).await?;
    refused.problem(429, "too_many_connections")?;
    assert!(refused.headers.contains_key("retry-after"));
    fleet.user_has(0, "alice", 2, PATIENCE).await?;
    first.expect_nothing().await?;
    fleet.hubs[1].kill().await?;
    eventually("the dead node's connection does not count", PATIENCE, async || {
        Ok(match WsClient::upgrade(fleet.hubs[0].client, &WsRequest::user("alice")).await? {
            Upgrade::Open(_) => Look::Holds(()),
            Upgrade::Refused(answer) => Look::NotYet(answer.text),
        })
    })
    .await
}

#[tokio::test]
async fn revoked_tokens_are_closed_with_4003_and_refused_and_newer_ones_are_taken() -> Result<()> {
    let lone = LoneHub::with_tokens(|options| options).await?;
    let token = |iat: Option<i64>| {
        let mut claims = tokens::claims("alice");
        if let Some(iat) = iat {
            claims["iat"] = json!(iat);
        }
        tokens::sign(Algorithm::HS256, None, TOKEN_SECRET, &claims)
    };
    let (old, without) = (token(Some(unix_now() - 60))?, token(None)?);
    let new = token(Some(unix_now() - 10))?;
    let mut clients = Vec::new();
    for token in [&old, &without, &new] {
        clients.push(WsClient::connect(lone.hub.client, &WsRequest::token(token)).await?);
    }
    let api = lone.hub.api(API_KEY)?;
    let before = (unix_now() - 30) * 1000;
    let revoked = api.post("/v1/users/alice/revoke", &json!({"before": before})).await?.ok()?;
    assert_eq!(
        (&revoked["before"], &revoked["closed_connections"]),
        (&json!(before), &json!(2)),
        "{revoked}"
    );
    for client in &mut clients[..2] {
        client.expect_close(4003, PATIENCE).await?;
    }
    clients[2].expect_nothing().await?;
    for token in [&old, &without] {
        let refused = WsClient::refused(lone.hub.client, &WsRequest::token(token)).await?;
        refused.problem(401, "invalid_token")?;
    }
    WsClient::connect(lone.hub.client, &WsRequest::token(&new)).await?;
    // An earlier time takes nothing back.
    let again = api.post("/v1/users/alice/revoke", &json!({"before": 5})).await?.ok()?;
    assert_eq!(again["before"], before);
    Ok(())
}

#[tokio::test]
async fn a_revocation_reaches_other_nodes() -> Result<()> {
    let fleet = HubFleet::start(2).await?;
    let mut first = fleet.hubs[0].connect("alice").await?;
    let mut second = fleet.hubs[1].connect("alice").await?;
    let revoked = fleet.api(0)?.post("/v1/users/alice/revoke", &json!({})).await?.ok()?;
    assert_eq!(revoked["closed_connections"], 2, "{revoked}");
    assert_eq!(revoked["nodes_expected"], revoked["nodes_answered"], "{revoked}");
    for client in [&mut first, &mut second] {
        client.expect_close(4003, PATIENCE).await?;
    }
    // In mode trusted there is no token that could be too old.
    let third = HubProcess::ready(&fleet.options("node-2")).await?;
    third.connect("alice").await?.expect_nothing().await?;
    Ok(())
}
