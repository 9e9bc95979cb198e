//! Redis goes away, comes back empty, or forgets everything while it runs.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::json;
use wsc_tests::{
    hub_fleet::{HEARTBEAT, HubFleet},
    wait::{Look, eventually},
};

/// What users are promised after Redis returns.
const HEALED: Duration = Duration::from_secs(10);

async fn health_is(fleet: &HubFleet, number: usize, wanted: &str) -> Result<()> {
    let http = fleet.hubs[number].client_http()?;
    let what = format!("node {number} is {wanted}");
    let wait = eventually(&what, HEALED, async || {
        let health = http.get("/health").await?.ok()?;
        Ok(Look::when(health["status"] == wanted, (), health))
    });
    wait.await.map_err(|error| error.context(fleet.hubs[number].output()))
}

/// Sends from one node to a user on another until it is delivered, and says so by the client's frame.
async fn delivery_works(fleet: &HubFleet, asked: usize, user: &str) -> Result<()> {
    eventually(&format!("node {asked} delivers to {user}"), HEALED, async || {
        let sent = fleet.api(asked)?.send(user, "healed").await?;
        Ok(Look::when(sent["status"] == "delivered", (), sent))
    })
    .await
}

#[tokio::test]
async fn a_flushed_redis_is_filled_again_and_nobody_is_disconnected() -> Result<()> {
    let fleet = HubFleet::start(2).await?;
    let mut alice = fleet.hubs[0].connect("alice").await?;
    let mut bob = fleet.hubs[1].connect("bob").await?;
    let before = fleet.status(0).await?["incarnation"].clone();
    redis::cmd("FLUSHALL").exec_async(&mut fleet.redis.connection().await?).await?;
    fleet.all_see(2).await?;
    for asked in 0..2 {
        fleet.user_has(asked, "alice", 1, HEALED).await?;
        fleet.user_has(asked, "bob", 1, HEALED).await?;
    }
    assert_ne!(fleet.status(0).await?["incarnation"], before, "a lost lease ends an incarnation");
    assert_eq!(alice.send_to("bob", "still here").await?, "delivered");
    bob.expect_text("still here").await?;
    alice.expect_nothing().await
}

#[tokio::test]
async fn without_redis_connections_stay_and_same_node_sends_work() -> Result<()> {
    let mut fleet = HubFleet::start(2).await?;
    let mut alice = fleet.hubs[0].connect("alice").await?;
    let mut carol = fleet.hubs[0].connect("carol").await?;
    let mut bob = fleet.hubs[1].connect("bob").await?;
    assert_eq!(alice.send_to("bob", "before").await?, "delivered");
    bob.expect_text("before").await?;
    // A hub looks for the others once per heartbeat.
    tokio::time::sleep(HEARTBEAT * 3).await;

    fleet.redis.kill().await?;
    health_is(&fleet, 0, "degraded").await?;
    health_is(&fleet, 1, "degraded").await?;
    assert_eq!(alice.send_to("carol", "local").await?, "delivered", "carol was last known to be here only");
    carol.expect_text("local").await?;
    let body = json!({"content": "far", "options": {"timeout_ms": 1000}});
    let far = fleet.api(0)?.post("/v1/users/bob/messages", &body).await?.ok()?;
    assert_ne!(far["status"], "delivered", "{far}");
    assert_ne!(far["status"], "offline", "nobody is called offline while redis is away: {far}");
    let mut newcomer = fleet.hubs[0].connect("newcomer").await?;
    let result = fleet.api(0)?.broadcast("to those here").await?;
    assert_eq!((&result["status"], &result["connections"]), (&json!("partial"), &json!(3)), "{result}");
    assert_eq!((&result["nodes_expected"], &result["nodes_answered"]), (&json!(2), &json!(1)), "{result}");
    for client in [&mut alice, &mut carol, &mut newcomer] {
        client.expect_text("to those here").await?;
    }
    let kick = fleet.api(0)?.kick("nobody", "").await?;
    assert_eq!(
        (&kick["nodes_expected"], &kick["nodes_answered"]),
        (&json!(2), &json!(1)),
        "the other node was not asked: {kick}"
    );

    fleet.redis.run().await?;
    health_is(&fleet, 0, "healthy").await?;
    health_is(&fleet, 1, "healthy").await?;
    fleet.all_see(2).await?;
    for user in ["alice", "carol", "newcomer", "bob"] {
        fleet.user_has(0, user, 1, HEALED).await?;
        fleet.user_has(1, user, 1, HEALED).await?;
    }
    delivery_works(&fleet, 0, "bob").await?;
    bob.expect_text("healed").await?;
    delivery_works(&fleet, 1, "newcomer").await?;
    newcomer.expect_text("healed").await?;
    alice.expect_nothing().await
}

