//! Passwords, ACL users and TLS of Redis; files are read again at each attempt.

use std::{path::PathBuf, time::Duration};

use anyhow::Result;
use serde_json::{Value, json};
use wsc_tests::{
    hub_fleet::{ADMIN_KEY, HubFleet, api_keys},
    hub_process::{HubOptions, HubProcess},
    redis_server::{RedisOptions, RedisServer},
    scratch_dir::ScratchDir,
    wait::{Look, eventually},
    ws_client::{PATIENCE, WsClient, WsRequest},
};

/// Longer than the largest back-off.
const RECOVERY: Duration = Duration::from_secs(15);

struct Stage {
    redis: RedisServer,
    secrets: ScratchDir,
    keys: ScratchDir,
}

impl Stage {
    async fn new(redis: RedisOptions, files: &[(&str, &str)]) -> Result<Self> {
        let stage = Self {
            redis: RedisServer::start(redis).await?,
            secrets: ScratchDir::new("redis-secrets")?,
            keys: api_keys()?,
        };
        for (name, text) in files {
            stage.secrets.write(name, text)?;
        }
        Ok(stage)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.secrets.path().join(name)
    }

    fn options(&self) -> HubOptions {
        HubOptions::node("node-0")
            .set("WSC_REDIS_URL", &self.redis.url())
            .set("WSC_AUTH_MODE", "trusted")
            .set("WSC_HEARTBEAT_INTERVAL", "300ms")
            .set("WSC_LEASE", "1500ms")
            .set_path("WSC_API_KEYS_DIR", self.keys.path())
    }
}

async fn status_with_error(hub: &HubProcess, word: &str) -> Result<Value> {
    let admin = hub.api(ADMIN_KEY)?;
    let what = format!("redis_error begins with {word}");
    let wait = eventually(&what, PATIENCE, async || {
        let status = admin.get("/admin/status").await?.ok()?;
        let found = status["redis_error"].as_str().is_some_and(|error| error.starts_with(word));
        Ok(Look::when(found, status.clone(), status))
    });
    wait.await.map_err(|error| error.context(hub.output()))
}

#[tokio::test]
async fn a_wrong_password_is_reported_and_its_correction_needs_no_restart() -> Result<()> {
    let stage =
        Stage::new(RedisOptions::default().password("right-password-1"), &[("password", "wrong-password-1")])
            .await?;
    let hub =
        HubProcess::start(&stage.options().set_path("WSC_REDIS_PASSWORD_FILE", &stage.file("password")))
            .await?;
    let status = status_with_error(&hub, "auth_failed: ").await?;
    assert_eq!(
        (&status["redis"], &status["registered"], &status["phase"]),
        (&json!("down"), &json!(false), &json!("starting"))
    );
    let error = status["redis_error"].as_str().unwrap_or_default();
    assert!(!error.contains("wrong-password-1"), "{error}");
    let health = hub.client_http()?.get("/health").await?;
    assert_eq!(health.status, 503);
    assert_eq!(health.json()?["status"], "starting");
    assert_eq!(hub.client_http()?.get("/livez").await?.status, 200, "livez does not depend on redis");
    let refused = WsClient::refused(hub.client, &WsRequest::user("alice")).await?;
    refused.problem(503, "starting")?;
    assert!(refused.headers.contains_key("retry-after"));

    stage.secrets.write("password", "right-password-1\n")?;
    hub.becomes_ready(RECOVERY).await?;
    let status = hub.api(ADMIN_KEY)?.get("/admin/status").await?.ok()?;
    assert_eq!((&status["redis"], status.get("redis_error")), (&json!("up"), None), "{status}");
    hub.connect("alice").await?.expect_nothing().await?;
    assert!(!hub.output().contains("wrong-password-1") && !hub.output().contains("right-password-1"));
    Ok(())
}

