//! A Redis Cluster of three primaries with a replica each, all real `redis-server` processes on loopback.

use std::{net::TcpListener, time::Duration};

use anyhow::{Context as _, Result, ensure};

use crate::{
    hub_fleet::RedisWiring,
    hub_process::HubOptions,
    redis_server::{RedisOptions, RedisServer},
    wait::{Look, eventually},
};

/// Primaries; as many replicas.
const PRIMARIES: usize = 3;
/// Slots of a Redis Cluster.
const SLOTS: usize = 16_384;
/// Until the servers call one of them lost, unless told otherwise.
const NODE_TIMEOUT: Duration = Duration::from_millis(1500);
/// Forming takes some rounds of gossip.
const FORMED: Duration = Duration::from_secs(30);

/// The servers of a Redis Cluster.
#[derive(Debug)]
pub struct RedisCluster {
    /// The primaries of the beginning, then their replicas in the same order.
    pub servers: Vec<RedisServer>,
}

impl RedisCluster {
    /// Starts the servers and joins them; `options` are each server's own.
    ///
    /// # Errors
    /// When `redis-server` is missing or the cluster is not formed within 30 s.
    pub async fn start(options: impl Fn() -> RedisOptions) -> Result<Self> {
        Self::start_with(NODE_TIMEOUT, options).await
    }

