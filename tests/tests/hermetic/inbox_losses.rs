//! Stored messages when something breaks: notices, Redis, its data, its memory.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anyhow::{Result, ensure};
use rustix::process::Signal;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use wsc_tests::{
    hub_fleet::HubFleet,
    redis_server::{RedisOptions, RedisServer},
    tcp_proxy::{Flow, ProxiedRedis},
    wait::{Look, eventually},
    ws_client::{Incoming, PATIENCE},
};

use crate::inbox::{device, store};

/// All is well again within this, on a busy machine.
const HEALED: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_lost_notice_is_made_up_for_by_the_next_one() -> Result<()> {
    // A long lease: the silence itself is not noticed.
    let fleet = HubFleet::over(ProxiedRedis::start().await?, 2, |options| {
        options.set("WSC_LEASE", "60s").set("WSC_HEARTBEAT_INTERVAL", "15s")
    })
    .await?;
    let mut phone = device(&fleet.hubs[1], "alice", "phone", None).await?;
    phone.expect("resume_done").await?;
    let mut plain = fleet.hubs[1].connect("alice").await?;
    store(&fleet.api(0)?, "alice", "heard").await?;
    for client in [&mut phone, &mut plain] {
        client.expect_text("heard").await?;
    }
    fleet.redis.proxy.set(Flow::Pass, Flow::SwallowPushes);
    let body = json!({"content": "lost", "options": {"store": true, "timeout_ms": 300}});
    let lost = fleet.api(0)?.post("/v1/users/alice/messages", &body).await?.ok()?;
    assert_eq!(lost["status"], "stored", "{lost}");
    for client in [&mut phone, &mut plain] {
        client.expect_nothing().await?;
    }
    fleet.redis.proxy.set(Flow::Pass, Flow::Pass);
    store(&fleet.api(0)?, "alice", "next").await?;
    for client in [&mut phone, &mut plain] {
        client.expect_text("lost").await?;
        client.expect_text("next").await?;
        client.expect_nothing().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_lost_notice_is_made_up_for_when_the_node_hears_again() -> Result<()> {
    let fleet = HubFleet::over(ProxiedRedis::start().await?, 2, |options| options).await?;
    let mut phone = device(&fleet.hubs[1], "alice", "phone", None).await?;
    phone.expect("resume_done").await?;
    store(&fleet.api(0)?, "alice", "heard").await?;
    phone.expect_text("heard").await?;
    fleet.redis.proxy.set(Flow::Pass, Flow::SwallowPushes);
    let body = json!({"content": "lost", "options": {"store": true, "timeout_ms": 200}});
    fleet.api(0)?.post("/v1/users/alice/messages", &body).await?.ok()?;
    eventually("the silence is noticed", HEALED, async || {
        let output = fleet.hubs[1].output();
        Ok(Look::when(output.contains("no probe came for too long"), (), output))
    })
    .await?;
    fleet.redis.proxy.set(Flow::Pass, Flow::Pass);
    phone.expect_text("lost").await?;
    phone.expect_nothing().await
}

#[tokio::test]
async fn a_flushed_redis_is_told_as_a_gap() -> Result<()> {
    let fleet = HubFleet::start(2).await?;
    let mut phone = device(&fleet.hubs[1], "alice", "phone", None).await?;
    phone.expect("resume_done").await?;
    let before = store(&fleet.api(0)?, "alice", "before").await?;
    phone.expect_text("before").await?;
    fleet.redis.command::<()>("FLUSHALL").await?;
    fleet.user_has(0, "alice", 1, HEALED).await?;
    let after = store(&fleet.api(0)?, "alice", "after").await?;
    let gap = phone.expect("resume_gap").await?;
    assert_eq!(gap["data"]["from"], before["offset"], "{gap}");
    phone.expect_text("after").await?;
    // One that comes back with an offset of before is told as well.
    let offset = before["offset"].as_str();
    let mut again = device(&fleet.hubs[0], "alice", "phone", offset).await?;
    let gap = again.expect("resume_gap").await?;
    assert_eq!(gap["data"]["from"], before["offset"], "{gap}");
    assert_eq!(again.expect_text("after").await?["offset"], after["offset"]);
    again.expect("resume_done").await?;
    // And of somebody who has nothing any more.
    let mut bob = device(&fleet.hubs[0], "bob", "phone", offset).await?;
    let gap = bob.expect("resume_gap").await?;
    assert_eq!(gap["data"]["from"], before["offset"], "{gap}");
    bob.expect("resume_done").await?;
    Ok(())
}

#[tokio::test]
async fn while_redis_is_away_nothing_is_stored_and_devices_wait_for_their_inbox() -> Result<()> {
    let mut fleet = HubFleet::over(
        RedisServer::start(RedisOptions::default().config("appendonly yes").config("appendfsync always"))
            .await?,
        1,
        |options| options,
    )
    .await?;
    store(&fleet.api(0)?, "alice", "kept").await?;
    fleet.redis.kill().await?;
    let body = json!({"content": "x", "options": {"store": true}});
    eventually("stores are refused", PATIENCE, async || {
        let answer = fleet.api(0)?.post("/v1/users/alice/messages", &body).await?;
        Ok(Look::when(answer.status == 503, (), answer.text))
    })
    .await?;
    let refused = fleet.api(0)?.post("/v1/users/alice/messages", &body).await?;
    refused.problem(503, "registry_unavailable")?;
    let mut phone = device(&fleet.hubs[0], "alice", "phone", None).await?;
    phone.expect_nothing().await?;
    let live = fleet.api(0)?.send("alice", "live").await?;
    assert!(live["connections"] == 1, "{live}");
    phone.expect_text("live").await?;
    fleet.redis.run().await?;
    phone.expect_text("kept").await?;
    phone.expect("resume_done").await?;
    eventually("stores work again", HEALED, async || {
        let answer = fleet.api(0)?.post("/v1/users/alice/messages", &body).await?;
        Ok(Look::when(answer.status == 200, (), answer.text))
    })
    .await?;
    phone.expect_text("x").await?;
    Ok(())
}

#[tokio::test]
async fn beyond_four_fifths_of_redis_memory_stores_are_refused_and_live_messages_are_not() -> Result<()> {
    let fleet = HubFleet::start(2).await?;
    let mut phone = device(&fleet.hubs[1], "alice", "phone", None).await?;
    phone.expect("resume_done").await?;
    fleet.redis.command::<u64>("SETRANGE filler 40000000 x").await?;
    fleet.redis.command::<()>("CONFIG SET maxmemory 48000000").await?;
    let body = json!({"content": "x", "options": {"store": true}});
    eventually("stores are refused", PATIENCE, async || {
        let answer = fleet.api(0)?.post("/v1/users/bob/messages", &body).await?;
        Ok(Look::when(answer.status == 503, (), answer.text))
    })
    .await?;
    fleet.api(0)?.post("/v1/users/alice/messages", &body).await?.problem(503, "overloaded")?;
    assert_eq!(fleet.api(0)?.send("alice", "live").await?["status"], "delivered");
    phone.expect_text("live").await?;
    let metrics = fleet.api(0)?.get("/metrics").await?.text;
    let counted = metrics.lines().find_map(|line| line.strip_prefix("wsc_inbox_refused_memory_total "));
    assert!(counted.is_some_and(|count| count.parse::<u64>().is_ok_and(|count| count >= 2)), "{counted:?}");
    Ok(())
}

/// Stores for ten users from two nodes until told to stop; gives what was answered to be kept, by user.
async fn store_until(
    fleet: &HubFleet,
    (round, asked): (usize, usize),
    stop: &CancellationToken,
) -> Result<(BTreeMap<String, Vec<String>>, usize)> {
    let api = fleet.api(asked)?;
    let (mut kept, mut open): (BTreeMap<String, Vec<String>>, usize) = (BTreeMap::new(), 0);
    for n in 0.. {
        if stop.is_cancelled() {
            break;
        }
        let (user, content) = (format!("user-{}", n % 10), format!("{round}-{asked}-{n}"));
        let body = json!({"content": content, "options": {"store": true, "timeout_ms": 1000}});
        let answer = api.post(&format!("/v1/users/{user}/messages"), &body).await?;
        match answer.status.as_u16() {
            200 => match answer.json()?["status"].as_str() {
                Some("stored" | "delivered") => kept.entry(user).or_default().push(content),
                Some("unknown") => open += 1,
                other => anyhow::bail!("{other:?}"),
            },
            503 => tokio::time::sleep(Duration::from_millis(20)).await,
            _ => anyhow::bail!("{}", answer.text),
        }
    }
    Ok((kept, open))
}

#[tokio::test]
async fn nothing_that_was_answered_to_be_stored_is_missing_after_redis_was_killed() -> Result<()> {
    let options = RedisOptions::default().config("appendonly yes").config("appendfsync always");
    let mut fleet = HubFleet::over(RedisServer::start(options).await?, 2, |options| options).await?;
    let mut all: BTreeMap<String, Vec<Vec<String>>> = BTreeMap::new();
    let (mut stored, mut open) = (0, 0);
    for round in 0..2 {
        let stop = CancellationToken::new();
        let breaking = async {
            tokio::time::sleep(Duration::from_millis(1500)).await;
            stop.cancel();
        };
        // The first round ends with Redis killed under load, the second begins on what it kept.
        let kill = async {
            if round == 0 {
                tokio::time::sleep(Duration::from_millis(800)).await;
                fleet.redis.signal(Signal::KILL)?;
            }
            anyhow::Ok(())
        };
        let (first, second, killed, ()) = tokio::join!(
            store_until(&fleet, (round, 0), &stop),
            store_until(&fleet, (round, 1), &stop),
            kill,
            breaking
        );
        killed?;
        for (kept, unknown) in [first?, second?] {
            open += unknown;
            for (user, contents) in kept {
                stored += contents.len();
                all.entry(user).or_default().push(contents);
            }
        }
        if round == 0 {
            fleet.redis.kill().await.ok();
            fleet.redis.run().await?;
            eventually("stores work again", HEALED, async || {
                let body = json!({"content": "again", "options": {"store": true}});
                let answer = fleet.api(0)?.post("/v1/users/somebody/messages", &body).await?;
                Ok(Look::when(answer.status == 200, (), answer.text))
            })
            .await?;
        }
    }
    println!("{stored} stored while redis was killed, of {open} nobody knew");
    ensure!(stored > 50, "hardly anything was stored: {stored}");
    for (user, senders) in &all {
        let mut phone = device(&fleet.hubs[0], user, "phone", None).await?;
        let mut got = Vec::new();
        loop {
            let frame = match phone.next(PATIENCE).await? {
                Incoming::Frame(frame) => frame,
                other => anyhow::bail!("{other:?}"),
            };
            match frame["message_type"].as_str() {
                Some("resume_done") => break,
                Some("text") => got.push(frame["content"].as_str().unwrap_or_default().to_owned()),
                _ => anyhow::bail!("{frame}"),
            }
        }
        let distinct: BTreeSet<&String> = got.iter().collect();
        assert_eq!(distinct.len(), got.len(), "{user} got something twice");
        for contents in senders {
            let places: Vec<_> =
                contents.iter().map(|content| got.iter().position(|found| found == content)).collect();
            assert!(places.iter().all(Option::is_some), "{user} misses something of {contents:?}: {got:?}");
            assert!(places.is_sorted(), "{user} got it in another order");
        }
    }
    Ok(())
}
