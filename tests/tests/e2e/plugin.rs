//! `kubectl wsc` with pods: what the nodes say, where users are, drains by hand, and the logs in the support bundle.

use std::time::Duration;

use anyhow::{Context as _, Result};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use wsc_tests::{
    kubernetes::{
        plugin::{Plugin, unpack},
        resource::SECRET,
        wsc_cluster::{CLIENT_PORT, TestCluster, small_spec},
    },
    scratch_dir::ScratchDir,
    wait::{Look, eventually},
    ws_client::{WsClient, WsRequest},
};

use crate::stage::{STARTED, Stage};

/// Waits until what the plugin prints as JSON satisfies a condition.
async fn shows(plugin: &Plugin, line: &[&str], what: &str, holds: impl Fn(&Value) -> bool) -> Result<Value> {
    eventually(what, Duration::from_secs(60), async || {
        let answer = plugin.json(line).await?;
        Ok(if holds(&answer) { Look::Holds(answer) } else { Look::NotYet(answer.to_string()) })
    })
    .await
}

fn node<'a>(answer: &'a Value, name: &str) -> &'a Value {
    let nodes = answer["nodes"].as_array();
    nodes.and_then(|nodes| nodes.iter().find(|node| node["name"] == name)).unwrap_or(&Value::Null)
}

#[tokio::test]
async fn the_plugin_sees_users_and_drains_a_node_by_hand() -> Result<()> {
    let stage = Stage::new("plugin").await?;
    let folder = ScratchDir::new("plugin")?;
    let plugin = Plugin::new(&stage.ns, folder.path())?;
    let chat = TestCluster::create(&stage.ns, "chat", &small_spec(2)).await?;
    chat.ready(2, STARTED).await?;
    let token = plugin.run(&["token", "alice", "--send", "user:*"]).await?;
    let forward = chat.forward(1, CLIENT_PORT).await?;
    let mut alice =
        WsClient::connect(forward.address(), &WsRequest::token(token.trim())).await?.holding(forward);
    let _bob = chat.connect("bob", 0).await?;

    let found = plugin.json(&["user", "alice"]).await?;
    assert_eq!(
        (&found["online"], &found["connections"][0]["node_id"]),
        (&json!(true), &json!("chat-1")),
        "{found}"
    );
    // While the nodes are younger than a lease, none of them says who is nowhere.
    eventually("a node can say who is nowhere", STARTED, async || {
        let answer = plugin.run(&["user", "nobody"]).await;
        let known = matches!(&answer, Ok(text) if text == "nobody is offline\n");
        Ok(Look::when(known, (), format!("{answer:?}")))
    })
    .await?;
    let status = plugin.run(&["status"]).await?;
    assert!(status.contains("Connections  2 of "), "{status}");
    let nodes = plugin.json(&["nodes"]).await?;
    assert_eq!(node(&nodes, "chat-1")["says"]["connections"], 1, "{nodes}");

    let order = plugin.json(&["drain", "chat-1", "--rate", "100", "--deadline", "1m"]).await?;
    let id = order["drain"]["id"].as_str().context("a drain without id")?.to_owned();
    assert!(id.starts_with("kubectl-wsc/"), "{order}");
    shows(&plugin, &["nodes"], "chat-1 drains by the plugin's order", |nodes| {
        node(nodes, "chat-1")["says"]["drain"]["id"] == id.as_str()
    })
    .await?;
    alice.expect_close(1012, Duration::from_secs(60)).await?;
    Ok(())
}

#[tokio::test]
async fn a_drain_that_is_taken_back_leaves_the_node_at_work() -> Result<()> {
    let stage = Stage::new("plugin").await?;
    let folder = ScratchDir::new("plugin")?;
    let plugin = Plugin::new(&stage.ns, folder.path())?;
    let mut spec = small_spec(2);
    // So slow that the drain is still going on when it is taken back.
    spec["drain"]["settle"] = json!("30s");
    spec["drain"]["terminationGracePeriod"] = json!("90s");
    let chat = TestCluster::create(&stage.ns, "chat", &spec).await?;
    chat.ready(2, STARTED).await?;
    let _alice = chat.connect("alice", 1).await?;
    plugin.run(&["drain", "chat-1"]).await?;
    shows(&plugin, &["status", "chat"], "the operator says that chat-1 drains", |answer| {
        node(answer, "chat-1")["state"] == "Draining"
    })
    .await?;
    let text = plugin.run(&["cancel", "chat-1"]).await?;
    assert!(text.contains("takes clients again"), "{text}");
    shows(&plugin, &["nodes"], "chat-1 is active", |nodes| {
        node(nodes, "chat-1")["says"]["phase"] == "active"
    })
    .await?;
    let (_, said) = plugin.refused(&["cancel", "chat-1"]).await?;
    assert!(said.contains("does not drain"), "{said}");
    chat.connect("carol", 1).await?;
    Ok(())
}

#[tokio::test]
async fn the_report_holds_logs_and_the_hubs_answers_and_no_secret() -> Result<()> {
    let stage = Stage::new("plugin").await?;
    let folder = ScratchDir::new("plugin")?;
    let plugin = Plugin::new(&stage.ns, folder.path())?;
    let chat = TestCluster::create(&stage.ns, "chat", &small_spec(2)).await?;
    chat.ready(2, STARTED).await?;
    plugin.run(&["report", "--file", "bundle.tar.gz"]).await?;
    let files = unpack(&folder.path().join("bundle.tar.gz"))?;
    for wanted in [
        "hubs/chat-0/status.json",
        "hubs/chat-1/metrics.txt",
        "logs/chat-0-hub.log",
        "logs/chat-redis-0-redis.log",
        "pods.yaml",
        "children/statefulsets.yaml",
    ] {
        let text = files.iter().find(|(path, _)| path == wanted).map(|(_, text)| text);
        assert!(text.is_some_and(|text| text.len() > 20), "{wanted} is missing or empty");
    }
    assert!(files.iter().any(|(path, _)| path.starts_with("operator/")), "no log of the operator");
    let mut checked = 0;
    for secret in stage.ns.list(SECRET).await? {
        for (_, value) in secret["data"].as_object().into_iter().flatten() {
            let encoded = value.as_str().context("an entry that is no text")?;
            let plain = String::from_utf8(STANDARD.decode(encoded)?)?;
            for (path, text) in &files {
                assert!(!text.contains(encoded) && !text.contains(plain.trim()), "{path} holds a secret");
            }
            checked += 1;
        }
    }
    assert!(checked >= 5, "{checked} secrets");
    Ok(())
}
