//! The reference of the metrics against what hubs answer.

use anyhow::Result;
use serde_json::json;
use wsc_tests::{hub_fleet::HubFleet, metrics_reference::MetricsReference, scrape::Scrape};

#[tokio::test]
async fn hubs_with_traffic_answer_nothing_that_the_reference_of_metrics_does_not_say() -> Result<()> {
    let reference = MetricsReference::read()?;
    let fleet = HubFleet::start_with(2, |options| options.set("WSC_EVENTS", "true")).await?;
    let mut alice = fleet.hubs[0].connect("alice").await?;
    let api = fleet.api(1)?;
    api.send("alice", "x").await?;
    alice.expect_text("x").await?;
    let stored = json!({"content": "kept", "options": {"store": true}});
    api.post("/v1/users/alice/messages", &stored).await?.ok()?;
    api.broadcast("all").await?;
    api.post("/v1/groups/nobodys/messages", &json!({"content": "g"})).await?.ok()?;
    api.post("/v1/users/alice/kick", &json!({})).await?.ok()?;
    let mut text = String::new();
    for number in 0..2 {
        text += &Scrape::of(&fleet.api(number)?).await?.text;
    }
    for series in
        ["wsc_sends_total{", "wsc_broadcasts_total{", "wsc_inbox_stored_total ", "wsc_events_written_total "]
    {
        assert!(text.contains(series), "{series} is not counted in\n{text}");
    }
    assert_eq!(reference.differences(&text), Vec::<String>::new());
    Ok(())
}
