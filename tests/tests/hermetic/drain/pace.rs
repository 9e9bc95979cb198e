//! Connections are closed evenly, and faster only where the time demands it.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::json;
use wsc_tests::hub_fleet::HubFleet;

use super::leavers::{Leavers, drain, phase};

#[tokio::test]
async fn five_thousand_connections_are_closed_at_five_hundred_a_second() -> Result<()> {
    const ALL: usize = 5000;
    const RATE: usize = 500;
    let fleet = HubFleet::start_with(2, |options| {
        options.set("WSC_DRAIN_SETTLE", "0s").set("WSC_ACCEPT_RATE", "100000")
    })
    .await?;
    let leavers = Leavers::connect(fleet.hubs[0].client, "guest", ALL).await?;
    drain(&fleet.hubs[0], json!({"id": "d1", "rate_per_second": RATE})).await?;
    let gone = leavers.are_gone(ALL, Duration::from_secs(40)).await?;
    Leavers::were_sent_away(&gone, "drain", 1000)?;
    let first = gone.iter().map(|departure| departure.at).min().unwrap_or_else(Instant::now);
    let seconds = ALL / RATE;
    let mut histogram = vec![0usize; seconds + 1];
    for departure in &gone {
        let second = usize::try_from((departure.at - first).as_secs())?.min(seconds);
        histogram[second] += 1;
    }
    println!("{ALL} connections at {RATE}/s, closes per second: {histogram:?}");
    for (second, closes) in histogram[..seconds].iter().enumerate() {
        assert!((RATE * 9 / 10..=RATE * 11 / 10).contains(closes), "second {second}: {histogram:?}");
    }
    phase(&fleet.hubs[0], "closed", Duration::from_secs(10)).await?;
    Ok(())
}

#[tokio::test]
async fn a_deadline_that_the_rate_cannot_meet_raises_it() -> Result<()> {
    let fleet = HubFleet::start(2).await?;
    let leavers = Leavers::connect(fleet.hubs[0].client, "guest", 300).await?;
    let began = Instant::now();
    let answer =
        drain(&fleet.hubs[0], json!({"id": "d1", "rate_per_second": 1, "deadline_ms": 6000})).await?;
    assert!(answer["drain"]["deadline"].is_string(), "{answer}");
    let gone = leavers.are_gone(300, Duration::from_secs(20)).await?;
    let took = began.elapsed();
    Leavers::were_sent_away(&gone, "drain", 1000)?;
    phase(&fleet.hubs[0], "closed", Duration::from_secs(10)).await?;
    let half = gone[149].at - began;
    println!("300 connections at 1/s with a deadline of 6 s: half after {half:?}, all after {took:?}");
    assert!(took < Duration::from_secs(6), "{took:?}");
    // Spread over the time there is, not closed at its end.
    assert!(half > Duration::from_secs(1) && half < Duration::from_secs(4), "{half:?}");
    Ok(())
}
