//! Revoked tokens and renewals of tokens, together.

use std::time::Duration;

use anyhow::Result;
use jsonwebtoken::Algorithm;
use serde_json::{Value, json};
use wsc_tests::{
    hub_fleet::HubFleet,
    lone_hub::TOKEN_SECRET,
    scratch_dir::ScratchDir,
    tokens::{claims, sign, unix_now},
    wait::{Look, eventually},
    ws_client::{PATIENCE, WsClient, WsRequest},
};

/// A token of alice that was issued so many seconds ago.
fn issued(seconds_ago: i64) -> Result<String> {
    let mut claims = claims("alice");
    claims["iat"] = json!(unix_now() - seconds_ago);
    sign(Algorithm::HS256, None, TOKEN_SECRET, &claims)
}

/// Two nodes in mode token; the folder holds their key.
async fn fleet() -> Result<(HubFleet, ScratchDir)> {
    let keys = ScratchDir::new("token-keys")?;
    keys.write("default.key", TOKEN_SECRET)?;
    let path = keys.path().to_owned();
    let fleet = HubFleet::start_with(2, |options| {
        options.set("WSC_AUTH_MODE", "token").set_path("WSC_AUTH_KEYS_DIR", &path)
    })
    .await?;
    Ok((fleet, keys))
}

async fn connect(fleet: &HubFleet, node: usize, token: &str) -> Result<WsClient> {
    WsClient::connect(fleet.hubs[node].client, &WsRequest::token(token)).await
}

async fn renew(client: &mut WsClient, token: &str) -> Result<()> {
    client.send(&json!({"message_type": "auth", "data": {"token": token}, "message_id": "a1"})).await?;
    assert_eq!(client.expect("result").await?["status"], "renewed");
    Ok(())
}

/// Revokes what was issued more than so many seconds ago; gives how many connections were closed.
async fn revoke(fleet: &HubFleet, seconds_ago: i64) -> Result<Value> {
    let before = (unix_now() - seconds_ago) * 1000;
    let path = "/v1/users/alice/revoke";
    let revoked = fleet.api(1)?.post(path, &json!({"before": before})).await?.ok()?;
    assert_eq!(revoked["nodes_expected"], revoked["nodes_answered"], "{revoked}");
    Ok(revoked["closed_connections"].clone())
}

#[tokio::test]
async fn a_renewed_connection_is_judged_by_its_new_token_by_every_later_word() -> Result<()> {
    let (fleet, _keys) = fleet().await?;
    let mut renewed = connect(&fleet, 0, &issued(200)?).await?;
    let mut stale = connect(&fleet, 0, &issued(200)?).await?;
    renew(&mut renewed, &issued(20)?).await?;
    assert_eq!(revoke(&fleet, 100).await?, json!(1), "only the one with the old token");
    stale.expect_close(4003, PATIENCE).await?;
    renewed.expect_nothing().await?;

    // The entry is lost and the nodes lose sight of Redis, so all connections are asserted, under the revocation.
    let mut redis = fleet.redis.connection().await?;
    redis::cmd("DEL").arg("wsc:{u:alice}:conn").exec_async(&mut redis).await?;
    redis::cmd("CLIENT").arg("KILL").arg("TYPE").arg("normal").exec_async(&mut redis).await?;
    fleet.user_has(1, "alice", 1, Duration::from_secs(10)).await?;
    let body = json!({"content": "anybody?", "exclude_users": ["alice"]});
    eventually("the nodes hear each other again", Duration::from_secs(10), async || {
        let heard = fleet.api(1)?.post("/v1/broadcast", &body).await?.ok()?;
        Ok(Look::when(heard["status"] == "complete" && heard["nodes_expected"] == 2, (), heard))
    })
    .await?;
    renewed.expect_nothing().await?;

    assert_eq!(revoke(&fleet, 60).await?, json!(0), "a second one of older tokens");
    renewed.expect_nothing().await?;
    assert_eq!(revoke(&fleet, 10).await?, json!(1), "one of the new token too");
    renewed.expect_close(4003, PATIENCE).await?;
    Ok(())
}

#[tokio::test]
async fn a_renewal_with_a_token_that_was_revoked_unheard_closes_the_connection() -> Result<()> {
    let (fleet, _keys) = fleet().await?;
    let mut newer = connect(&fleet, 0, &issued(200)?).await?;
    let mut older = connect(&fleet, 0, &issued(200)?).await?;
    // Written, but told to no node: as after a revocation whose messages were lost.
    let before = (unix_now() - 60) * 1000;
    let mut redis = fleet.redis.connection().await?;
    redis::cmd("SET").arg("wsc:{u:alice}:revoked").arg(before).exec_async(&mut redis).await?;
    renew(&mut newer, &issued(20)?).await?;
    renew(&mut older, &issued(100)?).await?;
    let reason = older.expect_close(4003, PATIENCE).await?;
    assert!(reason.contains("revoked"), "{reason}");
    newer.expect_nothing().await?;
    fleet.user_has(1, "alice", 1, Duration::from_secs(10)).await?;
    Ok(())
}
