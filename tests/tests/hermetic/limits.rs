//! Bounds: connections of a node and of an address, how they come, and how clients send and read.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use wsc_tests::{
    client_socket,
    lone_hub::LoneHub,
    scrape::Scrape,
    wait::{Look, at_most, eventually},
    ws_client::{Incoming, PATIENCE, Upgrade, WsClient, WsRequest},
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

/// Reads until the hub ends the socket, and gives what came before.
async fn until_the_end(mut socket: TcpStream) -> Result<String> {
    let mut answer = Vec::new();
    let ended = at_most("the hub gives up", Duration::from_secs(8), socket.read_to_end(&mut answer)).await?;
    // A reset is an end too: the hub closes without reading what is still under way.
    drop(ended);
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

async fn ended_by(lone: &LoneHub, cause: &str) -> Result<f64> {
    Scrape::of(&lone.api()?).await?.sum("wsc_http_failures_total", &[&format!("cause=\"{cause}\"")])
}

#[tokio::test]
async fn sockets_that_send_nothing_or_a_header_that_does_not_end_are_given_up() -> Result<()> {
    let lone = LoneHub::trusted(|options| options.set("WSC_HANDSHAKE_TIMEOUT", "300ms")).await?;
    for begin in ["", "G", "GET /ws?user_id=a HTTP/1.1\r\nHost: x\r\n"] {
        let mut socket = TcpStream::connect(lone.hub.client).await?;
        socket.write_all(begin.as_bytes()).await?;
        assert_eq!(until_the_end(socket).await?, "", "{begin:?}");
    }
    assert!(ended_by(&lone, "header_timeout").await? >= 3.0);
    Ok(())
}

#[tokio::test]
async fn a_header_that_comes_byte_by_byte_has_no_more_time_than_another() -> Result<()> {
    let lone = LoneHub::trusted(|options| options.set("WSC_HANDSHAKE_TIMEOUT", "500ms")).await?;
    let (reading, mut writing) = TcpStream::connect(lone.hub.client).await?.into_split();
    let drip = async {
        for byte in b"GET /ws?user_id=a HTTP/1.1\r\nHost: x\r\nX-Slow: ".iter().chain([b'y'; 500].iter()) {
            if writing.write_all(&[*byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    };
    let began = Instant::now();
    let ended = async {
        let mut answer = Vec::new();
        let mut reading = reading;
        drop(reading.read_to_end(&mut answer).await);
        began.elapsed()
    };
    let took = tokio::select! {
        () = drip => anyhow::bail!("the whole header was taken"),
        took = ended => took,
    };
    assert!((Duration::from_millis(400)..Duration::from_secs(5)).contains(&took), "{took:?}");
    assert_eq!(ended_by(&lone, "header_timeout").await?, 1.0);
    Ok(())
}

#[tokio::test]
async fn a_header_over_16_kib_is_refused_with_431_and_one_below_is_not() -> Result<()> {
    let lone = LoneHub::trusted(|options| options).await?;
    let request = |bytes: usize| WsRequest::user("alice").header("X-Padding", &"x".repeat(bytes));
    for bytes in [17_000, 20_000] {
        let answer = WsClient::refused(lone.hub.client, &request(bytes)).await?;
        assert_eq!(answer.status, 431, "{bytes}");
    }
    assert_eq!(ended_by(&lone, "header_too_large").await?, 2.0);
    WsClient::connect(lone.hub.client, &request(15_000)).await?;
    Ok(())
}

#[tokio::test]
async fn sockets_are_accepted_at_the_rate_and_those_beyond_it_wait_and_are_served() -> Result<()> {
    let lone = LoneHub::trusted(|options| options.set("WSC_ACCEPT_RATE", "20")).await?;
    let began = Instant::now();
    let connects = (0..60).map(|number| {
        let address = lone.hub.client;
        async move { WsClient::connect(address, &WsRequest::user(&format!("u{number}"))).await }
    });
    let clients = futures::future::try_join_all(connects).await?;
    let took = began.elapsed();
    // A tenth of a second's worth may come at once.
    assert!(took > Duration::from_millis(2500), "60 at 20 per second within {took:?}");
    let delayed = Scrape::of(&lone.api()?).await?.sum("wsc_accepts_delayed_total", &["cause=\"rate\""])?;
    assert!(delayed >= 40.0, "{delayed}");
    assert_eq!(clients.len(), 60);
    Ok(())
}

#[tokio::test]
async fn beyond_4096_sockets_before_upgrade_a_client_waits_until_one_is_given_up() -> Result<()> {
    let lone = LoneHub::trusted(|options| {
        options.set("WSC_HANDSHAKE_TIMEOUT", "4s").set("WSC_ACCEPT_RATE", "100000")
    })
    .await?;
    let mut silent = Vec::new();
    for _ in 0..4200 {
        silent.push(TcpStream::connect(lone.hub.client).await?);
    }
    let delayed =
        async || Scrape::of(&lone.api()?).await?.sum("wsc_accepts_delayed_total", &["cause=\"sockets\""]);
    eventually("all places are taken", Duration::from_secs(4), async || {
        let delayed = delayed().await?;
        Ok(Look::when(delayed >= 1.0, (), delayed))
    })
    .await?;
    let mut alice = lone.hub.connect("alice").await?;
    alice.expect_nothing().await?;
    drop(silent);
    Ok(())
}

#[tokio::test]
async fn an_address_has_its_connections_and_no_more() -> Result<()> {
    let lone = LoneHub::trusted(|options| options.set("WSC_MAX_CONNECTIONS_PER_ADDRESS", "2")).await?;
    let first = lone.hub.connect("alice").await?;
    let _second = lone.hub.connect("bob").await?;
    let refused = WsClient::refused(lone.hub.client, &WsRequest::user("carol")).await?;
    refused.problem(429, "too_many_connections")?;
    let retry: u64 = refused.headers["retry-after"].to_str()?.parse()?;
    assert!((1..=60).contains(&retry), "{retry}");
    assert_eq!(lone.api()?.user("carol").await?["online"], false);
    let elsewhere = [127, 0, 0, 2].into();
    let other = client_socket::upgrade_from(elsewhere, lone.hub.client, &WsRequest::user("carol")).await?;
    WsClient::welcomed(other).await?;
    first.close().await?;
    eventually("the place is free again", Duration::from_secs(5), async || {
        match WsClient::upgrade(lone.hub.client, &WsRequest::user("dave")).await? {
            Upgrade::Open(_) => Ok(Look::Holds(())),
            Upgrade::Refused(answer) => Ok(Look::NotYet(answer.text)),
        }
    })
    .await?;
    let refusals = Scrape::of(&lone.api()?).await?;
    let counted = refusals.sum("wsc_handshake_refusals_total", &["code=\"too_many_connections\""])?;
    assert!(counted >= 1.0, "{}", refusals.text);
    Ok(())
}

#[tokio::test]
async fn a_refused_upgrade_ends_its_socket_so_that_attempts_are_paced_too() -> Result<()> {
    let lone = LoneHub::trusted(|options| options).await?;
    let mut socket = TcpStream::connect(lone.hub.client).await?;
    let attempt = "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    socket.write_all(attempt.as_bytes()).await?;
    let answer = until_the_end(socket).await?;
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("connection: close"), "{answer}");
    Ok(())
}

#[tokio::test]
async fn a_client_beyond_its_rate_is_told_and_can_go_on() -> Result<()> {
    let lone = LoneHub::trusted(|options| options.set("WSC_CLIENT_RATE", "5")).await?;
    let mut alice = lone.hub.connect("alice").await?;
    for number in 0..30 {
        alice.send(&json!({"message_type": "ping", "message_id": format!("p{number}")})).await?;
    }
    let (mut pongs, mut refused) = (0, 0);
    for _ in 0..30 {
        match alice.next(PATIENCE).await? {
            Incoming::Frame(frame) if frame["message_type"] == "pong" => pongs += 1,
            Incoming::Frame(frame) if frame["code"] == "rate_limited" => refused += 1,
            other => anyhow::bail!("{other:?}"),
        }
    }
    // Bursts of twice the rate; time goes on while thirty are sent.
    assert!((10..=25).contains(&pongs) && pongs + refused == 30, "{pongs} answered, {refused} refused");
    let scrape = Scrape::of(&lone.api()?).await?;
    assert_eq!(scrape.sum("wsc_bad_frames_total", &["code=\"rate_limited\""])?, f64::from(refused));
    eventually("the rate allows frames again", PATIENCE, async || {
        alice.send(&json!({"message_type": "ping", "message_id": "again"})).await?;
        let frame = alice.next(PATIENCE).await?;
        Ok(Look::when(format!("{frame:?}").contains("pong"), (), format!("{frame:?}")))
    })
    .await
}
