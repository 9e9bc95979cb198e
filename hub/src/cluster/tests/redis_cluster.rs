//! Three primaries of a Redis Cluster, of one test.

use std::{
    net::TcpListener,
    path::PathBuf,
    time::{Duration, Instant},
};

use super::redis_server::RedisServer;
use crate::cluster::{RedisMode, RedisSettings};

/// Slots of a Redis Cluster.
const SLOTS: usize = 16_384;
/// Primaries.
const PRIMARIES: usize = 3;
/// Forming takes some rounds of gossip.
const FORMED: Duration = Duration::from_secs(30);

/// A Redis of whatever form.
pub(super) enum TestRedis {
    /// One server.
    One(RedisServer),
    /// Several, each with a part of the keys.
    Sharded(RedisCluster),
}

/// Primaries without replicas.
pub(super) struct RedisCluster {
    pub(super) primaries: Vec<RedisServer>,
    folders: Vec<PathBuf>,
}

impl RedisCluster {
    pub(super) async fn start() -> Self {
        let mut cluster = Self { primaries: Vec::new(), folders: Vec::new() };
        let mut bus_ports = Vec::new();
        for _ in 0..PRIMARIES {
            let folder = std::env::temp_dir().join(format!("wsc-redis-{}", ulid::Ulid::generate()));
            std::fs::create_dir(&folder).unwrap();
            // The usual port of the cluster's own bus, 10,000 above, may be none or taken.
            let bus = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
            let place = folder.display().to_string();
            cluster.folders.push(folder);
            let own = ["--dir", &place, "--cluster-enabled", "yes", "--cluster-port", &bus];
            cluster.primaries.push(RedisServer::start(&own).await);
            bus_ports.push(bus);
        }
        cluster.join(&bus_ports).await;
        cluster
    }

    async fn join(&self, bus_ports: &[String]) {
        for (number, server) in self.primaries.iter().enumerate() {
            let epoch = (number + 1).to_string();
            server.command::<()>(&["CLUSTER", "SET-CONFIG-EPOCH", &epoch]).await;
            let (first, end) = (SLOTS * number / PRIMARIES, SLOTS * (number + 1) / PRIMARIES);
            let range = [first.to_string(), (end - 1).to_string()];
            server.command::<()>(&["CLUSTER", "ADDSLOTSRANGE", &range[0], &range[1]]).await;
        }
        for (other, bus) in self.primaries.iter().zip(bus_ports).skip(1) {
            let port = other.port().to_string();
            self.primaries[0].command::<()>(&["CLUSTER", "MEET", "127.0.0.1", &port, bus]).await;
        }
        let deadline = Instant::now() + FORMED;
        for server in &self.primaries {
            loop {
                let about: String = server.command(&["CLUSTER", "INFO"]).await;
                if about.contains("cluster_state:ok") && about.contains("cluster_known_nodes:3") {
                    break;
                }
                assert!(Instant::now() < deadline, "the redis cluster is not formed: {about}");
                tokio::time::sleep(Duration::from_millis(30)).await;
            }
        }
    }

    pub(super) fn settings(&self) -> RedisSettings {
        let mut settings = self.primaries[0].settings();
        settings.mode = RedisMode::Cluster;
        settings
    }

    /// The place among the primaries of the one that has a key.
    pub(super) async fn owner(&self, key: &str) -> usize {
        let slot: usize = self.primaries[0].command(&["CLUSTER", "KEYSLOT", key]).await;
        (0..PRIMARIES).find(|n| slot < SLOTS * (n + 1) / PRIMARIES).unwrap()
    }

    /// Runs a command where its first key is; one without keys on all, whose answers become one.
    async fn command<T: redis::FromRedisValue>(&self, words: &[&str]) -> T {
        let urls: Vec<String> = self.primaries.iter().map(RedisServer::url).collect();
        let client = redis::cluster::ClusterClient::new(urls).unwrap();
        let mut connection = client.get_async_connection().await.unwrap();
        let mut command = redis::cmd(words[0]);
        for word in &words[1..] {
            command.arg(*word);
        }
        command.query_async(&mut connection).await.unwrap()
    }
}

impl Drop for RedisCluster {
    fn drop(&mut self) {
        self.primaries.clear();
        for folder in &self.folders {
            let _ = std::fs::remove_dir_all(folder);
        }
    }
}

impl TestRedis {
    pub(super) fn settings(&self) -> RedisSettings {
        match self {
            Self::One(server) => server.settings(),
            Self::Sharded(cluster) => cluster.settings(),
        }
    }

    pub(super) async fn command<T: redis::FromRedisValue>(&self, words: &[&str]) -> T {
        match self {
            Self::One(server) => server.command(words).await,
            Self::Sharded(cluster) => cluster.command(words).await,
        }
    }
}

/// Makes two tests of each scenario, which is a function of a [`TestRedis`]: over one Redis, and over a Redis Cluster.
macro_rules! over_every_redis {
    ($($scenario:ident),+ $(,)?) => {
        mod over_one_redis {
            use crate::cluster::tests::{redis_cluster::TestRedis, redis_server::RedisServer};
            $(#[tokio::test]
            async fn $scenario() {
                super::$scenario(TestRedis::One(RedisServer::start(&[]).await)).await;
            })+
        }
        mod over_a_redis_cluster {
            use crate::cluster::tests::redis_cluster::{RedisCluster, TestRedis};
            $(#[tokio::test]
            async fn $scenario() {
                super::$scenario(TestRedis::Sharded(RedisCluster::start().await)).await;
            })+
        }
    };
}
pub(super) use over_every_redis;
