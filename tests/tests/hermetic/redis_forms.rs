//! Redis behind Sentinels and Redis Cluster serve a hub as a single Redis does, and survive the loss of a primary.

use std::time::Duration;

use anyhow::Result;
use rustix::process::Signal;
use serde_json::json;
use wsc_tests::{
    hub_fleet::{HubFleet, LEASE, RedisWiring},
    hub_process::HubOptions,
    redis_cluster::RedisCluster,
    redis_sentinel::RedisSentinel,
    redis_server::RedisOptions,
    scratch_dir::ScratchDir,
    traffic::Traffic,
    wait::{Look, eventually},
    ws_client::PATIENCE,
};

use crate::inbox::{device, store};

/// After a failover all is registered again within this; the machine of the tests may be busy.
const HEALED: Duration = Duration::from_secs(20);
const PASSWORD: &str = "password-of-the-servers";

/// A lease that outlives the failover, and clients that may send fast.
fn for_failover(options: HubOptions) -> HubOptions {
    options
        .set("WSC_HEARTBEAT_INTERVAL", "500ms")
        .set("WSC_LEASE", "9s")
        .set("WSC_CLIENT_RATE", "100000")
        .set("WSC_CLIENT_IN_FLIGHT", "10000")
        .set("WSC_MESSAGE_BUFFER_SIZE", "100000")
        .set("WSC_OUTBOUND_QUEUE_BYTES", "16777216")
}

/// What several hubs do together, in whatever form their Redis is.
pub(crate) async fn act_as_one<R: RedisWiring>(fleet: &mut HubFleet<R>) -> Result<()> {
    let mut alice = fleet.hubs[0].connect("alice").await?;
    let mut bob = fleet.hubs[1].connect("bob").await?;
    let mut bob_too = fleet.hubs[2].connect("bob").await?;
    assert_eq!(alice.send_to("bob", "hi bob").await?, "delivered");
    for client in [&mut bob, &mut bob_too] {
        assert_eq!(client.expect_text("hi bob").await?["sender"], "alice");
    }
    assert_eq!(bob.send_to("alice", "hi alice").await?, "delivered");
    alice.expect_text("hi alice").await?;

    let result = fleet.api(2)?.broadcast("to all").await?;
    assert_eq!(
        (&result["status"], &result["nodes_expected"], &result["nodes_answered"], &result["connections"]),
        (&json!("complete"), &json!(3), &json!(3), &json!(3)),
        "{result}"
    );
    for client in [&mut alice, &mut bob, &mut bob_too] {
        client.expect_text("to all").await?;
        client.expect_nothing().await?;
    }

    stored_for_devices(fleet).await?;

    let kicked = fleet.api(0)?.kick("bob", "moved").await?;
    assert_eq!(kicked["kicked_connections"], 2, "{kicked}");
    for client in [&mut bob, &mut bob_too] {
        client.expect_close(4001, PATIENCE).await?;
    }
    fleet.user_has(0, "bob", 0, PATIENCE).await?;

    // A node that dies without a word is swept by the others.
    let _carol = fleet.hubs[2].connect("carol").await?;
    fleet.user_has(0, "carol", 1, PATIENCE).await?;
    fleet.hubs[2].kill().await?;
    let meanwhile = fleet.api(0)?.send("carol", "are you there?").await?;
    assert_ne!(meanwhile["status"], "delivered", "{meanwhile}");
    fleet.hubs.truncate(2);
    fleet.all_see(2).await?;
    fleet.user_has(0, "carol", 0, LEASE + Duration::from_secs(5)).await?;
    alice.expect_nothing().await?;

    // One that is asked to end gives its lease up, long before it would lapse.
    let status = fleet.hubs[1].terminate(PATIENCE).await?;
    assert!(status.success(), "{status}");
    assert_eq!(fleet.api(0)?.node_ids().await?, ["node-0"]);
    fleet.hubs.truncate(1);
    Ok(())
}