#[tokio::test]
async fn a_rotated_password_is_taken_up_while_clients_stay() -> Result<()> {
    let stage =
        Stage::new(RedisOptions::default().password("first-password"), &[("password", "first-password")])
            .await?;
    let hub =
        HubProcess::ready(&stage.options().set_path("WSC_REDIS_PASSWORD_FILE", &stage.file("password")))
            .await?;
    let mut alice = hub.connect("alice").await?;
    let mut redis = stage.redis.connection().await?;
    redis::cmd("CONFIG").arg("SET").arg("requirepass").arg("second-password").exec_async(&mut redis).await?;
    redis::cmd("CLIENT")
        .arg("KILL")
        .arg("TYPE")
        .arg("normal")
        .arg("SKIPME")
        .arg("yes")
        .exec_async(&mut redis)
        .await?;
    redis::cmd("CLIENT").arg("KILL").arg("TYPE").arg("pubsub").exec_async(&mut redis).await?;
    status_with_error(&hub, "auth_failed: ").await?;
    let health = hub.client_http()?.get("/health").await?;
    assert_eq!(health.ok()?["status"], "degraded", "redis lost later is no reason to end");
    stage.secrets.write("password", "second-password")?;
    let http = hub.client_http()?;
    eventually("health is healthy again", RECOVERY, async || {
        let health = http.get("/health").await?.json()?;
        Ok(Look::when(health["status"] == "healthy", (), health))
    })
    .await?;
    alice.expect_nothing().await
}

#[tokio::test]
async fn an_acl_user_with_only_the_documented_rights_is_enough() -> Result<()> {
    let acl = "user hub on >acl-password-1 ~team:* &team:* +@all -@admin -@dangerous +info";
    let redis = RedisOptions::default().password("default-password").config(acl);
    let stage = Stage::new(redis, &[("username", "hub\n"), ("password", "acl-password-1\n")]).await?;
    let options = stage
        .options()
        .set("WSC_KEY_PREFIX", "team:")
        .set_path("WSC_REDIS_USERNAME_FILE", &stage.file("username"))
        .set_path("WSC_REDIS_PASSWORD_FILE", &stage.file("password"));
    let first = HubProcess::ready(&options).await?;
    let second = HubProcess::ready(&options.set("WSC_NODE_ID", "node-1")).await?;
    let mut alice = first.connect("alice").await?;
    let mut bob = second.connect("bob").await?;
    assert_eq!(alice.send_to("bob", "hi").await?, "delivered");
    bob.expect_text("hi").await?;
    let strangers: Vec<String> =
        stage.redis.keys("*").await?.into_iter().filter(|key| !key.starts_with("team:")).collect();
    assert_eq!(strangers, Vec::<String>::new(), "keys outside the prefix");
    Ok(())
}

#[tokio::test]
async fn redis_over_tls_is_verified_by_the_given_authority() -> Result<()> {
    let stage = Stage::new(RedisOptions::default().tls(), &[]).await?;
    let options = stage.options().set_path("WSC_REDIS_CA_FILE", &stage.redis.ca_file());
    let hub = HubProcess::ready(&options).await?;
    hub.connect("alice").await?.expect_nothing().await?;

    let stranger = RedisServer::start(RedisOptions::default().tls()).await?;
    let distrusting =
        stage.options().set("WSC_NODE_ID", "node-1").set_path("WSC_REDIS_CA_FILE", &stranger.ca_file());
    let hub = HubProcess::start(&distrusting).await?;
    status_with_error(&hub, "tls: ").await?;
    assert_eq!(hub.client_http()?.get("/health").await?.status, 503);
    Ok(())
}

#[tokio::test]
async fn a_redis_that_is_not_there_is_reported_as_unreachable() -> Result<()> {
    let keys = api_keys()?;
    let free = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let options = HubOptions::node("node-0")
        .set("WSC_REDIS_URL", &format!("redis://{free}"))
        .set("WSC_AUTH_MODE", "trusted")
        .set_path("WSC_API_KEYS_DIR", keys.path());
    let hub = HubProcess::start(&options).await?;
    let status = status_with_error(&hub, "unreachable: ").await?;
    assert_eq!(status["phase"], "starting");
    Ok(())
}

#[tokio::test]
async fn a_prefix_that_another_cluster_owns_keeps_a_node_out() -> Result<()> {
    let fleet = HubFleet::start_with(1, |options| options.set("WSC_OWNER", "cluster-a")).await?;
    let options = fleet.options("intruder").set("WSC_OWNER", "cluster-b");
    let intruder = HubProcess::start(&options).await?;
    let status = status_with_error(&intruder, "prefix_in_use: ").await?;
    assert_eq!((&status["registered"], &status["phase"]), (&json!(false), &json!("starting")), "{status}");
    assert_eq!(fleet.api(0)?.node_ids().await?, ["node-0"]);
    Ok(())
}
