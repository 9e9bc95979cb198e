//! One trace through the cluster: a call with `traceparent`, and what each node's log says of it.

use anyhow::{Context as _, Result, ensure};
use http::Method;
use serde_json::{Value, json};
use wsc_tests::{
    hub_fleet::{API_KEY, HubFleet},
    wait::{Look, eventually},
    ws_client::{PATIENCE, WsClient, WsRequest},
};

const SPAN: &str = "00f067aa0ba902b7";

/// A trace of its own for each call, so that lines cannot be mistaken.
fn trace_id(call: usize) -> String {
    format!("4bf92f3577b34da6a3ce929d0e0e{call:04x}")
}

/// The log lines of a node that belong to any trace.
fn traced_lines(fleet: &HubFleet, node: usize) -> Vec<Value> {
    let output = fleet.hubs[node].output();
    let lines = output.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| !line["span"].is_null()).collect()
}

/// The one line of a trace in a node's log, once it is there.
async fn line(fleet: &HubFleet, node: usize, trace: &str) -> Result<Value> {
    eventually(&format!("node {node} logs a line of trace {trace}"), PATIENCE, async || {
        let lines = traced_lines(fleet, node);
        let found: Vec<_> = lines.iter().filter(|line| line["span"]["trace_id"] == trace).collect();
        ensure!(found.len() <= 1, "one line per hop: {found:?}");
        let found = found.first().map(|line| (*line).clone());
        Ok(found.map_or_else(|| Look::NotYet(format!("{lines:?}")), Look::Holds))
    })
    .await
}

fn text(line: &Value, pointer: &str) -> Result<String> {
    Ok(line
        .pointer(pointer)
        .and_then(Value::as_str)
        .with_context(|| format!("no {pointer}: {line}"))?
        .to_owned())
}

#[tokio::test]
async fn one_trace_is_in_the_logs_of_every_node_that_a_call_reaches() -> Result<()> {
    let fleet = HubFleet::start_with(3, |options| options.set("WSC_LOG", "debug")).await?;
    let _alice =
        WsClient::connect(fleet.hubs[1].client, &WsRequest::new("/ws?user_id=alice&groups=room")).await?;
    let _bob = fleet.hubs[2].connect("bob").await?;
    fleet.user_has(0, "alice", 1, PATIENCE).await?;
    fleet.user_has(0, "bob", 1, PATIENCE).await?;
    let api = fleet.api(0)?;
    let words = json!({"content": "words-for-alice-only"});
    let named = json!({"content": "words-for-alice-only", "message_id": "m1"});
    let many = json!({"messages": [{"receiver": "alice"}, {"receiver": "bob"}]});
    let reason = json!({"reason": "enough"});
    // The call, and the other nodes whose users it reaches.
    let calls: [(&str, &Value, &str, &[usize]); 6] = [
        ("/v1/users/alice/messages", &words, "Deliver", &[1]),
        ("/v1/users/alice/messages", &named, "Deliver", &[1]),
        ("/v1/messages", &many, "Deliver", &[1, 2]),
        ("/v1/groups/room/messages", &words, "Group", &[1]),
        ("/v1/broadcast", &words, "Broadcast", &[1, 2]),
        ("/v1/users/alice/kick", &reason, "Kick", &[1]),
    ];
    for (call, (path, body, kind, reached)) in calls.into_iter().enumerate() {
        let trace = trace_id(call);
        let traced = api.with_header("traceparent", &format!("00-{trace}-{SPAN}-01"))?;
        traced.post(path, body).await?.ok()?;
        let own = line(&fleet, 0, &trace).await?;
        assert_eq!((&own["span"]["of"], &own["span"]["parent_id"]), (&json!("call"), &json!(SPAN)), "{own}");
        assert_eq!(
            (&own["status"], &own["method"], &own["path"]),
            (&json!(200), &json!("POST"), &json!(path))
        );
        let own_span = text(&own, "/span/span_id")?;
        let mut spans = vec![SPAN.to_owned(), own_span.clone()];
        for node in reached {
            let theirs = line(&fleet, *node, &trace).await?;
            assert_eq!(text(&theirs, "/span/parent_id")?, own_span, "a child of the call: {theirs}");
            assert_eq!((&theirs["kind"], &theirs["connections"]), (&json!(kind), &json!(1)), "{theirs}");
            spans.push(text(&theirs, "/span/span_id")?);
        }
        let hops = spans.len();
        spans.sort();
        spans.dedup();
        assert_eq!(spans.len(), hops, "every hop has an id of its own");
        for node in (1..3).filter(|node| !reached.contains(node)) {
            let lines = traced_lines(&fleet, node);
            assert!(lines.iter().all(|line| line["span"]["trace_id"] != trace), "node {node}: {lines:?}");
        }
    }
    for hub in &fleet.hubs {
        let output = hub.output();
        for secret in ["words-for-alice-only", API_KEY] {
            assert!(!output.contains(secret), "{secret:?} is in\n{output}");
        }
        for counter in ["wsc_bus_malformed_total", "wsc_bus_unknown_kinds_total"] {
            assert_eq!(hub.api(API_KEY)?.metric(counter).await?, 0, "{counter}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_traceparent_that_breaks_the_rules_is_as_good_as_none_and_none_makes_no_span() -> Result<()> {
    let fleet = HubFleet::start_with(2, |options| options.set("WSC_LOG", "debug")).await?;
    let mut alice = fleet.hubs[1].connect("alice").await?;
    fleet.user_has(0, "alice", 1, PATIENCE).await?;
    let good = format!("00-{}-{SPAN}-01", trace_id(0xabc));
    let upper = good.to_uppercase();
    let zeros = format!("00-{}-{SPAN}-01", "0".repeat(32));
    let version = good.replacen("00", "ff", 1);
    for bad in ["", "nonsense", &upper, &zeros, &version, &good[1..]] {
        let api =
            if bad.is_empty() { fleet.api(0)? } else { fleet.api(0)?.with_header("traceparent", bad)? };
        assert_eq!(api.send("alice", "x").await?["status"], "delivered", "{bad}");
        alice.expect_text("x").await?;
    }
    // Clients do not begin traces, and a refused call of the backend belongs to its trace as well.
    let health = fleet.hubs[0].client_http()?.with_header("traceparent", &good)?.get("/health").await?;
    assert_eq!(health.status, 200);
    let last = format!("00-{}-{SPAN}-00", trace_id(0xdef));
    let refused = fleet.api(0)?.with_key(None).with_header("traceparent", &last)?;
    assert_eq!(refused.request(Method::POST, "/v1/broadcast?token=hidden", None).await?.status, 401);
    let said = line(&fleet, 0, &trace_id(0xdef)).await?;
    assert_eq!((&said["status"], &said["path"]), (&json!(401), &json!("/v1/broadcast")));
    // What was before it would have been said before it.
    assert_eq!(traced_lines(&fleet, 0), [said]);
    assert_eq!(traced_lines(&fleet, 1), Vec::<Value>::new());
    Ok(())
}
