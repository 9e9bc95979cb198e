//! SIGTERM: clients are told, records are gone, the process ends with 0.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use rustix::process::Signal;
use serde_json::json;
use wsc_tests::{
    hub_fleet::HubFleet,
    lone_hub::LoneHub,
    wait::{Look, eventually},
    ws_client::{Incoming, PATIENCE, WsClient, WsRequest},
};

#[tokio::test]
async fn clients_hear_going_away_and_then_1012_with_a_reason() -> Result<()> {
    let mut lone = LoneHub::trusted(|options| options).await?;
    let mut clients = Vec::new();
    for user in ["alice", "bob", "carol"] {
        clients.push(lone.hub.connect(user).await?);
    }
    lone.hub.process().signal(Signal::TERM)?;
    for client in &mut clients {
        let notice = client.expect("going_away").await?;
        assert!(notice["data"]["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{notice}");
        assert!(notice["data"]["retry_after_ms"].is_u64(), "{notice}");
        client.expect_close(1012, PATIENCE).await?;
    }
    let status = lone.hub.process().exit(Duration::from_secs(10)).await?;
    assert_eq!(status.code(), Some(0), "{}", lone.hub.output());
    Ok(())
}

#[tokio::test]
async fn a_node_that_ends_takes_its_records_along_and_the_others_see_it_at_once() -> Result<()> {
    let mut fleet = HubFleet::start_with(2, |options| {
        // Long enough that only deregistration can explain what is seen.
        options.set("WSC_LEASE", "8s").set("WSC_HEARTBEAT_INTERVAL", "1s")
    })
    .await?;
    fleet.whole().await?;
    let mut alice = fleet.hubs[1].connect("alice").await?;
    let _bob = fleet.hubs[0].connect("bob").await?;
    assert_eq!(fleet.api(0)?.user("alice").await?["online"], true);
    let reader = tokio::spawn(async move { alice.expect_close(1012, PATIENCE).await });
    let status = fleet.hubs[1].terminate(Duration::from_secs(10)).await?;
    assert_eq!(status.code(), Some(0), "{}", fleet.hubs[1].output());
    reader.await??;

    assert_eq!(fleet.redis.keys("wsc:lease:{node-1}").await?, Vec::<String>::new());
    assert_eq!(fleet.redis.keys("wsc:idx:{node-1}*").await?, Vec::<String>::new());
    // Alice was sent away: for a moment the registry says that she is expected back.
    eventually("the record of alice is gone", Duration::from_secs(10), async || {
        let keys = fleet.redis.keys("wsc:{u:alice}:conn*").await?;
        Ok(Look::when(keys.is_empty(), (), format!("{keys:?}")))
    })
    .await?;
    let members: Vec<String> =
        redis::cmd("SMEMBERS").arg("wsc:nodes").query_async(&mut fleet.redis.connection().await?).await?;
    assert!(members.iter().all(|member| member.starts_with("node-0#")), "{members:?}");
    fleet.hubs.pop();
    fleet.all_see(1).await?;
    let result = fleet.api(0)?.broadcast("x").await?;
    assert_eq!((&result["status"], &result["nodes_expected"]), (&json!("complete"), &json!(1)), "{result}");
    assert_eq!(fleet.api(0)?.send("alice", "x").await?["status"], "offline");
    Ok(())
}

#[tokio::test]
async fn health_is_503_and_upgrades_are_refused_while_it_drains() -> Result<()> {
    let mut lone = LoneHub::trusted(|options| options).await?;
    // It does not read, so its close takes the hub's bounded wait.
    let mut asleep = lone.hub.connect("asleep").await?;
    let http = lone.hub.client_http()?;
    lone.hub.process().signal(Signal::TERM)?;
    eventually("health says draining", Duration::from_secs(3), async || {
        let answer = http.get("/health").await?;
        let status = answer.json()?["status"].clone();
        Ok(Look::when(answer.status == 503 && status == "draining", (), answer.text))
    })
    .await?;
    let refused = WsClient::refused(lone.hub.client, &WsRequest::user("late")).await?;
    refused.problem(503, "draining")?;
    assert!(refused.headers.contains_key("retry-after"));
    assert_eq!(http.get("/livez").await?.status, 200);
    asleep.expect_close(1012, PATIENCE).await?;
    let status = lone.hub.process().exit(Duration::from_secs(10)).await?;
    assert_eq!(status.code(), Some(0), "{}", lone.hub.output());
    Ok(())
}

#[tokio::test]
async fn a_client_that_never_answers_its_close_holds_nobody_up() -> Result<()> {
    let mut lone = LoneHub::trusted(|options| options).await?;
    let _asleep = lone.hub.connect("asleep").await?;
    let start = Instant::now();
    let status = lone.hub.terminate(Duration::from_secs(10)).await?;
    assert_eq!(status.code(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
    Ok(())
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() -> Result<()> {
    let mut lone = LoneHub::trusted(|options| options).await?;
    let _asleep = lone.hub.connect("asleep").await?;
    let http = lone.hub.client_http()?;
    lone.hub.process().signal(Signal::TERM)?;
    eventually("the first signal is heard", Duration::from_secs(3), async || {
        let answer = http.get("/health").await?;
        Ok(Look::when(answer.status == 503, (), answer.text))
    })
    .await?;
    let start = Instant::now();
    lone.hub.process().signal(Signal::TERM)?;
    let status = lone.hub.process().exit(Duration::from_secs(5)).await?;
    assert_eq!(status.code(), Some(0), "{}", lone.hub.output());
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    Ok(())
}

#[tokio::test]
async fn sigint_ends_it_as_sigterm_does() -> Result<()> {
    let mut lone = LoneHub::trusted(|options| options).await?;
    let mut alice = lone.hub.connect("alice").await?;
    lone.hub.process().signal(Signal::INT)?;
    match alice.next(PATIENCE).await? {
        Incoming::Frame(frame) if frame["message_type"] == "going_away" => {}
        other => bail!("{other:?}"),
    }
    alice.expect_close(1012, PATIENCE).await?;
    assert_eq!(lone.hub.process().exit(Duration::from_secs(10)).await?.code(), Some(0));
    Ok(())
}
