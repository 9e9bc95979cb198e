//! Keys of the control API: who may, and how keys change.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;
use wsc_tests::{
    hub_fleet::{ADMIN_KEY, API_KEY},
    hub_process::{HubOptions, HubProcess},
    lone_hub::LoneHub,
    wait::{Look, eventually},
};

#[tokio::test]
async fn every_path_asks_for_a_key_of_its_scope() -> Result<()> {
    let lone = LoneHub::trusted(|options| options).await?;
    let api = lone.hub.api(API_KEY)?;
    for path in ["/nodes", "/v1/nodes", "/v1/users/alice", "/admin/status"] {
        for key in [None, Some("wrong-key-0123456789-0123456789"), Some(""), Some(&API_KEY[..10])] {
            let answer = api.with_key(key).get(path).await?;
            let detail =
                answer.problem(401, "invalid_token").map_err(|e| e.context(format!("{path} {key:?}")))?;
            assert!(key.is_none_or(|key| key.is_empty() || !detail.contains(key)), "{detail}");
        }
        api.with_key(Some(ADMIN_KEY)).get(path).await?.ok()?;
    }
    api.get("/admin/status").await?.problem(403, "not_permitted")?;
    for (path, body) in [
        ("/v1/users/alice/messages", json!({"content": "x"})),
        ("/v1/broadcast", json!({"content": "x"})),
        ("/v1/users/alice/kick", json!({})),
    ] {
        api.with_key(None).post(path, &body).await?.problem(401, "invalid_token")?;
        api.post(path, &body).await?.ok()?;
        api.with_key(Some(ADMIN_KEY)).post(path, &body).await?.ok()?;
    }
    Ok(())
}

#[tokio::test]
async fn with_no_keys_nobody_gets_in() -> Result<()> {
    let hub = HubProcess::ready(&HubOptions::node("keyless").set("WSC_AUTH_MODE", "trusted")).await?;
    for key in [None, Some(""), Some(API_KEY)] {
        hub.api(API_KEY)?.with_key(key).get("/nodes").await?.problem(401, "invalid_token")?;
    }
    Ok(())
}

#[tokio::test]
async fn keys_change_while_the_hub_runs() -> Result<()> {
    let lone = LoneHub::trusted(|options| options).await?;
    let new_key = "next-api-key-of-the-tests-0123456789";
    lone.api_keys.write("api-next", &format!("{new_key}\n"))?;
    let api = lone.hub.api(new_key)?;
    eventually("the new key is taken", Duration::from_secs(15), async || {
        let answer = api.get("/nodes").await?;
        Ok(Look::when(answer.status == 200, (), answer.text))
    })
    .await?;
    lone.api()?.get("/nodes").await?.ok()?;
    std::fs::remove_file(lone.api_keys.path().join("api"))?;
    eventually("the removed key is refused", Duration::from_secs(15), async || {
        let answer = lone.api()?.get("/nodes").await?;
        Ok(Look::when(answer.status == 401, (), answer.text))
    })
    .await?;
    api.get("/nodes").await?.ok()?;
    Ok(())
}

#[tokio::test]
async fn the_client_port_neither_sends_nor_lists() -> Result<()> {
    let lone = LoneHub::trusted(|options| options).await?;
    let http = lone.hub.client_http()?.with_key(Some(ADMIN_KEY));
    for path in ["/nodes", "/v1/nodes", "/v1/users/alice", "/admin/status", "/metrics"] {
        http.get(path).await?.problem(404, "not_found").map_err(|error| error.context(path))?;
    }
    http.post("/v1/broadcast", &json!({"content": "x"})).await?.problem(404, "not_found")?;
    lone.api()?.get("/ws?user_id=a").await?.problem(404, "not_found")?;
    Ok(())
}
