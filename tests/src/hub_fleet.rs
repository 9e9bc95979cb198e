//! Several hubs on one Redis, with an API key, in mode trusted.

use std::time::Duration;

use anyhow::Result;
use serde_json::Value;

use crate::{
    api_client::ApiClient,
    hub_process::{HubOptions, HubProcess},
    redis_server::{RedisOptions, RedisServer},
    scratch_dir::ScratchDir,
    wait::{Look, eventually},
};

/// Key of scope `api`.
pub const API_KEY: &str = "api-key-of-the-tests-0123456789";
/// Key of scope `admin`.
pub const ADMIN_KEY: &str = "admin-key-of-the-tests-0123456789";
/// How often these hubs renew their leases.
pub const HEARTBEAT: Duration = Duration::from_millis(300);
/// How long their leases last.
pub const LEASE: Duration = Duration::from_millis(1500);

/// How long they still take clients when they drain.
pub const SETTLE: Duration = Duration::from_millis(200);

/// Redis in any of its forms, as hubs are told of it.
pub trait RedisWiring {
    /// The settings that lead there.
    fn wire(&self, options: HubOptions) -> HubOptions;
}

impl RedisWiring for RedisServer {
    fn wire(&self, options: HubOptions) -> HubOptions {
        options.set("WSC_REDIS_URL", &self.url())
    }
}

/// Several hubs on one Redis.
#[derive(Debug)]
pub struct HubFleet<R = RedisServer> {
    /// The registry they share.
    pub redis: R,
    /// The hubs, `node-0` first.
    pub hubs: Vec<HubProcess>,
    keys: ScratchDir,
}

impl HubFleet {
    /// Starts Redis and `size` hubs, and waits until each sees all.
    ///
    /// # Errors
    /// When a program is missing or the hubs do not find each other within 20 s.
    pub async fn start(size: usize) -> Result<Self> {
        Self::start_with(size, |options| options).await
    }

    /// The same with settings of the test's own.
    ///
    /// # Errors
    /// When a program is missing or the hubs do not find each other within 20 s.
    pub async fn start_with(size: usize, change: impl Fn(HubOptions) -> HubOptions) -> Result<Self> {
        HubFleet::over(RedisServer::start(RedisOptions::default()).await?, size, change).await
    }
}

impl<R: RedisWiring> HubFleet<R> {
    /// Starts `size` hubs over a Redis that runs, and waits until each sees all.
    ///
    /// # Errors
    /// When a program is missing or the hubs do not find each other within 20 s.
    pub async fn over(redis: R, size: usize, change: impl Fn(HubOptions) -> HubOptions) -> Result<Self> {
        let mut fleet = Self { redis, hubs: Vec::new(), keys: api_keys()? };
        let mut usual_lease = true;
        for number in 0..size {
            let usual = fleet.options(&format!("node-{number}"));
            let options = change(usual.clone());
            usual_lease &= options.get("WSC_LEASE") == usual.get("WSC_LEASE");
            fleet.hubs.push(HubProcess::ready(&options).await?);
        }
        fleet.all_see(size).await?;
        if usual_lease {
            fleet.whole().await?;
        }
        Ok(fleet)
    }

    /// Settings of a hub of this fleet.
    #[must_use]
    pub fn options(&self, id: &str) -> HubOptions {
        let millis = |duration: Duration| format!("{}ms", duration.as_millis());
        self.redis
            .wire(HubOptions::node(id))
            .set("WSC_AUTH_MODE", "trusted")
            .set_path("WSC_API_KEYS_DIR", self.keys.path())
            .set("WSC_HEARTBEAT_INTERVAL", &millis(HEARTBEAT))
            .set("WSC_LEASE", &millis(LEASE))
            .set("WSC_DRAIN_SETTLE", &millis(SETTLE))
    }

    /// The control API of a hub.
    ///
    /// # Errors
    /// When the HTTP client cannot be built.
    pub fn api(&self, number: usize) -> Result<ApiClient> {
        self.hubs[number].api(API_KEY)
    }

    /// `/admin/status` of a hub.
    ///
    /// # Errors
    /// When it is not answered with 200.
    pub async fn status(&self, number: usize) -> Result<Value> {
        self.hubs[number].api(ADMIN_KEY)?.get("/admin/status").await?.ok()
    }

    /// Waits until every hub lists `size` nodes.
    ///
    /// # Errors
    /// After 20 s, with what was listed.
    pub async fn all_see(&self, size: usize) -> Result<()> {
        eventually(&format!("every hub lists {size} nodes"), Duration::from_secs(20), async || {
            let mut seen = Vec::new();
            for number in 0..self.hubs.len() {
                // While Redis is away the answer is 503.
                match self.api(number)?.node_ids().await {
                    Ok(ids) => seen.push(ids),
                    Err(error) => return Ok(Look::NotYet(error.to_string())),
                }
            }
            Ok(Look::when(seen.iter().all(|ids| ids.len() == size), (), format!("{seen:?}")))
        })
        .await
    }

    /// Waits until every hub can say that somebody is nowhere: a lease after a fresh Redis.
    ///
    /// # Errors
    /// After 20 s, with the last answer.
    pub async fn whole(&self) -> Result<()> {
        for number in 0..self.hubs.len() {
            let what = format!("node {number} knows who is nowhere");
            eventually(&what, Duration::from_secs(20), async || {
                let answer = self.api(number)?.get("/v1/users/nobody").await?;
                Ok(Look::when(answer.status == 200, (), answer.text))
            })
            .await?;
        }
        Ok(())
    }

    /// Waits until a hub's answer about a user shows this many connections.
    ///
    /// # Errors
    /// After `within`, with the last answer.
    pub async fn user_has(
        &self,
        number: usize,
        user: &str,
        connections: usize,
        within: Duration,
    ) -> Result<Value> {
        eventually(&format!("{user} has {connections} connections"), within, async || {
            let answer = match self.api(number)?.user(user).await {
                Ok(answer) => answer,
                Err(error) => return Ok(Look::NotYet(error.to_string())),
            };
            let found = answer["connections"].as_array().map_or(usize::MAX, Vec::len);
            Ok(Look::when(found == connections, answer.clone(), answer))
        })
        .await
    }
}

/// A folder with one key of each scope.
///
/// # Errors
/// When it cannot be written.
pub fn api_keys() -> Result<ScratchDir> {
    let keys = ScratchDir::new("api-keys")?;
    keys.write("api", API_KEY)?;
    keys.write("admin", ADMIN_KEY)?;
    Ok(keys)
}