/// Messages are stored, delivered, acknowledged, replayed, and known again when they are repeated.
async fn stored_for_devices<R: RedisWiring>(fleet: &HubFleet<R>) -> Result<()> {
    // Several users, so that in a Redis Cluster they are on several servers.
    for user in ["dora", "emil", "fritz", "greta"] {
        let mut phone = device(&fleet.hubs[1], user, "phone", None).await?;
        phone.expect("resume_done").await?;
        let body = json!({"content": "kept", "message_id": "s1", "options": {"store": true}});
        let path = format!("/v1/users/{user}/messages");
        let result = fleet.api(0)?.post(&path, &body).await?.ok()?;
        assert_eq!((&result["status"], &result["connections"]), (&json!("delivered"), &json!(1)), "{result}");
        let again = fleet.api(2)?.post(&path, &body).await?.ok()?;
        assert_eq!((&again["duplicate"], &again["offset"]), (&json!(true), &result["offset"]), "{again}");
        phone.expect_text("kept").await?;
        phone.send(&json!({"message_type": "ack", "offset": result["offset"]})).await?;
        phone.close().await?;
        store(&fleet.api(2)?, user, "while away").await?;
        let mut phone = device(&fleet.hubs[0], user, "phone", result["offset"].as_str()).await?;
        phone.expect_text("while away").await?;
        phone.expect("resume_done").await?;
    }
    Ok(())
}

/// Sends under load while `break_it` takes a primary away; then all must be as before.
#[expect(clippy::print_stdout, reason = "figures of a test")]
async fn survive<R: RedisWiring>(
    fleet: &HubFleet<R>,
    break_it: impl AsyncFnOnce() -> Result<()>,
) -> Result<()> {
    let mut users = Vec::new();
    for (number, hub) in fleet.hubs.iter().enumerate() {
        users.push(hub.connect(&format!("user-{number}")).await?);
    }
    let traffic = Traffic::start(&fleet.hubs, 1050).await?;
    // Half a second of good traffic, the loss, and a second after it.
    tokio::time::sleep(Duration::from_millis(500)).await;
    break_it().await?;
    eventually("sends to each node are delivered again", HEALED, async || {
        for number in 0..fleet.hubs.len() {
            let body = json!({"content": "again", "options": {"timeout_ms": 1000}});
            let path = format!("/v1/users/user-{number}/messages");
            let asked = (number + 1) % fleet.hubs.len();
            let sent = fleet.api(asked)?.post(&path, &body).await?.ok()?;
            if sent["status"] != "delivered" {
                return Ok(Look::NotYet(sent.to_string()));
            }
        }
        Ok(Look::Holds(()))
    })
    .await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let ledger = traffic.finish().await?;
    println!("{}", ledger.summary());
    ledger.is_true()?;
    assert!(ledger.confirmed.len() > 500, "hardly anything was delivered: {}", ledger.summary());
    fleet.all_see(fleet.hubs.len()).await?;
    for asked in 0..fleet.hubs.len() {
        for number in 0..fleet.hubs.len() {
            fleet.user_has(asked, &format!("user-{number}"), 1, HEALED).await?;
        }
    }
    for number in 0..fleet.hubs.len() {
        eventually("the hub is healthy", HEALED, async || {
            let health = fleet.hubs[number].client_http()?.get("/health").await?.ok()?;
            Ok(Look::when(health["status"] == "healthy", (), health))
        })
        .await?;
    }
    Ok(())
}

/// A folder with the password in a file.
fn password_file() -> Result<ScratchDir> {
    let folder = ScratchDir::new("redis-password")?;
    folder.write("password", PASSWORD)?;
    Ok(folder)
}

#[tokio::test]
async fn hubs_act_as_one_over_sentinel_whether_the_sentinels_ask_for_the_password_or_not() -> Result<()> {
    for sentinels_too in [true, false] {
        let password = password_file()?;
        let file = password.path().join("password");
        let redis = RedisSentinel::start(PASSWORD, sentinels_too).await?;
        let change = |options: HubOptions| options.set_path("WSC_REDIS_PASSWORD_FILE", &file);
        let mut fleet = HubFleet::over(redis, 3, change).await?;
        act_as_one(&mut fleet).await?;
    }
    Ok(())
}

#[tokio::test]
async fn hubs_act_as_one_over_a_redis_cluster() -> Result<()> {
    let redis = RedisCluster::start(RedisOptions::default).await?;
    let mut fleet = HubFleet::over(redis, 3, |options| options).await?;
    act_as_one(&mut fleet).await?;
    // The registry is spread over the primaries, and the dead node's part is gone.
    eventually("the dead node is swept", LEASE + Duration::from_secs(5), async || {
        let keys = fleet.redis.keys("wsc:*").await?;
        let left = keys.iter().any(|key| key.contains("{u:carol}:conn") || key.contains("node-2"));
        Ok(Look::when(!left, (), format!("{keys:?}")))
    })
    .await
}

