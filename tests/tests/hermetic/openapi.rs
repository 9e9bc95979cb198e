//! The API is what `/openapi.json` says: who may call what, and every answer, judged by schemathesis.

use std::time::Instant;

use anyhow::{Context as _, Result};
use futures::FutureExt as _;
use http::Method;
use serde_json::Value;
use wsc_tests::{
    hub_fleet::{ADMIN_KEY, API_KEY, HubFleet},
    lone_hub::LoneHub,
    reconnecting_client::ReconnectingClient,
    schemathesis,
    ws_client::{WsClient, WsRequest},
};

/// Method, path and scope of every call in a description; the scope is none where no key is needed.
fn calls(document: &Value) -> Result<Vec<(Method, String, Option<String>)>> {
    let mut calls = Vec::new();
    for (path, item) in document["paths"].as_object().context("no paths")? {
        for (method, call) in item.as_object().context("no methods")? {
            let scope = call.pointer("/security/0/api_key/0").and_then(Value::as_str).map(str::to_owned);
            let path = path.replace("{user}", "alice").replace("{group}", "room");
            calls.push((Method::from_bytes(method.to_uppercase().as_bytes())?, path, scope));
        }
    }
    Ok(calls)
}

#[tokio::test]
async fn who_has_no_key_may_read_the_description_and_call_what_it_says() -> Result<()> {
    let lone = LoneHub::trusted(|options| options).await?;
    let nobody = lone.api()?.with_key(None);
    let answer = nobody.get("/openapi.json").await?;
    let document = answer.ok()?;
    assert_eq!(answer.headers["content-type"], "application/json");
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(
        document["info"]["version"],
        lone.hub.api(ADMIN_KEY)?.get("/admin/status").await?.ok()?["version"]
    );
    let calls = calls(&document)?;
    assert!(calls.len() >= 20, "{calls:?}");
    for (method, path, scope) in calls {
        let call = async |key| nobody.with_key(key).request(method.clone(), &path, None).await;
        let named = |error: anyhow::Error| error.context(format!("{method} {path}"));
        let Some(scope) = scope else {
            assert_eq!(call(None).await?.status, 200, "{method} {path}");
            continue;
        };
        for key in [None, Some("not-a-key-of-this-hub-0123456789")] {
            call(key).await?.problem(401, "invalid_token").map_err(named)?;
        }
        if scope == "admin" {
            call(Some(API_KEY)).await?.problem(403, "not_permitted").map_err(named)?;
        }
    }
    lone.hub.client_http()?.get("/openapi.json").await?.problem(404, "not_found")?;
    Ok(())
}

#[tokio::test]
async fn schemathesis_finds_no_answer_that_the_description_does_not_have() -> Result<()> {
    let fleet = HubFleet::start(1).await?;
    let address = fleet.hubs[0].client;
    // Somebody to be found, sent to and kicked: the description's examples name them.
    let request = WsRequest::new("/ws?user_id=alice&groups=room-1");
    let _alice = ReconnectingClient::start(Box::new(move || {
        let request = request.clone();
        async move { WsClient::upgrade(address, &request).await }.boxed()
    }));
    let began = Instant::now();
    let said = schemathesis::check(fleet.hubs[0].api, ADMIN_KEY).await?;
    println!("{said}\n{:.1} s", began.elapsed().as_secs_f64());
    assert!(said.contains("No issues found"), "{said}");
    assert!(!fleet.hubs[0].output().contains("panicked"), "{}", fleet.hubs[0].output());
    Ok(())
}
