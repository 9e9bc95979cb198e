//! A node that dies without a word.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;
use wsc_tests::{
    hub_fleet::{HubFleet, LEASE},
    hub_process::HubProcess,
    reconnecting_client::ReconnectingClient,
    wait::{Look, eventually},
    ws_client::{PATIENCE, WsClient, WsRequest},
};

/// What users are promised: offline within the lease and 5 s.
const NOTICED: Duration = LEASE.saturating_add(Duration::from_secs(5));

#[tokio::test]
async fn the_users_of_a_killed_node_are_offline_within_the_lease_and_their_records_are_swept() -> Result<()> {
    let mut fleet = HubFleet::start(2).await?;
    let _alice = fleet.hubs[1].connect("alice").await?;
    let mut bob = fleet.hubs[0].connect("bob").await?;
    let found = fleet.user_has(0, "alice", 1, PATIENCE).await?;
    assert_eq!(found["nodes"], json!(["node-1"]));
    let incarnation = fleet.status(1).await?["incarnation"].as_str().unwrap_or_default().to_owned();
    let index = format!("wsc:idx:{{node-1}}:{incarnation}:*");
    assert!(!fleet.redis.keys(&index).await?.is_empty(), "the index was where the contract says");

    fleet.hubs[1].kill().await?;
    let meanwhile = fleet.api(0)?.send("alice", "are you there?").await?;
    assert_ne!(meanwhile["status"], "delivered", "{meanwhile}");

    fleet.user_has(0, "alice", 0, NOTICED).await?;
    assert_eq!(fleet.api(0)?.node_ids().await?, ["node-0"]);
    assert_eq!(fleet.api(0)?.send("alice", "gone").await?["status"], "offline");
    // Nobody asked for it: the other node sweeps what is left.
    fleet.redis.no_key(&index, NOTICED).await?;
    fleet.redis.no_key("wsc:{u:alice}:conn", NOTICED).await?;
    eventually("the dead node is no member", NOTICED, async || {
        let members: Vec<String> =
            redis::cmd("SMEMBERS").arg("wsc:nodes").query_async(&mut fleet.redis.connection().await?).await?;
        Ok(Look::when(members.len() == 1 && members[0].starts_with("node-0#"), (), format!("{members:?}")))
    })
    .await?;
    let result = fleet.api(0)?.broadcast("still here").await?;
    assert_eq!((&result["status"], &result["nodes_expected"]), (&json!("complete"), &json!(1)), "{result}");
    bob.expect_text("still here").await?;
    Ok(())
}

#[tokio::test]
async fn clients_of_a_killed_node_come_back_on_another() -> Result<()> {
    let mut fleet = HubFleet::start(2).await?;
    let addresses = [fleet.hubs[1].client, fleet.hubs[0].client];
    let client = ReconnectingClient::start(Box::new(move || {
        Box::pin(async move {
            // As behind a load balancer: the first node that answers.
            match WsClient::upgrade(addresses[0], &WsRequest::user("alice")).await {
                Ok(upgrade) => Ok(upgrade),
                Err(_) => WsClient::upgrade(addresses[1], &WsRequest::user("alice")).await,
            }
        })
    }));
    assert_eq!(client.connected(1, PATIENCE).await?, "node-1");
    fleet.hubs[1].kill().await?;
    assert_eq!(client.connected(2, PATIENCE).await?, "node-0");
    let sent = fleet.api(0)?.send("alice", "welcome back").await?;
    assert_eq!(sent["connections"], 1, "{sent}");
    client.received("welcome back", PATIENCE).await?;
    fleet.user_has(0, "alice", 1, NOTICED).await?;
    Ok(())
}

#[tokio::test]
async fn a_restarted_node_takes_its_name_back_after_the_lease() -> Result<()> {
    let mut fleet = HubFleet::start(2).await?;
    let before = fleet.status(1).await?["incarnation"].clone();
    fleet.hubs[1].kill().await?;
    let options = fleet.options("node-1");
    fleet.hubs[1] = HubProcess::ready(&options).await?;
    fleet.all_see(2).await?;
    let after = fleet.status(1).await?["incarnation"].clone();
    assert_ne!(before, after, "a new process is a new incarnation");
    let mut alice = fleet.hubs[1].connect("alice").await?;
    assert_eq!(fleet.api(0)?.send("alice", "hello again").await?["status"], "delivered");
    alice.expect_text("hello again").await?;
    Ok(())
}

#[tokio::test]
async fn a_container_that_restarts_in_its_pod_takes_its_name_back_at_once() -> Result<()> {
    // A lease so long that waiting for its end would fail the test.
    let change = |options: wsc_tests::hub_process::HubOptions| {
        options.set("WSC_POD_UID", "3f1b").set("WSC_LEASE", "50s").set("WSC_HEARTBEAT_INTERVAL", "1s")
    };
    let mut fleet = HubFleet::start_with(1, change).await?;
    fleet.hubs[0].kill().await?;
    let options = change(fleet.options("node-0"));
    fleet.hubs[0] = HubProcess::ready(&options).await?;
    Ok(())
}

#[tokio::test]
async fn a_node_that_finds_its_name_taken_waits_and_says_for_whom() -> Result<()> {
    let fleet = HubFleet::start(1).await?;
    let second = HubProcess::start(&fleet.options("node-0").set("WSC_POD_UID", "another")).await?;
    let admin = second.api(wsc_tests::hub_fleet::ADMIN_KEY)?;
    let error = eventually("the second says that the name is taken", PATIENCE, async || {
        let status = admin.get("/admin/status").await?.ok()?;
        let error = status["redis_error"].as_str().unwrap_or_default().to_owned();
        Ok(Look::when(error.starts_with("node_id_in_use: "), error, status))
    })
    .await?;
    assert!(error.contains("node-0"), "{error}");
    let health = second.client_http()?.get("/health").await?;
    assert_eq!((health.status.as_u16(), health.json()?["status"].clone()), (503, json!("starting")));
    let refused = WsClient::refused(second.client, &WsRequest::user("alice")).await?;
    refused.problem(503, "starting")?;
    assert!(refused.headers.contains_key("retry-after"));
    // The first is not disturbed.
    fleet.hubs[0].connect("alice").await?.expect_nothing().await
}
