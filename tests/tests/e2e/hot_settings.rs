//! Settings and keys change while clients stay connected.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::json;
use wsc_tests::{
    api_client::ApiClient,
    kubernetes::{
        resource::{POD, WSC_CLUSTER},
        wsc_cluster::{API_PORT, CLIENT_PORT, TestCluster, condition, small_spec},
    },
    tokens,
    wait::{Look, eventually},
    ws_client::{WsClient, WsRequest},
};

use crate::stage::{STARTED, Stage};

/// The kubelet brings a changed Secret to its pods within about a minute and a half.
const BROUGHT: Duration = Duration::from_secs(180);

/// Uids of the pods; fails when a container was restarted.
async fn unbroken(chat: &TestCluster<'_>, pods: u32) -> Result<Vec<String>> {
    let mut uids = Vec::new();
    for ordinal in 0..pods {
        let pod = chat.namespace.get(POD, &chat.pod(ordinal)).await?;
        let restarts = &pod["status"]["containerStatuses"][0]["restartCount"];
        ensure!(restarts == 0, "{} was restarted {restarts} times", chat.pod(ordinal));
        uids.push(chat.pod_uid(ordinal).await?);
    }
    Ok(uids)
}

#[tokio::test]
async fn hot_settings_reach_every_node_and_ready_waits_for_them() -> Result<()> {
    let stage = Stage::new("hot").await?;
    let chat = TestCluster::create(&stage.ns, "chat", &small_spec(2)).await?;
    chat.ready(2, STARTED).await?;
    let pods = unbroken(&chat, 2).await?;
    let mut alice = chat.connect("alice", 0).await?;
    let mut bob = chat.connect("bob", 1).await?;

    let begun = Instant::now();
    chat.change(&json!({"hub": {"maxConnections": 4321, "logLevel": "debug"}})).await?;
    chat.ready(2, BROUGHT).await?;
    eprintln!("hot settings were on both nodes after {} ms", begun.elapsed().as_millis());
    let key = stage.ns.secret("chat-api", "admin").await?;
    for ordinal in 0..2 {
        let forward = chat.forward(ordinal, API_PORT).await?;
        let status = ApiClient::new(forward.address(), Some(key.trim()))?.get("/admin/status").await?.ok()?;
        assert_eq!(status["max_connections"], 4321, "Ready was said too early: {status}");
    }
    assert_eq!(unbroken(&chat, 2).await?, pods, "no pod was replaced");
    assert_eq!(alice.send_to("bob", "still the same connection").await?, "delivered");
    bob.expect_text("still the same connection").await?;
    Ok(())
}

#[tokio::test]
async fn keys_change_while_clients_stay_connected() -> Result<()> {
    let stage = Stage::new("keys").await?;
    let ns = &stage.ns;
    let chat = TestCluster::create(ns, "chat", &small_spec(2)).await?;
    chat.ready(2, STARTED).await?;
    let pods = unbroken(&chat, 2).await?;
    let mut alice = chat.connect("alice", 0).await?;
    let mut bob = chat.connect("bob", 1).await?;

    let old_api = ns.secret("chat-api", "api").await?;
    let (new_api, new_admin) = ("a-new-api-key-of-this-very-test", "a-new-admin-key-of-this-very-test");
    ns.write_secret("chat-api", &[("api", new_api), ("admin", new_admin)]).await?;
    let token_key = "a-new-token-key-of-this-very-test-long-enough";
    ns.write_secret("chat-auth", &[("default.key", token_key)]).await?;
    for ordinal in 0..2 {
        let forward = chat.forward(ordinal, API_PORT).await?;
        let (new, old) = (
            ApiClient::new(forward.address(), Some(new_api))?,
            ApiClient::new(forward.address(), Some(old_api.trim()))?,
        );
        eventually("the new API key is taken and the old one refused", BROUGHT, async || {
            let taken = new.get("/nodes").await?.status == 200;
            let refused = old.get("/nodes").await?.status == 401;
            Ok(Look::when(taken && refused, (), format!("taken: {taken}, old refused: {refused}")))
        })
        .await?;
    }
    let claims = tokens::claims_with_send("carol", &["user:*"]);
    let token = tokens::sign(jsonwebtoken::Algorithm::HS256, Some("default"), token_key, &claims)?;
    let forward = chat.forward(0, CLIENT_PORT).await?;
    let carol = eventually("a token of the new key is taken", BROUGHT, async || {
        Ok(match WsClient::connect(forward.address(), &WsRequest::token(&token)).await {
            Ok(client) => Look::Holds(client),
            Err(error) => Look::NotYet(error.to_string()),
        })
    });
    let mut carol = carol.await?;
    chat.ready(2, BROUGHT).await?;
    assert_eq!(unbroken(&chat, 2).await?, pods, "no pod was replaced");
    assert_eq!(alice.send_to("bob", "through the change").await?, "delivered");
    bob.expect_text("through the change").await?;
    assert_eq!(alice.send_to("carol", "to a new token").await?, "delivered");
    carol.expect_text("to a new token").await?;
    Ok(())
}

#[tokio::test]
async fn a_new_password_of_the_managed_redis_restarts_redis_and_no_hub() -> Result<()> {
    let stage = Stage::new("redis-password").await?;
    let ns = &stage.ns;
    let chat = TestCluster::create(ns, "chat", &small_spec(2)).await?;
    chat.ready(2, STARTED).await?;
    let pods = unbroken(&chat, 2).await?;
    let mut alice = chat.connect("alice", 0).await?;
    let mut bob = chat.connect("bob", 1).await?;
    let redis = ns.get(POD, "chat-redis-0").await?["metadata"]["uid"].clone();

    let password = "a-new-password-of-this-very-test";
    let config = format!("requirepass {password}\n");
    ns.write_secret("chat-redis", &[("password", password), ("redis.conf", &config)]).await?;
    ns.until(POD, "chat-redis-0", "Redis is a new pod", STARTED, |pod| {
        pod["metadata"]["uid"] != redis && condition(pod, "Ready")["status"] == "True"
    })
    .await?;
    let ready = ns
        .until(WSC_CLUSTER, "chat", "both nodes reach the new Redis", BROUGHT, |object| {
            condition(object, "RedisReady")["status"] == "True" && object["status"]["registeredNodes"] == 2
        })
        .await?;
    ensure!(condition(&ready, "SpecValid")["status"] == "True", "{}", ready["status"]);
    assert_eq!(unbroken(&chat, 2).await?, pods, "no pod was replaced");
    eventually("both find each other again", STARTED, async || {
        let said = alice.send_to("bob", "after the change").await?;
        Ok(Look::when(said == "delivered", (), said))
    })
    .await?;
    bob.expect_text("after the change").await?;
    Ok(())
}
