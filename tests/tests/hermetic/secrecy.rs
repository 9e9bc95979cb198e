//! Nothing secret is in the logs of a run that uses every secret, rightly and wrongly.

use anyhow::Result;
use jsonwebtoken::Algorithm;
use serde_json::json;
use wsc_tests::{
    hub_fleet::{ADMIN_KEY, API_KEY, LEASE},
    hub_process::{HubOptions, HubProcess},
    lone_hub::TOKEN_SECRET,
    redis_server::{RedisOptions, RedisServer},
    scratch_dir::ScratchDir,
    tokens,
    ws_client::{WsClient, WsRequest},
};

#[tokio::test]
async fn no_token_key_password_or_content_is_logged_even_at_level_trace() -> Result<()> {
    let redis = RedisServer::start(RedisOptions::default().password("redis-password-in-use")).await?;
    let files = ScratchDir::new("secrets")?;
    files.write("tokens/default.key", TOKEN_SECRET)?;
    files.write("api/api", API_KEY)?;
    files.write("api/admin", ADMIN_KEY)?;
    files.write("redis/password", "redis-password-in-use")?;
    let options = HubOptions::node("quiet")
        .set("WSC_REDIS_URL", &redis.url())
        .set("WSC_HEARTBEAT_INTERVAL", "300ms")
        .set("WSC_LEASE", &format!("{}ms", LEASE.as_millis()))
        .set("WSC_LOG", "trace")
        .set_path("WSC_REDIS_PASSWORD_FILE", &files.path().join("redis/password"))
        .set_path("WSC_AUTH_KEYS_DIR", &files.path().join("tokens"))
        .set_path("WSC_API_KEYS_DIR", &files.path().join("api"));
    let mut hub = HubProcess::ready(&options).await?;

    let good = tokens::mint(None, TOKEN_SECRET, "alice")?;
    let wrong =
        tokens::sign(Algorithm::HS256, None, "another-secret-0123456789-0123456789", &tokens::claims("eve"))?;
    let mut alice = WsClient::connect(hub.client, &WsRequest::new(&format!("/ws?token={good}"))).await?;
    WsClient::refused(hub.client, &WsRequest::new(&format!("/ws?token={wrong}"))).await?;
    let offered = WsRequest::new("/ws").header("Sec-WebSocket-Protocol", &format!("wsc.v1, bearer.{wrong}"));
    WsClient::refused(hub.client, &offered).await?;
    let api = hub.api(API_KEY)?;
    let body = json!({"content": "words-for-alice-only"});
    assert_eq!(api.post("/v1/users/alice/messages", &body).await?.ok()?["status"], "delivered");
    alice.expect_text("words-for-alice-only").await?;
    let wrong_key = "not-the-right-api-key-0123456789";
    assert_eq!(api.with_key(Some(wrong_key)).get("/nodes").await?.status, 401);
    hub.api(ADMIN_KEY)?.get("/admin/status").await?.ok()?;
    alice.close().await?;
    hub.terminate(std::time::Duration::from_secs(10)).await?;

    let output = hub.output();
    assert!(output.lines().count() > 5, "a run at level trace says something: {output}");
    for secret in [
        TOKEN_SECRET,
        API_KEY,
        ADMIN_KEY,
        "redis-password-in-use",
        good.as_str(),
        wrong.as_str(),
        wrong_key,
        "words-for-alice-only",
    ] {
        if let Some(line) = output.lines().find(|line| line.contains(secret)) {
            panic!("{secret:?} is in the log line: {line}");
        }
    }
    for line in output.lines().filter(|line| !line.starts_with("---")) {
        assert!(serde_json::from_str::<serde_json::Value>(line).is_ok(), "no JSON: {line}");
    }
    Ok(())
}
