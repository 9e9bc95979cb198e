//! `/admin/drain` and `/admin/rebalance`: who may order what, and what the node then says of itself.

use std::time::Duration;

use anyhow::Result;
use http::Method;
use serde_json::json;
use wsc_tests::{
    hub_fleet::{API_KEY, HubFleet},
    lone_hub::LoneHub,
    scrape::Scrape,
    wait::{Look, eventually},
    ws_client::{PATIENCE, WsClient, WsRequest},
};

use super::leavers::{Leavers, admin, drain, phase};

#[tokio::test]
async fn a_drain_settles_then_refuses_then_closes_and_can_be_seen_everywhere() -> Result<()> {
    let fleet = HubFleet::start_with(2, |options| options.set("WSC_DRAIN_SETTLE", "2s")).await?;
    let hub = &fleet.hubs[0];
    let leavers = Leavers::connect(hub.client, "guest", 20).await?;
    let answer = drain(hub, json!({"id": "d1", "rate_per_second": 10, "retry_after_max_ms": 500})).await?;
    assert_eq!((&answer["phase"], &answer["drain"]["id"]), (&json!("draining"), &json!("d1")), "{answer}");
    assert_eq!(answer["drain"]["remaining"], 20, "{answer}");
    assert_eq!(answer["drain"]["rate_per_second"], 0, "it settles: {answer}");
    let health = hub.client_http()?.get("/health").await?;
    assert_eq!((health.status.as_u16(), &health.json()?["status"]), (503, &json!("draining")));
    let nodes = fleet.api(1)?.get("/nodes").await?.ok()?;
    assert_eq!(nodes[0]["status"], "draining", "the registry was told before the answer: {nodes}");
    let late = hub.connect("late").await?;
    let refused = eventually("new clients are refused", PATIENCE, async || {
        let request = WsRequest::user("too-late");
        Ok(match WsClient::upgrade(hub.client, &request).await? {
            wsc_tests::ws_client::Upgrade::Open(_) => Look::NotYet("taken".to_owned()),
            wsc_tests::ws_client::Upgrade::Refused(answer) => Look::Holds(answer),
        })
    })
    .await?;
    refused.problem(503, "draining")?;
    assert!(refused.headers.contains_key("retry-after"), "{:?}", refused.headers);
    let gone = leavers.are_gone(20, PATIENCE).await?;
    Leavers::were_sent_away(&gone, "drain", 500)?;
    drop(late);
    let status = phase(hub, "closed", PATIENCE).await?;
    assert_eq!(status["drain"]["remaining"], 0, "{status}");
    assert!(status["drain"]["closed"].as_u64().is_some_and(|closed| closed >= 20), "{status}");
    let health = hub.client_http()?.get("/health").await?;
    assert_eq!((health.status.as_u16(), &health.json()?["status"]), (503, &json!("closed")));
    assert_eq!(hub.client_http()?.get("/livez").await?.status, 200);
    let scrape = Scrape::of(&admin(hub)?).await?;
    assert!(scrape.sum("wsc_sent_away_connections_total", &["cause=\"drain\""])? >= 20.0);
    assert_eq!(scrape.sum("wsc_draining", &[])?, 1.0);

    let refused = admin(hub)?.request(Method::DELETE, "/admin/drain", None).await?;
    refused.problem(409, "draining")?;
    assert_eq!(phase(hub, "closed", PATIENCE).await?["drain"]["id"], "d1");
    Ok(())
}

#[tokio::test]
async fn only_the_one_who_is_meant_drains_and_only_by_a_good_order_of_an_admin() -> Result<()> {
    let lone = LoneHub::trusted(|options| options).await?;
    let admin = admin(&lone.hub)?;
    let _alice = lone.hub.connect("alice").await?;
    let status = admin.get("/admin/status").await?.ok()?;
    assert!(status["drain"].is_null(), "{status}");
    for (path, body) in [("/admin/drain", json!({"id": "d"})), ("/admin/rebalance", json!({"close": 1}))] {
        lone.hub.api(API_KEY)?.post(path, &body).await?.problem(403, "not_permitted")?;
        admin.with_key(None).post(path, &body).await?.problem(401, "invalid_token")?;
        admin.post(path, &json!({})).await?.problem(400, "bad_request")?;
    }
    for expect in [
        json!({"node_id": "lone", "incarnation": "another.1"}),
        json!({"node_id": "other", "incarnation": status["incarnation"]}),
    ] {
        let body = json!({"id": "d1", "expect": expect});
        admin.post("/admin/drain", &body).await?.problem(409, "bad_request")?;
    }
    assert_eq!(lone.hub.client_http()?.get("/health").await?.status, 200, "nothing was changed");
    let expect = json!({"node_id": "lone", "incarnation": status["incarnation"]});
    let slow = json!({"id": "d1", "expect": expect, "rate_per_second": 1});
    let first = drain(&lone.hub, slow.clone()).await?;
    assert!(first["drain"]["deadline"].is_null(), "{first}");

    // The same id again changes the parameters and not the clock; another id begins a clock of its own.
    let body = json!({"id": "d1", "expect": expect, "rate_per_second": 2, "deadline_ms": 60_000});
    let again = drain(&lone.hub, body).await?;
    assert_eq!(again["drain"]["started_at"], first["drain"]["started_at"]);
    assert!(again["drain"]["deadline"].is_string(), "{again}");
    let other = drain(&lone.hub, json!({"id": "d2"})).await?;
    assert!(other["drain"]["deadline"].is_null() && other["drain"]["id"] == "d2", "{other}");
    assert!(other["drain"]["started_at"].as_str() >= first["drain"]["started_at"].as_str(), "{other}");

    admin.post("/admin/rebalance", &json!({"close": 1})).await?.problem(409, "draining")?;
    for _ in 0..2 {
        let cancelled = admin.request(Method::DELETE, "/admin/drain", None).await?.ok()?;
        assert!(cancelled["phase"] == "active" && cancelled["drain"].is_null(), "{cancelled}");
    }
    assert_eq!(lone.hub.client_http()?.get("/health").await?.status, 200);
    Ok(())
}

