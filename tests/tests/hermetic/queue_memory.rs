//! The memory of all outbound queues of a node together.

use std::time::Duration;

use anyhow::{Context as _, Result};
use futures::{StreamExt as _, TryStreamExt as _};
use serde_json::{Value, json};
use wsc_tests::{
    client_socket,
    hub_process::HubProcess,
    lone_hub::LoneHub,
    scrape::Scrape,
    wait::{Look, eventually},
};

const MIB: u64 = 1 << 20;
const SLOW: usize = 60;
const FAST: usize = 3;
/// Queues beside the large one; together they fill what it leaves of the budget.
const SMALL: usize = 12;
/// Queue memory of the node in these tests.
const BUDGET: u64 = 4 * MIB;

/// Memory of the process in bytes, as the kernel counts it.
fn resident(hub: &HubProcess) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", hub.pid()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kib: u64 = line.split_whitespace().next().context("no number")?.parse()?;
    Ok(kib * 1024)
}

async fn lone() -> Result<LoneHub> {
    LoneHub::trusted(|options| {
        options
            .set("WSC_QUEUE_MEMORY", &BUDGET.to_string())
            .set("WSC_OUTBOUND_QUEUE_BYTES", &MIB.to_string())
            .set("WSC_CLIENT_RATE", "1000")
    })
    .await
}

fn message(bytes: usize) -> Value {
    json!({"content": "x".repeat(bytes), "options": {"wait": "none"}})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_slow_readers_take_no_more_memory_than_the_budget_and_fast_readers_lose_nothing() -> Result<()> {
    let lone = lone().await?;
    let api = lone.api()?;
    let mut slow = Vec::new();
    for number in 0..SLOW {
        slow.push(client_socket::stalling(lone.hub.client, &format!("slow-{number}")).await?);
    }
    let mut fast = Vec::new();
    for number in 0..FAST {
        fast.push(lone.hub.connect(&format!("fast-{number}")).await?);
    }
    let before = resident(&lone.hub)?;
    let mut most = 0;
    // 75 MiB in all, each message a frame of its own, where each queue alone would take 1 MiB.
    let filler = message(50_000);
    for round in 0..25 {
        let sends = futures::stream::iter(0..SLOW).map(|number| {
            let (api, filler) = (&api, &filler);
            async move { api.post(&format!("/v1/users/slow-{number}/messages"), filler).await?.ok() }
        });
        sends.buffer_unordered(8).try_collect::<Vec<_>>().await?;
        for (number, reader) in fast.iter_mut().enumerate() {
            let content = format!("{round}");
            assert_eq!(api.send(&format!("fast-{number}"), &content).await?["status"], "delivered");
            reader.expect_text(&content).await?;
        }
        most = most.max(resident(&lone.hub)?);
    }
    // A session that is told to close has two seconds to find room for its close frame, and is counted after that.
    let scrape = eventually("slow readers are closed", Duration::from_secs(10), async || {
        let scrape = Scrape::of(&api).await?;
        let closed = scrape.sum("wsc_closes_total", &["code=\"4004\"", "reason=\"queue_memory\""])?;
        Ok(Look::when(closed >= 10.0, scrape, closed))
    })
    .await?;
    let closed = scrape.sum("wsc_closes_total", &["reason=\"queue_memory\""])?;
    println!("memory rose by {} MiB at most; {closed} slow readers closed", (most - before) / MIB);
    assert!(scrape.sum("wsc_frames_dropped_total", &["cause=\"budget\""])? >= closed);
    assert!(scrape.sum("wsc_queued_bytes", &[])? <= BUDGET as f64, "{}", scrape.text);
    // The budget, what the allocator keeps, and the requests under way; without a budget it would be 60 MiB more.
    assert!(most - before < 24 * MIB, "memory rose by {} bytes", most - before);
    for reader in &mut fast {
        reader.expect_nothing().await?;
    }
    Ok(())
}

#[tokio::test]
async fn the_largest_queue_is_closed_first_and_the_others_stay() -> Result<()> {
    let lone = lone().await?;
    let api = lone.api()?;
    let mut readers = vec![client_socket::stalling(lone.hub.client, "large").await?];
    for number in 0..SMALL {
        readers.push(client_socket::stalling(lone.hub.client, &format!("small-{number}")).await?);
    }
    let held = async |least: f64| -> Result<bool> {
        Ok(Scrape::of(&api).await?.sum("wsc_largest_queue_bytes", &[])? >= least)
    };
    // Up to 1 MB in the large queue: its own bound closes nobody.
    let part = message(40_000);
    while !held(900_000.0).await? {
        api.post("/v1/users/large/messages", &part).await?.ok()?;
    }
    // The others share the rest evenly, each with a third of the large one at most.
    let large = api.user("large").await?;
    assert_eq!(large["online"], true, "{large}");
    'filling: for _ in 0..200 {
        for number in 0..SMALL {
            api.post(&format!("/v1/users/small-{number}/messages"), &part).await?.ok()?;
            // Told by its queue, which is empty at once: the connection itself has two seconds for its close frame.
            if !held(600_000.0).await? {
                break 'filling;
            }
        }
    }
    eventually("the large queue is closed", Duration::from_secs(5), async || {
        let scrape = Scrape::of(&api).await?;
        let closed = scrape.sum("wsc_closes_total", &["reason=\"queue_memory\""])?;
        Ok(Look::when(closed >= 1.0, (), scrape.text))
    })
    .await?;
    eventually("the large one is offline", Duration::from_secs(5), async || {
        let large = api.user("large").await?;
        Ok(Look::when(large["online"] == false, (), large))
    })
    .await?;
    for number in 0..SMALL {
        assert_eq!(api.user(&format!("small-{number}")).await?["online"], true, "small-{number}");
    }
    Ok(())
}
