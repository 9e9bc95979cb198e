//! Bounds: connections of a node, and clients that read too slowly.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;
use wsc_tests::{
    lone_hub::LoneHub,
    ws_client::{PATIENCE, WsClient, WsRequest},
};

#[tokio::test]
async fn a_full_node_refuses_upgrades_and_stays_healthy() -> Result<()> {
    let lone = LoneHub::trusted(|options| options.set("WSC_MAX_CONNECTIONS", "2")).await?;
    let first = lone.hub.connect("alice").await?;
    let _second = lone.hub.connect("bob").await?;
    let refused = WsClient::refused(lone.hub.client, &WsRequest::user("carol")).await?;
    refused.problem(503, "node_full")?;
    let retry: u64 = refused.headers["retry-after"].to_str()?.parse()?;
    assert!((1..=60).contains(&retry), "{retry}");
    lone.hub.client_http()?.get("/health").await?.ok()?;
    assert_eq!(lone.api()?.user("carol").await?["online"], false, "a refused user leaves no record");
    first.close().await?;
    lone.connections(1, PATIENCE).await?;
    lone.hub.connect("carol").await?;
    Ok(())
}

#[tokio::test]
async fn a_slow_reader_is_closed_with_4004_and_others_lose_nothing() -> Result<()> {
    let lone = LoneHub::trusted(|options| options.set("WSC_OUTBOUND_QUEUE_BYTES", "131072")).await?;
    let mut slow = lone.hub.connect("slow").await?;
    let mut quick = lone.hub.connect("quick").await?;
    let api = lone.api()?;
    let content = "x".repeat(60_000);
    // Kernel buffers on loopback take some megabytes before the hub's own queue fills.
    let mut closed = false;
    for number in 0..1000 {
        let body = json!({"content": content, "options": {"wait": "none"}});
        let sent = api.post("/v1/users/slow/messages", &body).await?.ok()?;
        assert_eq!(api.send("quick", &number.to_string()).await?["status"], "delivered");
        quick.expect_text(&number.to_string()).await?;
        if sent["status"] != "accepted" {
            closed = true;
            break;
        }
    }
    assert!(closed, "60 MB were queued for a client that does not read");
    slow.expect_close(4004, PATIENCE).await?;
    lone.connections(1, PATIENCE).await?;
    assert_eq!(api.user("slow").await?["online"], false);
    quick.expect_nothing().await
}

#[tokio::test]
async fn a_header_that_does_not_end_is_given_up() -> Result<()> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let lone = LoneHub::trusted(|options| options.set("WSC_HANDSHAKE_TIMEOUT", "300ms")).await?;
    let mut socket = tokio::net::TcpStream::connect(lone.hub.client).await?;
    socket.write_all(b"GET /ws?user_id=a HTTP/1.1\r\nHost: x\r\n").await?;
    let mut answer = Vec::new();
    wsc_tests::wait::at_most("the hub gives up", Duration::from_secs(5), socket.read_to_end(&mut answer))
        .await??;
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    Ok(())
}

#[tokio::test]
async fn a_header_over_16_kib_is_refused() -> Result<()> {
    let lone = LoneHub::trusted(|options| options).await?;
    let request = WsRequest::user("alice").header("X-Padding", &"x".repeat(20_000));
    let answer = WsClient::refused(lone.hub.client, &request).await?;
    assert!(answer.status == 431 || answer.status == 400, "{}", answer.status);
    lone.hub.connect("alice").await?;
    Ok(())
}
