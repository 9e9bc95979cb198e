//! SIGTERM begins a drain, continues one, or ends what is drained.

use std::time::{Duration, Instant};

use anyhow::Result;
use rustix::process::Signal;
use serde_json::json;
use wsc_tests::{hub_fleet::HubFleet, ws_client::PATIENCE};

use super::leavers::{Leavers, drain, phase};

/// How long a hub takes to leave the cluster and to stop, on a busy machine.
const STOPS: Duration = Duration::from_secs(6);

async fn fleet(settle: &str, grace: &str) -> Result<HubFleet> {
    HubFleet::start_with(2, |options| options.set("WSC_DRAIN_SETTLE", settle).set("WSC_GRACE", grace)).await
}

/// Sends SIGTERM to the first hub and waits for its end with 0.
async fn ends(fleet: &mut HubFleet, within: Duration) -> Result<Duration> {
    let began = Instant::now();
    let status = fleet.hubs[0].terminate(within).await?;
    assert_eq!(status.code(), Some(0), "{}", fleet.hubs[0].output());
    Ok(began.elapsed())
}

#[tokio::test]
async fn sigterm_settles_then_closes_at_the_rate_that_the_grace_needs_and_ends_in_time() -> Result<()> {
    let mut fleet = HubFleet::start_with(2, |options| {
        options.set("WSC_DRAIN_SETTLE", "1s").set("WSC_GRACE", "12s").set("WSC_DRAIN_RATE", "1")
    })
    .await?;
    let leavers = Leavers::connect(fleet.hubs[0].client, "guest", 200).await?;
    let began = Instant::now();
    fleet.hubs[0].process().signal(Signal::TERM)?;
    phase(&fleet.hubs[0], "draining", PATIENCE).await?;
    let late = fleet.hubs[0].connect("late").await;
    let settled = began.elapsed();
    assert!(late.is_ok() || settled > Duration::from_millis(900), "refused after {settled:?}: {late:?}");
    drop(late);
    let status = fleet.hubs[0].process().exit(Duration::from_secs(15)).await?;
    let took = began.elapsed();
    assert_eq!(status.code(), Some(0), "{}", fleet.hubs[0].output());
    let gone = leavers.are_gone(200, PATIENCE).await?;
    Leavers::were_sent_away(&gone, "drain", 1000)?;
    let (first, half) = (gone[0].at - began, gone[99].at - began);
    println!(
        "200 connections, grace 12 s: first closed after {first:?}, half {half:?}, ended after {took:?}"
    );
    assert!(took < Duration::from_secs(12), "{took:?}");
    assert!(first >= Duration::from_secs(1), "{first:?}");
    assert!(half > Duration::from_millis(1500), "paced: {half:?}");
    Ok(())
}

#[tokio::test]
async fn with_no_connections_or_when_drained_sigterm_ends_it_now() -> Result<()> {
    let mut empty = fleet("1m", "110s").await?;
    let took = ends(&mut empty, STOPS).await?;
    println!("without connections it ended after {took:?}");

    let mut drained = fleet("100ms", "110s").await?;
    let leavers = Leavers::connect(drained.hubs[0].client, "guest", 5).await?;
    drain(&drained.hubs[0], json!({"id": "d1"})).await?;
    leavers.are_gone(5, PATIENCE).await?;
    phase(&drained.hubs[0], "closed", PATIENCE).await?;
    let took = ends(&mut drained, STOPS).await?;
    println!("when drained it ended after {took:?}");
    Ok(())
}

#[tokio::test]
async fn with_no_other_node_to_go_to_nothing_is_paced() -> Result<()> {
    let options = |options: wsc_tests::hub_process::HubOptions| {
        options.set("WSC_DRAIN_SETTLE", "1m").set("WSC_DRAIN_RATE", "1")
    };
    let mut alone = HubFleet::start_with(1, options).await?;
    let leavers = Leavers::connect(alone.hubs[0].client, "guest", 100).await?;
    let took = ends(&mut alone, STOPS).await?;
    Leavers::were_sent_away(&leavers.are_gone(100, PATIENCE).await?, "drain", 1000)?;
    println!("alone with 100 connections it ended after {took:?}");

    // A node that drains takes nobody, so it does not count.
    let mut others_drain = HubFleet::start_with(2, options).await?;
    drain(&others_drain.hubs[1], json!({"id": "d1"})).await?;
    let leavers = Leavers::connect(others_drain.hubs[0].client, "guest", 100).await?;
    ends(&mut others_drain, STOPS).await?;
    Leavers::were_sent_away(&leavers.are_gone(100, PATIENCE).await?, "drain", 1000)
}

#[tokio::test]
async fn sigterm_continues_the_drain_of_an_operator_and_faster_if_need_be() -> Result<()> {
    let mut fleet = fleet("0s", "10s").await?;
    let leavers = Leavers::connect(fleet.hubs[0].client, "guest", 150).await?;
    drain(&fleet.hubs[0], json!({"id": "d1", "rate_per_second": 1, "retry_after_max_ms": 50})).await?;
    leavers.are_gone(2, PATIENCE).await?;
    fleet.hubs[0].process().signal(Signal::TERM)?;
    let status = phase(&fleet.hubs[0], "draining", PATIENCE).await?;
    assert_eq!(status["drain"]["id"], "d1", "{status}");
    let refused = super::leavers::admin(&fleet.hubs[0])?;
    // The signal and this request race; once it is heard nobody takes the drain back.
    wsc_tests::wait::eventually("the drain cannot be taken back", PATIENCE, async || {
        let status = refused.get("/admin/status").await?.ok()?;
        let heard = status["drain"]["deadline"].is_string();
        Ok(wsc_tests::wait::Look::when(heard, (), status))
    })
    .await?;
    refused.request(http::Method::DELETE, "/admin/drain", None).await?.problem(409, "draining")?;
    refused.post("/admin/drain", &json!({"id": "d2"})).await?.problem(409, "draining")?;
    let status = fleet.hubs[0].process().exit(Duration::from_secs(12)).await?;
    assert_eq!(status.code(), Some(0), "{}", fleet.hubs[0].output());
    let gone = leavers.are_gone(150, PATIENCE).await?;
    Leavers::were_sent_away(&gone, "drain", 50)
}

#[tokio::test]
async fn a_second_sigterm_closes_what_is_left_and_ends_it_at_once() -> Result<()> {
    let mut fleet = fleet("1m", "110s").await?;
    let leavers = Leavers::connect(fleet.hubs[0].client, "guest", 100).await?;
    fleet.hubs[0].process().signal(Signal::TERM)?;
    phase(&fleet.hubs[0], "draining", PATIENCE).await?;
    assert!(leavers.gone().is_empty(), "it settles");
    let took = ends(&mut fleet, Duration::from_secs(4)).await?;
    let gone = leavers.are_gone(100, PATIENCE).await?;
    Leavers::were_sent_away(&gone, "drain", 1000)?;
    println!("100 connections: ended {took:?} after the second signal");
    Ok(())
}
