//! Redis behind Sentinels, where everybody speaks TLS only.

use std::time::Duration;

use anyhow::Result;
use wsc_tests::{
    hub_fleet::HubFleet,
    hub_process::HubOptions,
    redis_sentinel::RedisSentinel,
    redis_server::make_certificates,
    scratch_dir::ScratchDir,
    wait::{Look, eventually},
    ws_client::PATIENCE,
};

use crate::redis_forms::act_as_one;

const PASSWORD: &str = "password-of-the-servers";
/// A failover and the way back; the machine of the tests may be busy.
const HEALED: Duration = Duration::from_secs(30);

/// Certificates and the password in a file.
async fn secrets() -> Result<ScratchDir> {
    let folder = ScratchDir::new("sentinel-tls")?;
    make_certificates(folder.path()).await?;
    folder.write("password", PASSWORD)?;
    Ok(folder)
}

fn trusting(options: HubOptions, folder: &ScratchDir) -> HubOptions {
    let (password, ca) = (folder.path().join("password"), folder.path().join("ca.crt"));
    options.set_path("WSC_REDIS_PASSWORD_FILE", &password).set_path("WSC_REDIS_CA_FILE", &ca)
}

#[tokio::test]
async fn hubs_act_as_one_over_sentinel_with_tls() -> Result<()> {
    let folder = secrets().await?;
    let redis = RedisSentinel::start_with_tls(PASSWORD, folder.path()).await?;
    let mut fleet = HubFleet::over(redis, 3, |options| trusting(options, &folder)).await?;
    act_as_one(&mut fleet).await
}

#[tokio::test]
async fn the_new_primary_behind_sentinels_is_reached_over_tls() -> Result<()> {
    let folder = secrets().await?;
    let mut redis = RedisSentinel::start_with_tls(PASSWORD, folder.path()).await?;
    let mut lost = redis.servers.remove(0);
    let fleet = HubFleet::over(redis, 2, |options| trusting(options, &folder)).await?;
    let mut alice = fleet.hubs[0].connect("alice").await?;
    fleet.user_has(1, "alice", 1, PATIENCE).await?;
    lost.kill().await?;
    fleet.redis.primary_besides(None, HEALED).await?;
    eventually("a message crosses the nodes again", HEALED, async || {
        let sent = fleet.api(1)?.send("alice", "again").await?;
        Ok(Look::when(sent["status"] == "delivered", (), sent))
    })
    .await?;
    alice.expect_text("again").await?;
    Ok(())
}
