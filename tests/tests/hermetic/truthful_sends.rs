//! What a send says is what happened: silent nodes, clients that stop reading, order while something is tried again.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::Signal;
use serde_json::json;
use tokio::net::TcpSocket;
use wsc_tests::{
    hub_fleet::HubFleet,
    hub_process::HubProcess,
    wait::{Look, eventually},
    ws_client::{Incoming, PATIENCE, Upgrade, WsClient, WsRequest},
};

/// Hubs that may be paused for a while without losing their leases.
async fn patient_fleet(size: usize) -> Result<HubFleet> {
    HubFleet::start_with(size, |options| {
        options
            .set("WSC_LEASE", "20s")
            .set("WSC_HEARTBEAT_INTERVAL", "2s")
            .set("WSC_OUTBOUND_QUEUE_BYTES", "2097152")
    })
    .await
}

/// Waits until the node has waited in vain for a report.
async fn a_report_is_missed(fleet: &HubFleet, node: usize) -> Result<()> {
    eventually("a report was waited for in vain", PATIENCE, async || {
        let missed = fleet.api(node)?.metric("wsc_bus_reports_missed_total").await?;
        Ok(Look::when(missed > 0, (), format!("{missed} missed")))
    })
    .await
}

/// A client whose kernel takes little, so that one that does not read is noticed soon.
async fn narrow_client(hub: &HubProcess, user: &str) -> Result<WsClient> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(4096)?;
    let stream = socket.connect(hub.client).await?;
    match WsClient::upgrade_over(Box::new(stream), "hub", &WsRequest::user(user)).await? {
        Upgrade::Open(client) => WsClient::welcomed(Upgrade::Open(client)).await,
        Upgrade::Refused(answer) => bail!("refused: {}", answer.text),
    }
}

/// Sends large frames until one is not confirmed, then some more: how many were delivered and how many not.
async fn fill(fleet: &HubFleet, asked: usize, user: &str) -> Result<(usize, usize)> {
    let content = "x".repeat(60_000);
    let body = json!({"content": content, "options": {"timeout_ms": 400, "max_retries": 1}});
    let (mut delivered, mut unknown) = (0, 0);
    while unknown < 4 {
        let began = Instant::now();
        let sent = fleet.api(asked)?.post(&format!("/v1/users/{user}/messages"), &body).await?.ok()?;
        let took = began.elapsed();
        assert!(took < Duration::from_secs(3), "the receiver's patience is the sender's: {took:?} {sent}");
        match sent["status"].as_str() {
            Some("delivered") if unknown == 0 => delivered += 1,
            Some("unknown") => unknown += 1,
            _ => bail!("after {delivered} delivered and {unknown} unknown: {sent}"),
        }
        assert!(delivered < 1000, "60 MB went to a client that does not read");
    }
    assert!(delivered > 0);
    Ok((delivered, unknown))
}

#[tokio::test]
async fn a_node_that_was_silent_is_asked_again_and_delivers_once() -> Result<()> {
    let mut fleet = patient_fleet(2).await?;
    let mut bob = fleet.hubs[1].connect("bob").await?;
    let api = fleet.api(0)?;
    fleet.hubs[1].process().halt().await?;
    let body = json!({"content": "once", "options": {"timeout_ms": 8000, "max_retries": 3}});
    let sending = tokio::spawn(async move { api.post("/v1/users/bob/messages", &body).await?.ok() });
    a_report_is_missed(&fleet, 0).await?;
    fleet.hubs[1].process().signal(Signal::CONT)?;
    let sent = sending.await??;
    assert_eq!((&sent["status"], &sent["connections"]), (&json!("delivered"), &json!(1)), "{sent}");
    let retries = sent["total_retries"].as_u64().context("no total_retries")?;
    let attempts = sent["attempts"].as_array().with_context(|| format!("no attempts: {sent}"))?;
    assert!(retries >= 1 && attempts.len() as u64 == retries + 1, "{sent}");
    assert_eq!((&attempts[0]["status"], &attempts[0]["after_ms"]), (&json!("unknown"), &json!(0)), "{sent}");
    assert_eq!(attempts[attempts.len() - 1]["status"], "delivered", "{sent}");
    assert!(attempts[1]["after_ms"].as_u64() >= Some(1000), "a share of the time was waited: {sent}");
    bob.expect_text("once").await?;
    bob.expect_nothing().await
}

