//! Settings that reach running nodes change no pod template.

use anyhow::Result;
use serde_json::{Value, json};
use wsc_tests::kubernetes::{
    resource::{CONFIG_MAP, STATEFUL_SET},
    wsc_cluster::TestCluster,
};

use crate::{
    children::all_made,
    stage::{SOON, smallest, with_operator},
};

fn text(object: &Value) -> &str {
    object["data"]["settings.yaml"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn a_hot_setting_changes_the_config_map_and_a_cold_one_the_pods() -> Result<()> {
    let (ns, _operator) = with_operator("hot").await?;
    let cluster = TestCluster::create(&ns, "chat", &smallest()).await?;
    all_made(&ns).await?;
    let before = ns.get(STATEFUL_SET, "chat").await?;
    let template = &before["spec"]["template"];
    assert!(template.to_string().contains("/etc/wsc/hot/settings.yaml"), "{template}");

    cluster
        .change(&json!({
            "hub": {"logLevel": "debug", "maxConnections": 7, "allowedOrigins": ["https://a.example"]},
            "drain": {"ratePerSecond": 9}
        }))
        .await?;
    let lines = ["log_level: debug", "max_connections: 7", "- https://a.example", "rate_per_second: 9"];
    ns.until(CONFIG_MAP, "chat-hot", "it holds the changed settings", SOON, |map| {
        lines.iter().all(|line| text(map).contains(line))
    })
    .await?;
    cluster.until("Ready", "False", SOON).await?;
    let after = ns.get(STATEFUL_SET, "chat").await?;
    assert_eq!(&after["spec"]["template"], template, "hot settings stay out of the template");

    cluster.change(&json!({"hub": {"inbox": {"enabled": false}}})).await?;
    ns.until(STATEFUL_SET, "chat", "the template has the cold setting", SOON, |set| {
        let variables = set["spec"]["template"]["spec"]["containers"][0]["env"].as_array();
        let mut variables = variables.into_iter().flatten();
        variables.any(|one| one["name"] == "WSC_INBOX_MAX_MESSAGES" && one["value"] == "0")
    })
    .await?;
    Ok(())
}

#[tokio::test]
async fn hot_settings_that_somebody_edited_are_put_back() -> Result<()> {
    let (ns, _operator) = with_operator("hot-drift").await?;
    TestCluster::create(&ns, "chat", &smallest()).await?;
    all_made(&ns).await?;
    let wanted = text(&ns.get(CONFIG_MAP, "chat-hot").await?).to_owned();
    ns.merge(CONFIG_MAP, "chat-hot", &json!({"data": {"settings.yaml": "max_connections: 1"}})).await?;
    ns.until(CONFIG_MAP, "chat-hot", "the spec's settings are back", SOON, |map| text(map) == wanted).await?;
    ns.delete(CONFIG_MAP, "chat-hot").await?;
    ns.until(CONFIG_MAP, "chat-hot", "it is there again", SOON, |map| text(map) == wanted).await?;
    Ok(())
}
