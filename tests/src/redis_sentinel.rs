//! A primary, two replicas and three Sentinels, all real `redis-server` processes on loopback.

use std::{net::TcpListener, path::Path, time::Duration};

use anyhow::{Context as _, Result};
use tokio::process::Command;

use crate::{
    child_process::ChildProcess,
    hub_fleet::RedisWiring,
    hub_process::HubOptions,
    program,
    redis_server::{RedisOptions, RedisServer},
    scratch_dir::ScratchDir,
    wait::{Look, eventually},
};

/// The name under which the Sentinels watch the primary.
pub const MASTER: &str = "chat";
/// Servers with data.
const SERVERS: usize = 3;
/// Sentinels; two of them must agree.
const SENTINELS: usize = 3;

/// Servers with data, and the Sentinels that watch them.
#[derive(Debug)]
pub struct RedisSentinel {
    /// The first is the primary at the beginning.
    pub servers: Vec<RedisServer>,
    scheme: &'static str,
    sentinels: Vec<(u16, ChildProcess)>,
    folder: ScratchDir,
}

impl RedisSentinel {
    /// Starts all with the default user's password, which the Sentinels ask for only if told to.
    ///
    /// # Errors
    /// When `redis-server` is missing or they do not find each other within 20 s.
    pub async fn start(password: &str, sentinels_too: bool) -> Result<Self> {
        Self::start_in(password, sentinels_too, None).await
    }

    /// The same where all speak TLS with each other and with hubs, with the certificates of
    /// [`crate::redis_server::make_certificates`] in `certificates`; the Sentinels speak nothing else and ask for the password
    /// too.
    ///
    /// # Errors
    /// As [`RedisSentinel::start`].
    pub async fn start_with_tls(password: &str, certificates: &Path) -> Result<Self> {
        Self::start_in(password, true, Some(certificates)).await
    }

    async fn start_in(password: &str, sentinels_too: bool, certificates: Option<&Path>) -> Result<Self> {
        let options = || {
            let options = RedisOptions::default()
                .password(password)
                .config(&format!("masterauth {password}"))
                .config("repl-diskless-sync-delay 0");
            match certificates {
                Some(folder) => options.tls_beside(folder),
                None => options,
            }
        };
        let mut servers = vec![RedisServer::start(options()).await?];
        let primary = servers[0].hub_port();
        for _ in 1..SERVERS {
            let replica = options().config(&format!("replicaof 127.0.0.1 {primary}"));
            servers.push(RedisServer::start(replica).await?);
        }
        let scheme = servers[0].scheme();
        let mut fleet = Self { servers, scheme, sentinels: Vec::new(), folder: ScratchDir::new("sentinel")? };
        for number in 0..SENTINELS {
            let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
            let own = if sentinels_too {
                format!("requirepass {password}\nsentinel sentinel-pass {password}\n")
            } else {
                String::new()
            };
            let listen = match certificates {
                None => format!("port {port}\n"),
                Some(folder) => {
                    let folder = folder.display();
                    format!(
                        "port 0\ntls-port {port}\ntls-auth-clients no\ntls-replication yes\n\
                         tls-cert-file {folder}/server.crt\ntls-key-file {folder}/server.key\n\
                         tls-ca-cert-file {folder}/ca.crt\n"
                    )
                }
            };
            let text = format!(
                "{listen}bind 127.0.0.1\ndaemonize no\n{own}\
                 sentinel monitor {MASTER} 127.0.0.1 {primary} 2\n\
                 sentinel auth-pass {MASTER} {password}\n\
                 sentinel down-after-milliseconds {MASTER} 1000\n\
                 sentinel failover-timeout {MASTER} 4000\n"
            );
            let config = fleet.folder.write(&format!("sentinel-{number}.conf"), &text)?;
            let mut command = Command::new(program::installed("redis-server", "redis-server")?);
            command.arg(config).arg("--sentinel").current_dir(fleet.folder.path());
            let process = ChildProcess::spawn("redis-sentinel", command)?;
            fleet.sentinels.push((port, process));
        }
        for (number, (_, process)) in fleet.sentinels.iter().enumerate() {
            // Two replicas and two other Sentinels.
            let what = format!("sentinel {number} knows all");
            eventually(&what, Duration::from_secs(20), async || {
                let output = process.stdout();
                let known = |what: &str| output.matches(what).count();
                let (replicas, others) = (known("+slave slave"), known("+sentinel sentinel"));
                let all = replicas == SERVERS - 1 && others == SENTINELS - 1;
                Ok(Look::when(all, (), format!("{replicas} replicas, {others} sentinels")))
            })
            .await?;
        }
        Ok(fleet)
    }

    /// The Sentinels' addresses, as a hub's list of addresses.
    #[must_use]
    pub fn url(&self) -> String {
        let list: Vec<String> = self.sentinels.iter().map(|(port, _)| format!("127.0.0.1:{port}")).collect();
        format!("{}://{}", self.scheme, list.join(","))
    }

    /// The place among the servers of the one that says it is the primary.
    ///
    /// # Errors
    /// After `within`, when none does besides `former`.
    pub async fn primary_besides(&self, former: Option<usize>, within: Duration) -> Result<usize> {
        eventually("a server is the primary", within, async || {
            for (place, server) in self.servers.iter().enumerate() {
                let Ok(answer) = server.command::<redis::Value>("ROLE").await else { continue };
                let role: (String,) = match answer {
                    redis::Value::Array(mut parts) if !parts.is_empty() => {
                        redis::from_redis_value(redis::Value::Array(vec![parts.remove(0)]))
                            .context("ROLE says no word")?
                    }
                    other => return Ok(Look::NotYet(format!("{other:?}"))),
                };
                if role.0 == "master" && Some(place) != former {
                    return Ok(Look::Holds(place));
                }
            }
            Ok(Look::NotYet("no primary".to_owned()))
        })
        .await
    }
}

impl RedisWiring for RedisSentinel {
    fn wire(&self, options: HubOptions) -> HubOptions {
        options
            .set("WSC_REDIS_MODE", "sentinel")
            .set("WSC_REDIS_SENTINEL_MASTER", MASTER)
            .set("WSC_REDIS_URL", &self.url())
    }
}