#[tokio::test]
async fn a_redis_that_hangs_holds_no_send_beyond_its_time() -> Result<()> {
    let fleet = HubFleet::start(2).await?;
    let mut alice = fleet.hubs[0].connect("alice").await?;
    let mut carol = fleet.hubs[0].connect("carol").await?;
    let _carols_other = fleet.hubs[1].connect("carol").await?;
    let mut redis = fleet.redis.connection().await?;
    redis::cmd("CLIENT").arg("PAUSE").arg(5000).arg("ALL").exec_async(&mut redis).await?;
    let cases = [
        ("/v1/users/alice/messages", "delivered", "one"),
        ("/v1/users/carol/messages", "partial", "two"),
        ("/v1/broadcast", "partial", "all"),
    ];
    for (path, status, content) in cases {
        let body = json!({"content": content, "options": {"timeout_ms": 300}});
        let began = Instant::now();
        let result = fleet.api(0)?.post(path, &body).await?.ok()?;
        let took = began.elapsed();
        assert!(took < Duration::from_millis(1500), "{path} took {took:?}: {result}");
        assert_eq!(result["status"], status, "{path}: {result}");
    }
    alice.expect_text("one").await?;
    alice.expect_text("all").await?;
    carol.expect_text("two").await?;
    carol.expect_text("all").await?;
    Ok(())
}

#[tokio::test]
async fn a_client_that_leaves_while_redis_is_away_is_forgotten_after_it_returns() -> Result<()> {
    let mut fleet = HubFleet::start(2).await?;
    let alice = fleet.hubs[0].connect("alice").await?;
    let _bob = fleet.hubs[1].connect("bob").await?;
    fleet.redis.kill().await?;
    health_is(&fleet, 0, "degraded").await?;
    alice.close().await?;
    fleet.redis.run().await?;
    fleet.all_see(2).await?;
    fleet.user_has(1, "bob", 1, HEALED).await?;
    fleet.user_has(1, "alice", 0, HEALED).await?;
    Ok(())
}

#[tokio::test]
async fn bad_bytes_on_the_channels_are_ignored() -> Result<()> {
    let fleet = HubFleet::start(2).await?;
    let mut alice = fleet.hubs[0].connect("alice").await?;
    let mut redis = fleet.redis.connection().await?;
    for channel in ["wsc:node:{node-0}", "wsc:broadcast"] {
        for bytes in [&b""[..], b"\0", b"not a batch", &[0xFF; 300], &[1, 0, 0, 0, 255, 255, 255, 255]] {
            let heard: i64 = redis::cmd("PUBLISH").arg(channel).arg(bytes).query_async(&mut redis).await?;
            assert!(heard > 0, "nobody listens on {channel}");
        }
    }
    let sent = fleet.api(1)?.send("alice", "still fine").await?;
    assert_eq!(sent["status"], "delivered", "{sent}");
    alice.expect_text("still fine").await?;
    assert!(!fleet.hubs[0].output().contains("panicked"));
    let complaints = fleet.hubs[0].output().matches("are no batch, ignored").count();
    assert_eq!(complaints, 1, "logged at most once a minute");
    assert!(fleet.api(0)?.metric("wsc_bus_malformed_total").await? > 0, "malformed batches are counted");
    alice.expect_nothing().await
}
