//! SIGTERM begins a drain, continues one, or ends what is drained.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use serde_json::json;
use wsc_tests::{
    api_client::{Answer, ApiClient},
    hub_fleet::HubFleet,
    ws_client::PATIENCE,
};

use super::leavers::{Leavers, drain, phase};
use crate::failure_table::crowd::Crowd;

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

/// Sends to a user on another node, one message after the other, until there is no answer. Gives each content and answer.
async fn send_until_it_is_gone(
    api: ApiClient,
    user: String,
    name: usize,
    stored: bool,
) -> Vec<(String, Answer)> {
    let mut answers = Vec::new();
    loop {
        let content = format!("{name} {}", answers.len());
        let body = json!({"content": content, "options": {"store": stored}});
        match api.post(&format!("/v1/users/{user}/messages"), &body).await {
            Ok(answer) => answers.push((content, answer)),
            Err(_) => return answers,
        }
        // A steady trickle, not a load test.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_node_answers_until_it_is_gone_is_as_true_as_before() -> Result<()> {
    let mut fleet = HubFleet::start(2).await?;
    let carol = Crowd::connect(&fleet.hubs[1], "carol", 1).await?;
    let user = carol.0[0].user.clone();
    let mut leaver = fleet.hubs[0].connect("leaver").await?;
    assert_eq!(fleet.api(0)?.send(&user, "first").await?["status"], "delivered");
    let mut backends = Vec::new();
    for (name, stored) in [(0, false), (1, false), (2, true)] {
        // Each has its own connection, which it keeps as long as the node lets it.
        let api = fleet.api(0)?;
        backends.push((stored, tokio::spawn(send_until_it_is_gone(api, user.clone(), name, stored))));
    }
    // Some of them are under way when the end begins.
    fleet.user_has(0, &user, 1, PATIENCE).await?;
    fleet.hubs[0].process().signal(Signal::TERM)?;
    leaver.expect_close(1012, PATIENCE).await?;
    let status = fleet.hubs[0].process().exit(PATIENCE).await?;
    ensure!(status.success(), "{status}: {}", fleet.hubs[0].output());
    let (mut live, mut kept, mut parted) = (0, 0, 0);
    for (stored, backend) in backends {
        for (content, answer) in backend.await? {
            let result = answer.ok()?;
            if stored {
                ensure!(result["offset"].is_string(), "{content}: {result}");
                kept += 1;
            } else {
                assert_eq!(result["status"], "delivered", "{content}: {result}");
                live += 1;
            }
            parted += usize::from(answer.headers.get("connection").is_some_and(|value| value == "close"));
            carol.each_got_once(&content, PATIENCE).await.with_context(|| result.to_string())?;
        }
    }
    println!(
        "{live} live and {kept} stored sends were answered, and came; {parted} were told to ask another node next"
    );
    assert!(live > 50 && kept > 20 && parted > 0, "{live}, {kept}, {parted}");
    Ok(())
}