#[tokio::test]
async fn what_is_confirmed_while_sentinel_replaces_the_primary_was_received() -> Result<()> {
    let password = password_file()?;
    let file = password.path().join("password");
    let mut redis = RedisSentinel::start(PASSWORD, false).await?;
    let mut lost = redis.servers.remove(0);
    let change = |options: HubOptions| for_failover(options).set_path("WSC_REDIS_PASSWORD_FILE", &file);
    let fleet = HubFleet::over(redis, 3, change).await?;
    survive(&fleet, async || lost.kill().await).await?;
    fleet.redis.primary_besides(None, HEALED).await?;
    Ok(())
}

#[tokio::test]
async fn what_is_confirmed_while_a_shard_of_a_redis_cluster_fails_over_was_received() -> Result<()> {
    let redis = RedisCluster::start(RedisOptions::default).await?;
    let mut fleet = HubFleet::over(redis, 3, for_failover).await?;
    // The primary that carries the envelopes to one of the nodes.
    let owner = fleet.redis.owner("wsc:node:{node-1}", 0).await?;
    let asked = (owner + 1) % 3;
    let mut lost = fleet.redis.servers.remove(owner);
    let survived = survive(&fleet, async || lost.kill().await).await;
    fleet.redis.servers.insert(owner, lost);
    survived?;
    let now = fleet.redis.owner("wsc:node:{node-1}", asked).await?;
    assert_eq!(now, owner + 3, "its replica took over");
    Ok(())
}

#[tokio::test]
async fn slots_that_move_while_a_redis_cluster_is_used_are_followed() -> Result<()> {
    let redis = RedisCluster::start(RedisOptions::default).await?;
    let fleet = HubFleet::over(redis, 2, |options| options.set("WSC_LEASE", "9s")).await?;
    let mut alice = fleet.hubs[0].connect("alice").await?;
    let mut bob = fleet.hubs[1].connect("bob").await?;
    assert_eq!(alice.send_to("bob", "before").await?, "delivered");
    bob.expect_text("before").await?;
    for key in ["wsc:node:{node-1}", "wsc:{u:bob}:conn", "wsc:nodes", "wsc:broadcast"] {
        fleet.redis.move_slot(key).await?;
    }
    let mut sent = 0;
    eventually("the subscription has followed its slot", HEALED, async || {
        sent += 1;
        let content = format!("after {sent}");
        let answer = fleet.api(0)?.send("bob", &content).await?;
        if answer["status"] == "delivered" {
            bob.expect_text(&content).await?;
        }
        let moved = fleet.redis.subscribers("wsc:node:{node-1}").await?;
        let all = answer["status"] == "delivered" && moved == 1;
        Ok(Look::when(all, (), format!("{answer}, {moved} subscribers at the new place")))
    })
    .await?;
    fleet.user_has(0, "bob", 1, HEALED).await?;
    let result = eventually("a broadcast is complete", HEALED, async || {
        let result = fleet.api(1)?.broadcast("all").await?;
        Ok(Look::when(result["status"] == "complete", result.clone(), result))
    })
    .await?;
    assert_eq!(result["connections"], 2, "{result}");
    Ok(())
}

#[tokio::test]
async fn a_primary_that_hangs_is_replaced_and_is_believed_nothing_when_it_wakes() -> Result<()> {
    let password = password_file()?;
    let file = password.path().join("password");
    let redis = RedisSentinel::start(PASSWORD, false).await?;
    let change = |options: HubOptions| for_failover(options).set_path("WSC_REDIS_PASSWORD_FILE", &file);
    let fleet = HubFleet::over(redis, 3, change).await?;
    let hanging = fleet.redis.primary_besides(None, HEALED).await?;
    survive(&fleet, async || fleet.redis.servers[hanging].signal(Signal::STOP)).await?;
    fleet.redis.servers[hanging].signal(Signal::CONT)?;
    // It was the primary when it went to sleep; until it hears better it says that nobody listens.
    let mut alice = fleet.hubs[0].connect("alice").await?;
    for round in 0..20 {
        let content = format!("round {round}");
        let sent = fleet.api(1 + round % 2)?.send("alice", &content).await?;
        assert_eq!(sent["status"], "delivered", "{sent}");
        alice.expect_text(&content).await?;
    }
    fleet.all_see(3).await
}
