//! The registry of who is where: what it costs, and what it says while it is being filled again.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use serde_json::json;
use wsc_tests::{
    api_client::ApiClient,
    hub_fleet::HubFleet,
    redis_server::RedisServer,
    wait::{Look, eventually},
};

/// What users are promised after Redis returns.
const HEALED: Duration = Duration::from_secs(10);

/// Calls of each command since the last reset.
async fn calls(redis: &RedisServer) -> Result<BTreeMap<String, u64>> {
    let text: String =
        redis::cmd("INFO").arg("commandstats").query_async(&mut redis.connection().await?).await?;
    let line = |line: &str| {
        let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
        Some((name.to_owned(), rest.split(',').next()?.parse().ok()?))
    };
    Ok(text.lines().filter_map(line).collect())
}

async fn reset(redis: &RedisServer) -> Result<()> {
    redis::cmd("CONFIG").arg("RESETSTAT").exec_async(&mut redis.connection().await?).await?;
    Ok(())
}

/// All but signs of life and the test's own commands.
fn work(calls: &BTreeMap<String, u64>) -> u64 {
    let idle = ["ping", "info", "config|resetstat", "hello", "select", "client|setinfo"];
    calls.iter().filter(|(name, _)| !idle.contains(&name.as_str())).map(|(_, calls)| calls).sum()
}

#[tokio::test]
async fn a_thousand_sends_that_stay_on_the_node_cost_no_command() -> Result<()> {
    // Heartbeats far enough apart that at most one or two fall into the measurement.
    let change = |options: wsc_tests::hub_process::HubOptions| {
        options.set("WSC_HEARTBEAT_INTERVAL", "4s").set("WSC_LEASE", "12s").set("WSC_CLIENT_RATE", "10000")
    };
    let fleet = HubFleet::start_with(2, change).await?;
    let mut alice = fleet.hubs[0].connect("alice").await?;
    let mut bob = fleet.hubs[0].connect("bob").await?;
    // While a fresh registry is not whole, nodes look at it every second.
    fleet.whole().await?;
    reset(&fleet.redis).await?;
    let began = Instant::now();
    for n in 0..500 {
        let sent = fleet.api(0)?.send("alice", &n.to_string()).await?;
        assert_eq!(sent["status"], "delivered", "{sent}");
        alice.expect_text(&n.to_string()).await?;
    }
    for n in 0..500 {
        assert_eq!(alice.send_to("bob", &n.to_string()).await?, "delivered");
        bob.expect_text(&n.to_string()).await?;
    }
    let (took, caused) = (began.elapsed(), calls(&fleet.redis).await?);
    // The same time without sends.
    reset(&fleet.redis).await?;
    tokio::time::sleep(took).await;
    let idle = calls(&fleet.redis).await?;
    for name in ["hgetall", "hget", "evalsha_ro"] {
        assert_eq!(caused.get(name), None, "{caused:?}");
    }
    let (caused, idle) = (work(&caused), work(&idle));
    // A heartbeat of two nodes is some 40 commands; a thousand sends that asked would be a thousand.
    assert!(caused <= idle + 100, "{caused} commands in {took:?} with sends, {idle} without");
    println!("1000 sends in {took:?}: {caused} commands, {idle} in the same time without sends");
    Ok(())
}

#[tokio::test]
async fn devices_that_come_and_go_on_other_nodes_are_known_at_once() -> Result<()> {
    let fleet = HubFleet::start(2).await?;
    let mut here = fleet.hubs[0].connect("alice").await?;
    for round in 0..3 {
        let mut there = fleet.hubs[1].connect("alice").await?;
        eventually("both devices are reached", HEALED, async || {
            let sent = fleet.api(0)?.send("alice", &format!("both {round}")).await?;
            Ok(Look::when(sent["connections"] == 2, (), sent))
        })
        .await?;
        there.expect_text(&format!("both {round}")).await?;
        there.close().await?;
        eventually("one device is reached, and nobody else is asked", HEALED, async || {
            let sent = fleet.api(0)?.send("alice", "one").await?;
            let alone = sent["connections"] == 1 && sent["status"] == "delivered";
            Ok(Look::when(alone && sent["total_retries"] == 0, (), sent))
        })
        .await?;
    }
    here.expect("text").await?;
    Ok(())
}