#[tokio::test]
async fn a_node_that_stays_silent_leaves_the_send_unknown_within_its_time() -> Result<()> {
    let mut fleet = patient_fleet(2).await?;
    let mut here = fleet.hubs[0].connect("alice").await?;
    let mut there = fleet.hubs[1].connect("alice").await?;
    let mut bob = fleet.hubs[1].connect("bob").await?;
    fleet.hubs[1].process().halt().await?;
    for (user, status, connections) in [("bob", "unknown", 0), ("alice", "partial", 1)] {
        let body = json!({"content": user, "options": {"timeout_ms": 1200, "max_retries": 2}});
        let began = Instant::now();
        let path = format!("/v1/users/{user}/messages");
        let sent = fleet.api(0)?.post(&path, &body).await?.ok()?;
        assert!(began.elapsed() < Duration::from_secs(4), "{sent}");
        assert_eq!((&sent["status"], &sent["connections"]), (&json!(status), &json!(connections)), "{sent}");
        assert!(sent["total_retries"].as_u64() >= Some(1), "{sent}");
    }
    here.expect_text("alice").await?;
    fleet.hubs[1].process().signal(Signal::CONT)?;
    // The copies that wait in Redis are one message.
    bob.expect_text("bob").await?;
    there.expect_text("alice").await?;
    assert_eq!(fleet.api(0)?.send("bob", "after").await?["status"], "delivered");
    bob.expect_text("after").await?;
    bob.expect_nothing().await?;
    there.expect_nothing().await
}

#[tokio::test]
async fn a_frame_in_the_hubs_queue_is_never_delivered_and_arrives_when_the_client_reads_on() -> Result<()> {
    let fleet = patient_fleet(2).await?;
    for (asked, user) in [(1, "same-node"), (0, "cross-node")] {
        let mut slow = narrow_client(&fleet.hubs[1], user).await?;
        let (delivered, unknown) = fill(&fleet, asked, user).await?;
        for number in 0..delivered + unknown {
            slow.expect("text")
                .await
                .with_context(|| format!("{user}: frame {number} of {delivered} + {unknown}"))?;
        }
        slow.expect_nothing().await?;
        let sent = fleet.api(asked)?.send(user, "reads again").await?;
        assert_eq!(sent["status"], "delivered", "{user}: {sent}");
        slow.expect_text("reads again").await?;
    }
    Ok(())
}

#[tokio::test]
async fn what_was_called_delivered_is_read_even_after_the_hub_was_killed() -> Result<()> {
    let mut fleet = patient_fleet(2).await?;
    let mut slow = narrow_client(&fleet.hubs[1], "slow").await?;
    let (delivered, unknown) = fill(&fleet, 0, "slow").await?;
    fleet.hubs[1].kill().await?;
    let mut read = 0;
    while let Incoming::Frame(_) = slow.next(PATIENCE).await? {
        read += 1;
    }
    assert!(read >= delivered, "{read} of {delivered} delivered frames were in the kernel");
    assert!(
        read < delivered + unknown,
        "the hub's own queue died with it, and its frames were not delivered"
    );
    Ok(())
}

async fn send_numbered(client: &mut WsClient, numbers: std::ops::Range<u32>) -> Result<()> {
    for number in numbers {
        let id = format!("m{number}");
        client.send(&json!({"receiver": "bob", "content": number.to_string(), "message_id": id})).await?;
    }
    Ok(())
}

#[tokio::test]
async fn later_messages_of_a_client_wait_behind_one_that_is_tried_again() -> Result<()> {
    let mut fleet = patient_fleet(2).await?;
    let mut alice = fleet.hubs[0].connect("alice").await?;
    let mut bob = fleet.hubs[1].connect("bob").await?;
    fleet.hubs[1].process().halt().await?;
    send_numbered(&mut alice, 0..10).await?;
    a_report_is_missed(&fleet, 0).await?;
    // Nine wait already, and sixteen may.
    send_numbered(&mut alice, 10..20).await?;
    let mut refused = Vec::new();
    for _ in 17..20 {
        let error = alice.expect("error").await?;
        assert_eq!(error["code"], "overloaded", "{error}");
        refused.push(error["message_id"].clone());
    }
    assert_eq!(refused, [json!("m17"), json!("m18"), json!("m19")]);
    fleet.hubs[1].process().signal(Signal::CONT)?;
    for number in 0..17 {
        bob.expect_text(&number.to_string()).await?;
        let result = alice.expect("result").await?;
        let expected = (json!(format!("m{number}")), json!("delivered"));
        assert_eq!((result["message_id"].clone(), result["status"].clone()), expected, "{result}");
    }
    bob.expect_nothing().await
}

#[tokio::test]
async fn a_broadcast_leaves_out_the_users_it_is_told_to_on_every_node() -> Result<()> {
    let fleet = HubFleet::start(3).await?;
    let mut clients = Vec::new();
    for hub in &fleet.hubs {
        for user in ["alice", "bob", "carol"] {
            clients.push((user, hub.connect(user).await?));
        }
    }
    let body = json!({"content": "not for bob", "exclude_users": ["nobody", "bob"]});
    for asked in 0..3 {
        let result = fleet.api(asked)?.post("/v1/broadcast", &body).await?.ok()?;
        let fields = ["status", "nodes_expected", "nodes_answered", "connections"].map(|f| result[f].clone());
        assert_eq!(fields, [json!("complete"), json!(3), json!(3), json!(6)], "{result}");
        for (user, client) in &mut clients {
            if *user != "bob" {
                client.expect_text("not for bob").await?;
            }
            client.expect_nothing().await?;
        }
    }
    Ok(())
}
