//! Settings that change while the hub runs.

use std::{path::Path, time::Duration};

use anyhow::Result;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use wsc_tests::{
    hub_fleet::ADMIN_KEY,
    hub_process::HubOptions,
    lone_hub::LoneHub,
    scrape::Scrape,
    scratch_dir::ScratchDir,
    wait::{Look, eventually},
    ws_client::{WsClient, WsRequest},
};

const SOON: Duration = Duration::from_secs(10);

fn hash(text: &str) -> String {
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn started(folder: &ScratchDir, text: &str) -> Result<LoneHub> {
    let path = folder.write("hot.yaml", text)?;
    LoneHub::trusted(|options| options.set_path("WSC_HOT_SETTINGS_FILE", &path)).await
}

/// Waits until the hub says that it applied this text.
async fn applied(lone: &LoneHub, text: &str) -> Result<Value> {
    let admin = lone.hub.api(ADMIN_KEY)?;
    eventually("the hot settings are applied", SOON, async || {
        let status = admin.get("/admin/status").await?.ok()?;
        let holds = status["hot_hash"] == hash(text) && status.get("hot_error").is_none();
        Ok(Look::when(holds, status.clone(), status))
    })
    .await
}

async fn change(lone: &LoneHub, folder: &ScratchDir, text: &str) -> Result<Value> {
    folder.write("hot.yaml", text)?;
    applied(lone, text).await
}

#[tokio::test]
async fn hot_settings_win_over_variables_and_act_at_once() -> Result<()> {
    let folder = ScratchDir::new("hot")?;
    let first = "max_connections: 2\nallowed_origins: [https://one.example]\n";
    let lone = started(&folder, first).await?;
    let status = applied(&lone, first).await?;
    assert_eq!(status["max_connections"], 2);
    let from = |origin: &str| WsRequest::user("carol").header("Origin", origin);
    let mut alice = lone.hub.connect("alice").await?;
    WsClient::refused(lone.hub.client, &from("https://two.example"))
        .await?
        .problem(403, "origin_not_allowed")?;
    let mut bob = WsClient::connect(lone.hub.client, &from("https://one.example")).await?;
    WsClient::refused(lone.hub.client, &WsRequest::user("dave")).await?.problem(503, "node_full")?;
    assert_eq!(alice.send_to("carol", "hi").await?, "delivered");
    bob.expect_text("hi").await?;

    let second = "max_connections: 3\nallowed_origins: [https://two.example]\nclient_send: none\n\
                  limits: {client_rate: 1}\n";
    assert_eq!(change(&lone, &folder, second).await?["max_connections"], 3);
    WsClient::refused(lone.hub.client, &from("https://one.example"))
        .await?
        .problem(403, "origin_not_allowed")?;
    let _carol = WsClient::connect(lone.hub.client, &from("https://two.example")).await?;
    // Connections that are open follow too.
    alice.send(&json!({"receiver": "carol", "content": "x", "message_id": "m1"})).await?;
    alice.expect_error("not_permitted").await?;
    for _ in 0..3 {
        alice.send(&json!({"message_type": "ping"})).await?;
    }
    alice.expect("pong").await?;
    alice.expect_error("rate_limited").await?;

    // A lower limit throws nobody out; who comes is refused.
    change(&lone, &folder, "max_connections: 1\n").await?;
    WsClient::refused(lone.hub.client, &WsRequest::user("dave")).await?.problem(503, "node_full")?;
    lone.connections(3, SOON).await?;
    // What the file no longer names is as the variables say.
    assert_eq!(change(&lone, &folder, "").await?["hot_hash"], hash(""));
    lone.hub.connect("dave").await?;
    Ok(())
}

#[tokio::test]
async fn message_and_queue_bounds_hold_for_connections_that_come_later() -> Result<()> {
    let folder = ScratchDir::new("hot")?;
    let lone = started(&folder, "").await?;
    let mut before = lone.hub.connect("before").await?;
    change(&lone, &folder, "limits: {max_message_bytes: 1000, outbound_queue_bytes: 4096}").await?;
    let mut after = lone.hub.connect("after").await?;
    let text = json!({"message_type": "ping", "content": "x".repeat(2000)}).to_string();
    before.send_text(&text).await?;
    before.expect("pong").await?;
    after.send_text(&text).await?;
    assert!(after.expect_close(1009, SOON).await?.contains("1000"));
    Ok(())
}

#[tokio::test]
async fn a_bad_file_keeps_what_was_applied_and_names_every_mistake_once() -> Result<()> {
    let folder = ScratchDir::new("hot")?;
    let good = "max_connections: 7\n";
    let lone = started(&folder, good).await?;
    let admin = lone.hub.api(ADMIN_KEY)?;
    folder.write(
        "hot.yaml",
        "max_connections: 9\nlog_level: loud\ncolour: red\ndrain: {rate_per_second: 0}\n",
    )?;
    let status = eventually("the mistakes are told", SOON, async || {
        let status = admin.get("/admin/status").await?.ok()?;
        Ok(Look::when(status["hot_error"].is_string(), status.clone(), status))
    })
    .await?;
    assert_eq!(
        (&status["max_connections"], &status["hot_hash"]),
        (&json!(7), &json!(hash(good))),
        "{status}"
    );
    let error = status["hot_error"].as_str().unwrap_or_default();
    let parts = [
        "log_level: expected a level",
        "colour: there is no such setting",
        "drain.rate_per_second: expected a whole number from 1 to 100000",
    ];
    for part in parts {
        assert!(error.contains(part), "{part} in {error}");
    }
    // The file is looked at every second; a mistake that stays is said once.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(lone.hub.output().matches("colour: there is no such setting").count(), 1);
    let refused = Scrape::of(&admin).await?.sum("wsc_hot_settings_refusals_total", &[])?;
    assert_eq!(refused, 1.0);
    std::fs::remove_file(folder.path().join("hot.yaml"))?;
    eventually("the missing file is told", SOON, async || {
        let status = admin.get("/admin/status").await?.ok()?;
        let error = status["hot_error"].as_str().unwrap_or_default().to_owned();
        Ok(Look::when(error.contains("cannot read"), (), error))
    })
    .await?;
    assert_eq!(change(&lone, &folder, "max_connections: 8").await?["max_connections"], 8);
    Ok(())
}

#[tokio::test]
async fn the_link_that_kubernetes_swaps_in_a_mounted_config_map_is_followed() -> Result<()> {
    let folder = ScratchDir::new("config-map")?;
    let put = |version: &str, text: &str| -> Result<()> {
        folder.write(&format!("..{version}/hot.yaml"), text)?;
        let link = folder.path().join("..data_tmp");
        std::os::unix::fs::symlink(format!("..{version}"), &link)?;
        std::fs::rename(link, folder.path().join("..data"))?;
        Ok(())
    };
    put("v1", "max_connections: 11")?;
    let path = folder.path().join("hot.yaml");
    std::os::unix::fs::symlink(Path::new("..data/hot.yaml"), &path)?;
    let lone = LoneHub::trusted(|options| options.set_path("WSC_HOT_SETTINGS_FILE", &path)).await?;
    assert_eq!(applied(&lone, "max_connections: 11").await?["max_connections"], 11);
    put("v2", "max_connections: 12")?;
    assert_eq!(applied(&lone, "max_connections: 12").await?["max_connections"], 12);
    Ok(())
}

#[tokio::test]
async fn the_log_level_changes_while_the_hub_runs() -> Result<()> {
    let folder = ScratchDir::new("hot")?;
    let lone = started(&folder, "log_level: warn").await?;
    lone.hub.connect("unseen").await?;
    assert!(!lone.hub.output().contains("\"unseen\""), "{}", lone.hub.output());
    change(&lone, &folder, "log_level: debug").await?;
    eventually("connections are logged", SOON, async || {
        lone.hub.connect("seen").await?;
        let output = lone.hub.output();
        Ok(Look::when(output.contains("seen"), (), output))
    })
    .await?;
    Ok(())
}

#[tokio::test]
async fn a_bad_file_at_the_start_ends_it_with_64_and_every_mistake() -> Result<()> {
    let folder = ScratchDir::new("hot")?;
    let path = folder.write("hot.yaml", "limits: {client_rate: 0}\ncolour: red\n")?;
    let options = HubOptions::node("n").set("WSC_AUTH_MODE", "trusted").set("WSC_LEASE", "1s");
    let mut process = options.set_path("WSC_HOT_SETTINGS_FILE", &path).spawn()?;
    assert_eq!(process.exit(SOON).await?.code(), Some(64), "{}", process.output());
    let said = process.stderr();
    for part in
        ["limits.client_rate: expected a whole number from 1", "colour: there is no such", "WSC_LEASE"]
    {
        assert!(said.contains(part), "{part} in {said}");
    }
    let missing =
        HubOptions::node("n").set("WSC_AUTH_MODE", "trusted").set("WSC_HOT_SETTINGS_FILE", "/no/file");
    let mut process = missing.spawn()?;
    assert_eq!(process.exit(SOON).await?.code(), Some(64), "{}", process.output());
    assert!(process.stderr().contains("/no/file"), "{}", process.stderr());
    Ok(())
}
