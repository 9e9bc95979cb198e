//! What a hub asks of Redis: which commands, of which release, and with which rights.

use std::{collections::HashMap, path::Path};

use anyhow::{Context as _, Result};
use wsc_tests::{
    hub_fleet::{HubFleet, RedisWiring},
    hub_process::HubOptions,
    redis_cluster::RedisCluster,
    redis_server::{RedisOptions, RedisServer},
    scratch_dir::ScratchDir,
};

use crate::redis_forms::act_as_one;

/// Commands of a hub in every form of Redis, and those that its scripts call; the README repeats them.
const RIGHTS: &str = "+auth +hello +ping +select +evalsha +script|load +get +set +del +pttl +pexpire +persist +type +time \
    +sadd +srem +smembers +srandmember +hget +hset +hmget +hdel +hlen +hkeys +hgetall +hexists +hincrby \
    +zadd +zrem +zrange +zrangebyscore +zremrangebyscore +xadd +xlen +xdel +xtrim +xrange +xrevrange +memory|usage +info";
/// Besides, in a single Redis or behind Sentinels.
const PLAIN_RIGHTS: &str = "+publish +subscribe";
/// Besides, in a Redis Cluster.
const CLUSTER_RIGHTS: &str = "+cluster|slots +asking +spublish +ssubscribe";
/// The oldest release that a single Redis may be of.
const OLDEST: (u32, u32) = (6, 2);

const USER: &str = "hub";
const PASSWORD: &str = "password-of-the-hub-user";

/// A Redis that lets hubs in with a user that may do what it must, and nothing else.
#[derive(Debug)]
struct Guarded<R> {
    redis: R,
    secrets: ScratchDir,
}

impl<R> Guarded<R> {
    fn new(redis: R) -> Result<Self> {
        let secrets = ScratchDir::new("redis-user")?;
        secrets.write("username", USER)?;
        secrets.write("password", PASSWORD)?;
        Ok(Self { redis, secrets })
    }
}

impl<R: RedisWiring> RedisWiring for Guarded<R> {
    fn wire(&self, options: HubOptions) -> HubOptions {
        let file = |name: &str| self.secrets.path().join(name);
        self.redis
            .wire(options)
            .set("WSC_KEY_PREFIX", "team:")
            .set("WSC_EVENTS", "true")
            .set_path("WSC_REDIS_USERNAME_FILE", &file("username"))
            .set_path("WSC_REDIS_PASSWORD_FILE", &file("password"))
    }
}

fn options(more: &str) -> RedisOptions {
    RedisOptions::default().config(&format!(
        "user {USER} on >{PASSWORD} resetkeys ~team:* resetchannels &team:* -@all {RIGHTS} {more}"
    ))
}

/// What a server refused to somebody, by the word of its own log.
async fn refused(server: &RedisServer) -> Result<Vec<String>> {
    let log: Vec<Vec<redis::Value>> = server.command("ACL LOG").await?;
    Ok(log.iter().map(|entry| format!("{entry:?}")).collect())
}

#[tokio::test]
async fn a_user_with_only_the_documented_rights_is_enough_for_a_single_redis() -> Result<()> {
    let redis = Guarded::new(RedisServer::start(options(PLAIN_RIGHTS)).await?)?;
    let mut fleet = HubFleet::over(redis, 3, |options| options).await?;
    act_as_one(&mut fleet).await?;
    let server = &fleet.redis.redis;
    assert_eq!(refused(server).await?, Vec::<String>::new(), "a right is missing");
    let strangers: Vec<String> =
        server.keys("*").await?.into_iter().filter(|key| !key.starts_with("team:")).collect();
    assert_eq!(strangers, Vec::<String>::new(), "keys outside the prefix");
    Ok(())
}

#[tokio::test]
async fn a_user_with_only_the_documented_rights_is_enough_for_a_redis_cluster_over_tls() -> Result<()> {
    let certificates = ScratchDir::new("certificates")?;
    wsc_tests::redis_server::make_certificates(certificates.path()).await?;
    let folder: &Path = certificates.path();
    let cluster = RedisCluster::start(|| options(CLUSTER_RIGHTS).tls_beside(folder)).await?;
    let redis = Guarded::new(cluster)?;
    let ca = folder.join("ca.crt");
    let mut fleet = HubFleet::over(redis, 3, |options| options.set_path("WSC_REDIS_CA_FILE", &ca)).await?;
    act_as_one(&mut fleet).await?;
    for server in &fleet.redis.redis.servers {
        assert_eq!(refused(server).await?, Vec::<String>::new(), "a right is missing");
    }
    Ok(())
}

#[tokio::test]
async fn no_command_outside_redis_cluster_is_younger_than_redis_6_2() -> Result<()> {
    let server = RedisServer::start(RedisOptions::default()).await?;
    for right in RIGHTS.split_whitespace().chain(PLAIN_RIGHTS.split_whitespace()) {
        let name = right.trim_start_matches('+');
        let docs: HashMap<String, HashMap<String, redis::Value>> =
            server.command(&format!("COMMAND DOCS {name}")).await?;
        let about = docs.values().next().with_context(|| format!("redis knows no {name}"))?;
        let since: String =
            redis::from_redis_value(about.get("since").cloned().context("since no release")?)?;
        let mut parts = since.split('.').map(str::parse::<u32>);
        let release = (parts.next().context("no major")??, parts.next().context("no minor")??);
        assert!(release <= OLDEST, "{name} came with Redis {since}");
    }
    Ok(())
}