    /// The same with servers that call one of them lost after this time.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_with(node_timeout: Duration, options: impl Fn() -> RedisOptions) -> Result<Self> {
        let mut servers = Vec::new();
        let mut bus_ports = Vec::new();
        for number in 0..PRIMARIES * 2 {
            // The usual port of the cluster's own bus, 10,000 above, may be none or taken.
            let bus = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
            let lines = options()
                .config("cluster-enabled yes")
                .config(&format!("cluster-config-file nodes-{number}.conf"))
                .config(&format!("cluster-port {bus}"))
                .config(&format!("cluster-node-timeout {}", node_timeout.as_millis()))
                .config("cluster-replica-validity-factor 0")
                .config("repl-diskless-sync-delay 0");
            servers.push(RedisServer::start(lines).await?);
            bus_ports.push(bus);
        }
        let cluster = Self { servers };
        cluster.join(&bus_ports).await?;
        Ok(cluster)
    }

    async fn join(&self, bus_ports: &[u16]) -> Result<()> {
        for (number, server) in self.servers.iter().enumerate() {
            server.command::<()>(&format!("CLUSTER SET-CONFIG-EPOCH {}", number + 1)).await?;
            if number < PRIMARIES {
                let (first, end) = (SLOTS * number / PRIMARIES, SLOTS * (number + 1) / PRIMARIES);
                server.command::<()>(&format!("CLUSTER ADDSLOTSRANGE {first} {}", end - 1)).await?;
            }
        }
        for (other, bus) in self.servers.iter().zip(bus_ports).skip(1) {
            self.servers[0]
                .command::<()>(&format!("CLUSTER MEET 127.0.0.1 {} {bus}", other.hub_port()))
                .await?;
        }
        self.all_say("cluster_known_nodes:6").await?;
        for number in 0..PRIMARIES {
            let id: String = self.servers[number].command("CLUSTER MYID").await?;
            let replica = &self.servers[number + PRIMARIES];
            eventually("a replica follows its primary", FORMED, async || {
                let done = replica.command::<()>(&format!("CLUSTER REPLICATE {id}")).await;
                Ok(Look::when(done.is_ok(), (), format!("{done:?}")))
            })
            .await?;
        }
        self.all_say("cluster_state:ok").await?;
        for replica in &self.servers[PRIMARIES..] {
            eventually("a replica has its primary's data", FORMED, async || {
                let about: String = replica.command("INFO replication").await?;
                Ok(Look::when(about.contains("master_link_status:up"), (), about))
            })
            .await?;
        }
        // Every server must know the roles, or the first failover finds no replica.
        for server in &self.servers {
            eventually("each server knows the replicas", FORMED, async || {
                let nodes: String = server.command("CLUSTER NODES").await?;
                Ok(Look::when(nodes.matches("slave").count() == PRIMARIES, (), nodes))
            })
            .await?;
        }
        Ok(())
    }

    async fn all_say(&self, line: &str) -> Result<()> {
        for server in &self.servers {
            eventually(&format!("a server says {line}"), FORMED, async || {
                let about: String = server.command("CLUSTER INFO").await?;
                Ok(Look::when(about.contains(line), (), about))
            })
            .await?;
        }
        Ok(())
    }

    /// The place among the servers of the primary that has a key's or a sharded channel's slot, by what `asked` knows.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub async fn owner(&self, key: &str, asked: usize) -> Result<usize> {
        let server = &self.servers[asked];
        let slot: i64 = server.command(&format!("CLUSTER KEYSLOT {key}")).await?;
        let ranges: Vec<Vec<redis::Value>> = server.command("CLUSTER SLOTS").await?;
        let mut port = None;
        for range in ranges {
            ensure!(range.len() >= 3, "a range without a server: {range:?}");
            let first: i64 = redis::from_redis_value(range[0].clone())?;
            let last: i64 = redis::from_redis_value(range[1].clone())?;
            let primary: Vec<redis::Value> = redis::from_redis_value(range[2].clone())?;
            if (first..=last).contains(&slot) {
                port = Some(redis::from_redis_value(primary.get(1).cloned().context("no port")?)?);
            }
        }
        let port: u16 = port.context("nobody has the slot")?;
        self.servers.iter().position(|server| server.port() == port).context("no such server")
    }

    /// Gives the slot of a key to another primary, with all that is in it.
    ///
    /// # Errors
    /// When a server refuses.
    pub async fn move_slot(&self, key: &str) -> Result<()> {
        let from = self.owner(key, 0).await?;
        let to = (from + 1) % PRIMARIES;
        let (source, target) = (&self.servers[from], &self.servers[to]);
        let slot: i64 = source.command(&format!("CLUSTER KEYSLOT {key}")).await?;
        let source_id: String = source.command("CLUSTER MYID").await?;
        let target_id: String = target.command("CLUSTER MYID").await?;
        target.command::<()>(&format!("CLUSTER SETSLOT {slot} IMPORTING {source_id}")).await?;
        source.command::<()>(&format!("CLUSTER SETSLOT {slot} MIGRATING {target_id}")).await?;
        loop {
            let keys: Vec<String> = source.command(&format!("CLUSTER GETKEYSINSLOT {slot} 100")).await?;
            if keys.is_empty() {
                break;
            }
            for key in keys {
                source.command::<()>(&format!("MIGRATE 127.0.0.1 {} {key} 0 5000", target.port())).await?;
            }
        }
        for server in [target, source] {
            server.command::<()>(&format!("CLUSTER SETSLOT {slot} NODE {target_id}")).await?;
        }
        Ok(())
    }

    /// How many hear a sharded channel at the primary that has its slot.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub async fn subscribers(&self, channel: &str) -> Result<u64> {
        let server = &self.servers[self.owner(channel, 0).await?];
        let (_, heard): (String, u64) = server.command(&format!("PUBSUB SHARDNUMSUB {channel}")).await?;
        Ok(heard)
    }

    /// All keys of all primaries that match a glob pattern, sorted.
    ///
    /// # Errors
    /// When a server that runs cannot be asked.
    pub async fn keys(&self, pattern: &str) -> Result<Vec<String>> {
        let mut keys = Vec::new();
        for server in &self.servers {
            let Ok(mut connection) = server.connection().await else { continue };
            let role: Vec<redis::Value> = redis::cmd("ROLE").query_async(&mut connection).await?;
            if role.first() == Some(&redis::Value::BulkString(b"master".to_vec())) {
                let here: Vec<String> = redis::cmd("KEYS").arg(pattern).query_async(&mut connection).await?;
                keys.extend(here);
            }
        }
        keys.sort();
        Ok(keys)
    }
}

impl RedisWiring for RedisCluster {
    fn wire(&self, options: HubOptions) -> HubOptions {
        // Not all: the others are found.
        let list: Vec<String> =
            self.servers.iter().skip(1).step_by(2).map(|s| format!("127.0.0.1:{}", s.hub_port())).collect();
        let scheme = self.servers.first().map_or("redis", |server| server.scheme());
        options
            .set("WSC_REDIS_MODE", "cluster")
            .set("WSC_REDIS_URL", &format!("{scheme}://{}", list.join(",")))
    }
}
