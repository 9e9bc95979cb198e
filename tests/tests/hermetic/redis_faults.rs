//! The way to Redis stalls, breaks, or is silent in one direction.

use std::time::{Duration, Instant};

use anyhow::Result;
use rustix::process::Signal;
use serde_json::json;
use wsc_tests::{
    hub_fleet::HubFleet,
    tcp_proxy::{Flow, ProxiedRedis},
    wait::{Look, eventually},
    ws_client::WsClient,
};

/// What users are promised after Redis answers again, and what a busy machine takes.
const HEALED: Duration = Duration::from_secs(15);

async fn healthy(fleet: &HubFleet<ProxiedRedis>, wanted: &str) -> Result<()> {
    for hub in &fleet.hubs {
        let http = hub.client_http()?;
        let what = format!("each hub is {wanted}");
        let wait = eventually(&what, HEALED, async || {
            let health = http.get("/health").await?.ok()?;
            Ok(Look::when(health["status"] == wanted, (), health))
        });
        wait.await.map_err(|error| error.context(hub.output()))?;
    }
    Ok(())
}

/// Waits until a send from node 0 reaches bob, on node 1.
async fn bob_is_reached(fleet: &HubFleet<ProxiedRedis>, bob: &mut WsClient) -> Result<()> {
    let mut round = 0;
    eventually("sends across nodes are delivered", HEALED, async || {
        round += 1;
        let content = format!("healed {round}");
        let body = json!({"content": content, "options": {"timeout_ms": 1500}});
        let sent = fleet.api(0)?.post("/v1/users/bob/messages", &body).await?.ok()?;
        if sent["status"] != "delivered" {
            return Ok(Look::NotYet(sent.to_string()));
        }
        // What was unknown before may have come as well.
        while bob.expect("text").await?["content"] != content.as_str() {}
        Ok(Look::Holds(()))
    })
    .await
}

/// While nothing comes from Redis: connections stay, what is on one node works, nothing lies; then all is as before.
async fn outlive(
    fleet: &HubFleet<ProxiedRedis>,
    stop: impl Fn() -> Result<()>,
    go_on: impl Fn() -> Result<()>,
) -> Result<()> {
    let mut alice = fleet.hubs[0].connect("alice").await?;
    let mut carol = fleet.hubs[0].connect("carol").await?;
    let mut bob = fleet.hubs[1].connect("bob").await?;
    assert_eq!(alice.send_to("bob", "before").await?, "delivered");
    bob.expect_text("before").await?;
    stop()?;
    healthy(fleet, "degraded").await?;
    let local = alice.send_to("carol", "local").await?;
    assert!(local == "delivered" || local == "partial", "{local}");
    carol.expect_text("local").await?;
    let began = Instant::now();
    let body = json!({"content": "far", "options": {"timeout_ms": 1000}});
    let far = fleet.api(0)?.post("/v1/users/bob/messages", &body).await?.ok()?;
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}: {far}", began.elapsed());
    assert!(far["status"] != "delivered" && far["status"] != "offline", "{far}");
    go_on()?;
    healthy(fleet, "healthy").await?;
    fleet.all_see(2).await?;
    bob_is_reached(fleet, &mut bob).await?;
    for (user, asked) in [("alice", 1), ("carol", 1), ("bob", 0)] {
        fleet.user_has(asked, user, 1, HEALED).await?;
    }
    alice.expect_nothing().await
}

/// The same while bytes to and from Redis flow in these ways.
async fn outlive_flow(to_redis: Flow, from_redis: Flow) -> Result<()> {
    let fleet = HubFleet::over(ProxiedRedis::start().await?, 2, |options| options).await?;
    let set = |to, from| {
        fleet.redis.proxy.set(to, from);
        Ok(())
    };
    outlive(&fleet, || set(to_redis, from_redis), || set(Flow::Pass, Flow::Pass)).await
}

#[tokio::test]
async fn a_redis_that_stalls_costs_no_connection_and_all_is_registered_again() -> Result<()> {
    outlive_flow(Flow::Stall, Flow::Stall).await
}

#[tokio::test]
async fn a_redis_whose_answers_vanish_costs_no_connection_and_all_is_registered_again() -> Result<()> {
    outlive_flow(Flow::Pass, Flow::Swallow).await
}

#[tokio::test]
async fn a_redis_process_that_is_stopped_costs_no_connection_and_all_is_registered_again() -> Result<()> {
    let fleet = HubFleet::over(ProxiedRedis::start().await?, 2, |options| options).await?;
    let server = &fleet.redis.server;
    outlive(&fleet, || server.signal(Signal::STOP), || server.signal(Signal::CONT)).await
}

#[tokio::test]
async fn connections_that_are_cut_in_the_middle_are_made_again() -> Result<()> {
    let fleet =
        HubFleet::over(ProxiedRedis::start().await?, 2, |options| options.set("WSC_LEASE", "20s")).await?;
    let mut bob = fleet.hubs[1].connect("bob").await?;
    let incarnations =
        (fleet.status(0).await?["incarnation"].clone(), fleet.status(1).await?["incarnation"].clone());
    let api = fleet.api(0)?;
    for _ in 0..5 {
        let sends = (0..20).map(|n| {
            let api = api.clone();
            async move { api.send("bob", &format!("under way {n}")).await }
        });
        let (results, ()) =
            tokio::join!(futures::future::try_join_all(sends), async { fleet.redis.proxy.cut() });
        for result in results? {
            assert_ne!(result["status"], "offline", "bob was there all the time: {result}");
        }
        bob_is_reached(&fleet, &mut bob).await?;
    }
    let after =
        (fleet.status(0).await?["incarnation"].clone(), fleet.status(1).await?["incarnation"].clone());
    assert_eq!(incarnations, after, "the leases held");
    Ok(())
}

#[tokio::test]
async fn a_subscription_that_is_silent_but_not_closed_is_built_again() -> Result<()> {
    let fleet = HubFleet::over(ProxiedRedis::start().await?, 2, |options| options).await?;
    let mut bob = fleet.hubs[1].connect("bob").await?;
    bob_is_reached(&fleet, &mut bob).await?;
    let before = fleet.api(1)?.metric("wsc_bus_subscriptions_total").await?;
    // A busy machine may have been silent before.
    let noticed = |output: &str| output.matches("no probe came for too long").count();
    let noticed_before = noticed(&fleet.hubs[1].output());
    fleet.redis.proxy.set(Flow::Pass, Flow::SwallowPushes);
    // A lease of 30 s allows 20 s of silence; this one 1 s.
    eventually("the silence is noticed", HEALED, async || {
        let output = fleet.hubs[1].output();
        Ok(Look::when(noticed(&output) > noticed_before, (), output))
    })
    .await?;
    // The answer to SUBSCRIBE is a push as well, so only now a new one can be built.
    fleet.redis.proxy.set(Flow::Pass, Flow::Pass);
    eventually("the subscription is built again", HEALED, async || {
        let now = fleet.api(1)?.metric("wsc_bus_subscriptions_total").await?;
        Ok(Look::when(now > before, (), format!("{now} subscriptions as before")))
    })
    .await?;
    healthy(&fleet, "healthy").await?;
    bob_is_reached(&fleet, &mut bob).await
}