/// Sends to users who are connected, from every node, until told to stop; counts the answers by status.
async fn ask_about(
    apis: Vec<ApiClient>,
    users: Vec<String>,
    stop: Arc<AtomicBool>,
) -> Result<BTreeMap<String, u32>> {
    let mut answers = BTreeMap::new();
    let options = json!({"timeout_ms": 500, "max_retries": 1});
    while !stop.load(Ordering::Relaxed) {
        for api in &apis {
            for user in &users {
                let body = json!({"content": "are you there?", "options": options});
                let sent = api.post(&format!("/v1/users/{user}/messages"), &body).await?.ok()?;
                let status = sent["status"].as_str().unwrap_or("?").to_owned();
                ensure!(status != "offline", "{user} is connected and called offline: {sent}");
                *answers.entry(status).or_default() += 1;
                let found = api.get(&format!("/v1/users/{user}")).await?;
                if found.status == 200 {
                    ensure!(
                        found.json()?["online"] == true,
                        "{user} is connected and not online: {}",
                        found.text
                    );
                }
            }
        }
    }
    Ok(answers)
}

#[tokio::test]
async fn while_redis_is_flushed_under_load_nobody_is_called_offline_and_all_is_rebuilt() -> Result<()> {
    let fleet = HubFleet::start(3).await?;
    let (mut clients, mut users) = (Vec::new(), Vec::new());
    for (number, hub) in fleet.hubs.iter().enumerate() {
        for device in 0..3 {
            users.push(format!("user-{number}-{device}"));
            clients.push(hub.connect(&users[users.len() - 1]).await?);
        }
    }
    let stop = Arc::new(AtomicBool::new(false));
    let apis = (0..3).map(|number| fleet.api(number)).collect::<Result<Vec<_>>>()?;
    let load = tokio::spawn(ask_about(apis, users.clone(), Arc::clone(&stop)));
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(700)).await;
        redis::cmd("FLUSHALL").exec_async(&mut fleet.redis.connection().await?).await?;
    }
    fleet.all_see(3).await?;
    for user in &users {
        for asked in 0..3 {
            fleet.user_has(asked, user, 1, HEALED).await?;
        }
    }
    stop.store(true, Ordering::Relaxed);
    let answers = load.await??;
    println!("answers meanwhile: {answers:?}");
    assert!(answers.get("delivered").is_some_and(|n| *n > 0), "{answers:?}");
    fleet.whole().await?;
    assert_eq!(fleet.api(0)?.send("nobody", "x").await?["status"], "offline");
    Ok(())
}

#[tokio::test]
async fn a_redis_replaced_by_an_empty_one_calls_nobody_offline() -> Result<()> {
    let mut fleet = HubFleet::start(2).await?;
    let _alice = fleet.hubs[0].connect("alice").await?;
    let _bob = fleet.hubs[1].connect("bob").await?;
    fleet.redis.kill().await?;
    fleet.redis.run().await?;
    let began = Instant::now();
    let (mut seen, mut delivered) = (BTreeMap::<String, u32>::new(), 0);
    while delivered < 4 && began.elapsed() < HEALED {
        for (asked, user) in [(0, "bob"), (1, "alice")] {
            let body = json!({"content": "x", "options": {"timeout_ms": 300, "max_retries": 0}});
            let sent = fleet.api(asked)?.post(&format!("/v1/users/{user}/messages"), &body).await?.ok()?;
            assert_ne!(sent["status"], "offline", "{sent}");
            *seen.entry(sent["status"].to_string()).or_default() += 1;
            delivered += u32::from(sent["status"] == "delivered");
        }
    }
    assert!(delivered >= 4, "{seen:?}");
    println!("delivered again after {:?}: {seen:?}", began.elapsed());
    Ok(())
}
