//! What a hub says about itself: health, metrics, status, its row among the nodes.

use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::json;
use wsc_tests::{
    hub_fleet::{ADMIN_KEY, HubFleet},
    lone_hub::LoneHub,
    scrape::Scrape,
};

#[tokio::test]
async fn health_and_livez_answer_on_both_ports_with_no_key() -> Result<()> {
    let lone = LoneHub::trusted(|options| options).await?;
    let alice = lone.hub.connect("alice").await?;
    for http in [lone.hub.client_http()?, lone.api()?.with_key(None)] {
        let health = http.get("/health").await?.ok()?;
        assert_eq!(
            health,
            json!({"status": "healthy", "is_running": true, "websocket_count": 1, "node_id": "lone", "redis": "embedded"})
        );
        assert_eq!(http.get("/livez").await?.status, 200);
    }
    alice.close().await
}

#[tokio::test]
async fn metrics_count_connections_and_sends_and_name_no_user() -> Result<()> {
    let lone = LoneHub::trusted(|options| options).await?;
    let mut alice = lone.hub.connect("alice-in-metrics").await?;
    lone.api()?.send("alice-in-metrics", "x").await?;
    alice.expect_text("x").await?;
    let scrape = Scrape::of(&lone.api()?.with_key(None)).await?;
    let text = &scrape.text;
    assert_eq!(scrape.value("wsc_connections")?, Some(1.0));
    assert_eq!(scrape.value("wsc_connections_opened_total")?, Some(1.0));
    assert!(text.contains("# TYPE wsc_connections gauge"), "{text}");
    assert!(!text.contains("alice-in-metrics"), "labels never hold user ids");
    let sent: f64 = text
        .lines()
        .filter(|line| line.starts_with("wsc_") && line.contains("delivered") && line.contains("_total"))
        .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
        .sum();
    assert!(sent >= 1.0, "no counter of delivered sends in\n{text}");
    for name in
        text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split(['{', ' ']).next())
    {
        assert!(name.is_empty() || name.starts_with("wsc_"), "foreign metric {name}");
    }
    alice.close().await?;
    lone.connections(0, Duration::from_secs(5)).await?;
    let api = lone.api()?;
    assert_eq!((api.metric("wsc_connections").await?, api.metric("wsc_closes_total").await?), (0, 1));
    Ok(())
}

#[tokio::test]
async fn admin_status_of_a_lone_hub_says_embedded() -> Result<()> {
    let lone = LoneHub::trusted(|options| options.set("WSC_MAX_CONNECTIONS", "77")).await?;
    let status = lone.hub.api(ADMIN_KEY)?.get("/admin/status").await?.ok()?;
    assert_eq!(status["phase"], "active", "{status}");
    assert_eq!(status["registered"], true);
    assert_eq!(status["redis"], "embedded");
    assert_eq!(status["connections"], 0);
    assert_eq!(status["max_connections"], 77);
    assert_eq!(status["node_id"], "lone");
    Ok(())
}

#[tokio::test]
async fn admin_status_and_nodes_of_a_fleet_tell_the_same_story() -> Result<()> {
    let fleet = HubFleet::start_with(2, |options| {
        options.set("WSC_POD_UID", "uid-of-a-pod").set("WSC_ZONE", "z1").set("WSC_NODE_IP", "10.1.2.3")
    })
    .await?;
    let _alice = fleet.hubs[0].connect("alice").await?;
    let status = fleet.status(0).await?;
    assert_eq!((&status["phase"], &status["registered"]), (&json!("active"), &json!(true)), "{status}");
    assert_eq!((&status["redis"], status.get("redis_error")), (&json!("up"), None), "{status}");
    assert_eq!((&status["connections"], &status["pod_uid"]), (&json!(1), &json!("uid-of-a-pod")), "{status}");
    let lease = status["lease_expires_in_ms"].as_i64().context("no lease_expires_in_ms")?;
    assert!((1..=1500).contains(&lease), "{lease}");

    let nodes = fleet.api(1)?.get("/nodes").await?.ok()?;
    assert_eq!(
        nodes,
        fleet.api(1)?.get("/v1/nodes").await?.ok()?,
        "both paths answer the same, up to a heartbeat"
    );
    let row = nodes
        .as_array()
        .and_then(|rows| rows.iter().find(|row| row["id"] == "node-0"))
        .context("no node-0")?;
    assert_eq!(row["incarnation"], status["incarnation"], "{row}");
    assert_eq!(row["version"], status["version"]);
    assert_eq!(
        (&row["status"], &row["zone"], &row["ip_address"]),
        (&json!("active"), &json!("z1"), &json!("10.1.2.3"))
    );
    assert_eq!(row["port"], fleet.hubs[0].client.port());
    for field in ["started_at", "last_seen"] {
        assert!(
            row[field].as_str().is_some_and(|at| at.contains('T') && at.ends_with('Z')),
            "{field}: {row}"
        );
    }
    Ok(())
}
