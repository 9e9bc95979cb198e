//! Nothing secret is in what a hub says of a run that uses every secret, rightly and wrongly: not in its logs, and
//! not in answers, statuses and metrics.

use std::time::Duration;

use anyhow::Result;
use jsonwebtoken::Algorithm;
use serde_json::json;
use wsc_tests::{
    api_client::Answer,
    hub_fleet::{ADMIN_KEY, API_KEY, LEASE},
    hub_process::{HubOptions, HubProcess},
    lone_hub::TOKEN_SECRET,
    redis_server::{RedisOptions, RedisServer},
    scratch_dir::ScratchDir,
    signing_key::SigningKey,
    tokens::{self, unix_now},
    wait::{Look, eventually},
    ws_client::{PATIENCE, WsClient, WsRequest},
};

const REDIS_PASSWORD: &str = "redis-password-in-use";

/// The parts of a token that would serve a thief, or show that a token was written down.
fn parts(token: &str) -> Vec<String> {
    token.split('.').skip(1).filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

#[tokio::test]
async fn no_token_key_password_or_content_is_said_even_at_level_trace() -> Result<()> {
    let redis = RedisServer::start(RedisOptions::default().password(REDIS_PASSWORD)).await?;
    let files = ScratchDir::new("secrets")?;
    let ec = SigningKey::es256()?;
    files.write("tokens/default.key", TOKEN_SECRET)?;
    files.write("tokens/ec.pem", &ec.pem)?;
    files.write("api/api", API_KEY)?;
    files.write("api/admin", ADMIN_KEY)?;
    files.write("redis/password", REDIS_PASSWORD)?;
    let options = HubOptions::node("quiet")
        .set("WSC_REDIS_URL", &redis.url())
        .set("WSC_HEARTBEAT_INTERVAL", "300ms")
        .set("WSC_LEASE", &format!("{}ms", LEASE.as_millis()))
        .set("WSC_LOG", "trace")
        .set_path("WSC_REDIS_PASSWORD_FILE", &files.path().join("redis/password"))
        .set_path("WSC_AUTH_KEYS_DIR", &files.path().join("tokens"))
        .set_path("WSC_API_KEYS_DIR", &files.path().join("api"));
    let mut hub = HubProcess::ready(&options).await?;
    let hmac = |secret: &str, user: &str, seconds: i64| {
        let claims = json!({"sub": user, "exp": unix_now() + seconds, "jti": rand::random::<u64>()});
        tokens::sign(Algorithm::HS256, Some("default"), secret, &claims)
    };
    let mut answers: Vec<Answer> = Vec::new();
    let mut said_to_clients = String::new();

    // Tokens: good, expired, of another secret, of another key, cut; in query, header and subprotocol.
    let other_secret = "another-secret-0123456789-0123456789";
    let good = [
        hmac(TOKEN_SECRET, "alice", 60)?,
        hmac(TOKEN_SECRET, "alice", 70)?,
        ec.sign(Some("ec"), &tokens::claims("alice"))?,
    ];
    let mut bad = vec![
        hmac(TOKEN_SECRET, "eve", -60)?,
        hmac(other_secret, "eve", 60)?,
        SigningKey::ed25519()?.sign(Some("ec"), &tokens::claims("eve"))?,
        tokens::unsigned(&tokens::claims("eve")),
    ];
    bad.push(format!("{}x", hmac(TOKEN_SECRET, "eve", 61)?.replace('.', "..")));
    let places = |token: &str| {
        [
            WsRequest::new(&format!("/ws?token={token}")),
            WsRequest::token(token),
            WsRequest::new("/ws").header("Sec-WebSocket-Protocol", &format!("wsc.v1, bearer.{token}")),
        ]
    };
    for token in &good {
        for request in places(token) {
            WsClient::connect(hub.client, &request).await?.close().await?;
        }
    }
    for token in &bad {
        for request in places(token) {
            answers.push(WsClient::refused(hub.client, &request).await?);
        }
        // Two different values, another path, and the other port.
        let two = WsRequest::new(&format!("/ws?token={token}"))
            .header("Authorization", &format!("Bearer {}", good[0]));
        answers.push(WsClient::refused(hub.client, &two).await?);
    }
    let client_http = hub.client_http()?;
    for path in ["/ws", "/wss", "/health", "/v1/nodes"] {
        answers.push(client_http.get(&format!("{path}?token={}", good[0])).await?);
        answers.push(client_http.with_key(Some(&good[1])).get(path).await?);
    }

    // New tokens in frames, good and bad, and frames that cannot be read.
    let mut alice = WsClient::connect(hub.client, &WsRequest::token(&good[0])).await?;
    for token in good.iter().chain(&bad) {
        for frame in [
            json!({"message_type": "auth", "data": {"token": token}, "message_id": "a"}),
            json!({"message_type": "auth", "data": token, "message_id": "b"}),
            json!({"message_type": "auth", "data": {"token": [token]}, "message_id": "c"}),
        ] {
            alice.send(&frame).await?;
            said_to_clients.push_str(&format!("{:?}\n", alice.next(PATIENCE).await?));
        }
    }

    // The API: the right keys, wrong ones, and a key in the wrong place.
    let api = hub.api(API_KEY)?;
    let body = json!({"content": "words-for-alice-only"});
    assert_eq!(api.post("/v1/users/alice/messages", &body).await?.ok()?["status"], "delivered");
    alice.expect_text("words-for-alice-only").await?;
    let wrong_key = "not-the-right-api-key-0123456789";
    answers.push(api.with_key(Some(wrong_key)).get("/nodes").await?);
    answers.push(api.with_key(Some(&good[0])).get(&format!("/nodes?key={wrong_key}")).await?);
    answers.push(api.with_key(None).get(&format!("/v1/users/x?token={ADMIN_KEY}")).await?);
    answers.push(api.get("/admin/status").await?);
    let admin = hub.api(ADMIN_KEY)?;
    for path in ["/admin/status", "/metrics", "/nodes", "/health", "/v1/users/alice"] {
        answers.push(admin.get(path).await?);
    }

    // Keys that change to unusable ones, and a Redis that lets nobody in any more.
    files.write("tokens/extra.key", "short-and-secret")?;
    files.write("api/api-extra", "short-api-secret")?;
    eventually("unusable keys are said", PATIENCE, async || {
        let said = hub.output();
        Ok(Look::when(said.matches("stay in force").count() == 2, (), said))
    })
    .await?;
    // Only the hub is thrown out: this connection asks for it, and is spared.
    files.write("redis/password", "redis-password-of-nobody")?;
    let mut other = redis.connection().await?;
    let _thrown_out: i64 =
        redis::cmd("CLIENT").arg("KILL").arg("SKIPME").arg("yes").query_async(&mut other).await?;
    eventually("the password that nobody has is refused and said", PATIENCE, async || {
        let status = admin.get("/admin/status").await?;
        let said = status.text.contains("WRONGPASS") || status.json()?["redis"] == "down";
        answers.push(status);
        Ok(Look::when(said, (), "not yet"))
    })
    .await?;
    alice.close().await?;
    hub.terminate(Duration::from_secs(10)).await?;

    let output = hub.output();
    assert!(output.lines().count() > 20, "a run at level trace says something: {output}");
    let mut secrets: Vec<String> = [
        TOKEN_SECRET,
        other_secret,
        API_KEY,
        ADMIN_KEY,
        REDIS_PASSWORD,
        "redis-password-of-nobody",
        wrong_key,
        "short-and-secret",
        "short-api-secret",
        "words-for-alice-only",
        "token=",
    ]
    .map(str::to_owned)
    .into();
    secrets.extend(good.iter().chain(&bad).flat_map(|token| parts(token)));
    for secret in &secrets {
        if let Some(line) = output.lines().find(|line| line.contains(secret)) {
            panic!("{secret:?} is in the log line: {line}");
        }
        for answer in &answers {
            let headers = format!("{:?}", answer.headers);
            assert!(!answer.text.contains(secret) && !headers.contains(secret), "{secret:?} in {answer:?}");
        }
        assert!(!said_to_clients.contains(secret), "{secret:?} is in {said_to_clients}");
    }
    for line in output.lines().filter(|line| !line.starts_with("---")) {
        assert!(serde_json::from_str::<serde_json::Value>(line).is_ok(), "no JSON: {line}");
    }
    Ok(())
}