#[tokio::test]
async fn a_drain_taken_back_half_way_leaves_the_rest_in_peace() -> Result<()> {
    let fleet = HubFleet::start(2).await?;
    let hub = &fleet.hubs[0];
    let (all, per_second) = (400, 100);
    let leavers = Leavers::connect(hub.client, "guest", all).await?;
    drain(hub, json!({"id": "d1", "rate_per_second": per_second})).await?;
    leavers.are_gone(all / 3, PATIENCE).await?;
    admin(hub)?.request(Method::DELETE, "/admin/drain", None).await?.ok()?;
    let nodes = fleet.api(1)?.get("/nodes").await?.ok()?;
    assert_eq!(nodes[0]["status"], "active", "{nodes}");
    let health = hub.client_http()?.get("/health").await?;
    assert_eq!((health.status.as_u16(), &health.json()?["status"]), (200, &json!("healthy")));
    // Those that were told to go before the answer are on their way; the hub knows how many are left.
    let left = eventually("all that were told are gone", PATIENCE, async || {
        let left = hub.client_http()?.get("/health").await?.ok()?["websocket_count"].as_u64().unwrap_or(0);
        let gone = leavers.gone().len();
        Ok(Look::when(usize::try_from(left)? + gone == all, left, format!("{left} left, {gone} gone")))
    })
    .await?;
    println!("taken back after {} of {all} were closed, {left} stayed", leavers.gone().len());
    assert!(left > all as u64 / 3, "{left} are left");
    let _new = hub.connect("newcomer").await?;
    // Longer than closing the rest would take a tenth of it.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(leavers.gone().len() as u64 + left, all as u64, "nobody else was closed");
    let gone: Vec<_> = leavers.gone().into_iter().map(|departure| departure.user).collect();
    for number in 0..all {
        let user = format!("guest-{number}");
        if !gone.contains(&user) && number % 10 == 0 {
            assert_eq!(fleet.api(1)?.send(&user, "still there?").await?["status"], "delivered");
        }
    }
    Ok(())
}

#[tokio::test]
async fn the_most_idle_clients_go_first_and_a_rebalance_closes_no_more_than_asked() -> Result<()> {
    let fleet = HubFleet::start_with(2, |options| options.set("WSC_PING_INTERVAL", "1s")).await?;
    let hub = &fleet.hubs[0];
    let leavers = Leavers::connect(hub.client, "guest", 40).await?;
    let busy = |number: usize| number % 2 == 1;
    // A time is exact to one round of the sweep.
    tokio::time::sleep(Duration::from_millis(500)).await;
    for number in (0..40).filter(|number| busy(*number)) {
        assert_eq!(fleet.api(1)?.send(&format!("guest-{number}"), "busy?").await?["status"], "delivered");
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let answer =
        admin(hub)?.post("/admin/rebalance", &json!({"close": 12, "rate_per_second": 50})).await?.ok()?;
    assert_eq!(answer["close"], 12, "{answer}");
    let gone = leavers.are_gone(12, PATIENCE).await?;
    Leavers::were_sent_away(&gone, "rebalance", 1000)?;
    let number = |user: &str| user.trim_start_matches("guest-").parse::<usize>().unwrap_or(0);
    assert!(gone.iter().all(|departure| !busy(number(&departure.user))), "{gone:?}");
    assert_eq!(hub.client_http()?.get("/health").await?.status, 200, "the phase stays");
    let _welcome = hub.connect("newcomer").await?;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(leavers.gone().len(), 12, "no more than asked");

    drain(hub, json!({"id": "d1", "rate_per_second": 40})).await?;
    let gone = leavers.are_gone(40, PATIENCE).await?;
    let order: Vec<bool> = gone.iter().map(|departure| busy(number(&departure.user))).collect();
    let first_busy = order.iter().position(|busy| *busy);
    println!("closed in this order (true: was in use): {order:?}");
    assert_eq!(first_busy, Some(20), "the eight idle ones that were left go before all others");
    Ok(())
}

#[tokio::test]
async fn hot_settings_say_how_a_drain_goes_unless_the_order_does() -> Result<()> {
    let folder = wsc_tests::scratch_dir::ScratchDir::new("hot")?;
    folder.write("hot.yaml", "drain: {settle: 0s, rate_per_second: 1, retry_after_max: 0s}\n")?;
    let lone = LoneHub::trusted(|options| {
        options
            .set_path("WSC_HOT_SETTINGS_FILE", &folder.path().join("hot.yaml"))
            .set("WSC_DRAIN_SETTLE", "1m")
            .set("WSC_DRAIN_RATE", "500")
    })
    .await?;
    let leavers = Leavers::connect(lone.hub.client, "guest", 30).await?;
    drain(&lone.hub, json!({"id": "d1"})).await?;
    let status = eventually("the rate is that of the file", PATIENCE, async || {
        let status = admin(&lone.hub)?.get("/admin/status").await?.ok()?;
        Ok(Look::when(status["drain"]["rate_per_second"] == 1, status.clone(), status))
    })
    .await?;
    assert!(status["drain"]["remaining"].as_u64().is_some_and(|remaining| remaining > 20), "{status}");
    // A change holds for the drain that runs.
    folder.write("hot.yaml", "drain: {rate_per_second: 1000, retry_after_max: 0s}\n")?;
    let gone = leavers.are_gone(30, PATIENCE).await?;
    Leavers::were_sent_away(&gone, "drain", 0)
}
