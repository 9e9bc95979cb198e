//! Clients that read too slowly are closed; those beside them do not notice.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Result;
use serde_json::json;
use wsc_tests::{
    client_socket,
    lone_hub::LoneHub,
    scrape::Scrape,
    wait::{Look, eventually},
    ws_client::{Incoming, WsClient},
};

const READERS: usize = 500;
/// One in a hundred.
const STALLED: usize = 5;
const MESSAGES: u64 = 150;

/// Counts the messages that a client parses, until the last one or the end.
async fn count(mut client: WsClient, counted: Arc<AtomicU64>) -> Result<()> {
    loop {
        match client.next(Duration::from_secs(60)).await? {
            Incoming::Frame(frame) => {
                if frame["message_type"] == "text" {
                    counted.fetch_add(1, Ordering::Relaxed);
                }
                if frame["content"] == "last" {
                    return Ok(());
                }
            }
            Incoming::Close { code, reason } => anyhow::bail!("a reader was closed: {code} {reason}"),
            Incoming::Ended(how) => anyhow::bail!("a reader was cut off: {how}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_percent_of_stalled_readers_is_closed_within_5_s_and_the_others_lose_less_than_5_percent()
-> Result<()> {
    let lone = LoneHub::trusted(|options| {
        options.set("WSC_OUTBOUND_QUEUE_BYTES", "65536").set("WSC_MAX_MESSAGE_BYTES", "8192")
    })
    .await?;
    let counted = Arc::new(AtomicU64::new(0));
    let mut readers = tokio::task::JoinSet::new();
    for number in 0..READERS - STALLED {
        let client = lone.hub.connect(&format!("reader-{number}")).await?;
        readers.spawn(count(client, Arc::clone(&counted)));
    }
    let mut stalled = Vec::new();
    for number in 0..STALLED {
        stalled.push(client_socket::stalling(lone.hub.client, &format!("stalled-{number}")).await?);
    }
    let api = lone.api()?;
    let filler = json!({"content": "x".repeat(4000), "options": {"wait": "none"}});
    for sent in 1..=MESSAGES {
        let body =
            if sent == MESSAGES { &json!({"content": "last", "options": {"wait": "none"}}) } else { &filler };
        api.post("/v1/broadcast", body).await?.ok()?;
        // The pace of a reader that keeps up, on whatever machine this runs: what is lost then is the hub's fault.
        let least = (sent.saturating_sub(8)) * (READERS - STALLED) as u64;
        eventually("readers keep up", Duration::from_secs(60), async || {
            let now = counted.load(Ordering::Relaxed);
            Ok(Look::when(now >= least, (), format!("{now} of {least}")))
        })
        .await?;
    }
    let full = Instant::now();
    eventually("the stalled readers are closed", Duration::from_secs(5), async || {
        let scrape = Scrape::of(&api).await?;
        let closed = scrape.sum("wsc_closes_total", &["code=\"4004\"", "reason=\"too_slow\""])?;
        Ok(Look::when(closed == STALLED as f64, (), closed))
    })
    .await?;
    let took = full.elapsed();
    while let Some(reader) = readers.join_next().await {
        reader??;
    }
    let expected = MESSAGES * (READERS - STALLED) as u64;
    let got = counted.load(Ordering::Relaxed);
    println!("readers that keep up got {got} of {expected}; stalled readers closed after {took:?}");
    assert!(got * 100 > expected * 95, "{got} of {expected}");
    let scrape = Scrape::of(&api).await?;
    let slow = scrape.sum("wsc_frames_dropped_total", &["cause=\"slow\""])?;
    assert!(slow >= STALLED as f64, "frames of stalled readers are counted as drops: {slow}");
    assert_eq!(scrape.sum("wsc_frames_dropped_total", &["cause=\"budget\""])?, 0.0);
    lone.connections(0, Duration::from_secs(10)).await?;
    for mut reader in stalled {
        // Whatever reached the kernel before comes first, through a small window, then the reason.
        match reader.expect_close(4004, Duration::from_secs(30)).await {
            Ok(reason) => assert!(reason.contains("slow"), "{reason}"),
            // The hub waits for two seconds only for a close frame to find room.
            Err(error) => assert!(error.to_string().contains("Ended"), "{error}"),
        }
    }
    Ok(())
}
