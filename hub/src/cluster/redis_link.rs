//! The way to Redis for commands, whatever kind of Redis it is.

use std::sync::Arc;

use redis::{Cmd, FromRedisValue, Pipeline, ScriptInvocation};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub(super) use super::shard_link::CommandFailure;
use super::{
    cluster_link::ClusterLink,
    cluster_topology::ClusterTopology,
    redis_address::RedisAddress,
    registry_error::RegistryError,
    shard_link::{ShardLink, ShardWatch, Target},
};

/// Shared by all who send commands; a failed command is told to its caller and never sent again. Only what a server
/// of a Redis Cluster refused because another has the slot is sent to that one.
pub(super) struct RedisLink(Kind);

enum Kind {
    /// One primary has everything.
    Single(ShardLink),
    /// Each primary has some slots.
    Cluster(ClusterLink),
}

impl RedisLink {
    /// `topology` is there for a Redis Cluster only.
    pub(super) fn new(address: Arc<RedisAddress>, topology: Option<Arc<ClusterTopology>>) -> Self {
        Self(match topology {
            Some(topology) => Kind::Cluster(ClusterLink::new(address, topology)),
            None => {
                let target = Target::only(&address);
                Kind::Single(ShardLink::new(address, target))
            }
        })
    }

    /// Keeps the connections until told to stop.
    pub(super) async fn run(&self, shutdown: CancellationToken) {
        match &self.0 {
            Kind::Single(link) => link.run(shutdown).await,
            Kind::Cluster(cluster) => cluster.run(shutdown).await,
        }
    }

    /// Whether commands may work; in a Redis Cluster, those to some primary.
    pub(super) fn is_up(&self) -> bool {
        self.why_down().is_none()
    }

    /// Why all commands fail at once, if they do.
    pub(super) fn why_down(&self) -> Option<RegistryError> {
        match &self.0 {
            Kind::Single(link) => link.why_down(),
            Kind::Cluster(cluster) => cluster.why_down(),
        }
    }

    /// Hears the link, or one of its connections, go up or down.
    pub(super) fn watch(&self) -> LinkWatch {
        LinkWatch(match &self.0 {
            Kind::Single(link) => Watched::Single(link.watch()),
            Kind::Cluster(cluster) => Watched::Cluster(cluster.watch()),
        })
    }

    /// In a Redis Cluster, a hash tag whose slot is on the primary that has `key`'s: commands on a key with this tag
    /// travel in one [`RedisLink::pipeline`] on the same connection as those on `key`. It changes with the slots.
    /// `None` when that primary is not known, or when there is only one, so that a tag has no use.
    pub(super) fn tag_beside(&self, key: &str) -> Option<String> {
        match &self.0 {
            Kind::Single(_) => None,
            Kind::Cluster(cluster) => cluster.tag_beside(key),
        }
    }

    /// The tags that [`RedisLink::tag_beside`] gives: one per primary, or `None` alone when a tag has no use.
    pub(super) fn tags(&self) -> Vec<Option<String>> {
        match &self.0 {
            Kind::Single(_) => vec![None],
            Kind::Cluster(cluster) => cluster.tags().into_iter().map(Some).collect(),
        }
    }

    /// Whether several primaries share the keys, so that a script may touch one slot only and each primary may lose
    /// its data alone.
    pub(super) fn is_sharded(&self) -> bool {
        matches!(self.0, Kind::Cluster(_))
    }

    /// Sends one command.
    pub(super) async fn command<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, CommandFailure> {
        match &self.0 {
            Kind::Single(link) => {
                let mut open = link.open()?;
                command.query_async(&mut open.connection).await.map_err(|e| link.judge(&open, &e))
            }
            Kind::Cluster(cluster) => {
                let mut route = cluster.route();
                command.query_async(&mut route).await.map_err(|e| route.failure(&e))
            }
        }
    }

    /// Publishes to a channel and says how many heard it; in a Redis Cluster to a sharded one. That nobody did is the
    /// word of a primary: subscribers are elsewhere than on a server that is one no more, and may have heard it there.
    pub(super) async fn publish(&self, channel: &str, payload: &[u8]) -> Result<u64, CommandFailure> {
        let mut command = redis::cmd(if self.is_sharded() { "SPUBLISH" } else { "PUBLISH" });
        command.arg(channel).arg(payload);
        match &self.0 {
            Kind::Single(link) => {
                let mut open = link.open()?;
                let heard = command.query_async(&mut open.connection).await;
                let heard = heard.map_err(|e| link.judge(&open, &e))?;
                if heard == 0 {
                    link.confirm_primary(open).await?;
                }
                Ok(heard)
            }
            Kind::Cluster(cluster) => {
                let mut route = cluster.route();
                match command.query_async(&mut route).await {
                    Ok(0) => route.confirm_primary().await.map(|()| 0),
                    Ok(heard) => Ok(heard),
                    Err(error) => Err(route.failure(&error)),
                }
            }
        }
    }

    /// Sends commands together; the first error is the answer. In a Redis Cluster those of one primary are together.
    pub(super) async fn pipeline<T: FromRedisValue>(&self, pipeline: &Pipeline) -> Result<T, CommandFailure> {
        match &self.0 {
            Kind::Single(link) => {
                let mut open = link.open()?;
                pipeline.query_async(&mut open.connection).await.map_err(|e| link.judge(&open, &e))
            }
            Kind::Cluster(cluster) => {
                let mut route = cluster.route();
                pipeline.query_async(&mut route).await.map_err(|e| route.failure(&e))
            }
        }
    }

    /// Runs a script, loading it where Redis does not know it.
    pub(super) async fn script<T: FromRedisValue>(
        &self,
        script: &ScriptInvocation<'_>,
    ) -> Result<T, CommandFailure> {
        match &self.0 {
            Kind::Single(link) => {
                let mut open = link.open()?;
                script.invoke_async(&mut open.connection).await.map_err(|e| link.judge(&open, &e))
            }
            Kind::Cluster(cluster) => {
                let mut route = cluster.route();
                script.invoke_async(&mut route).await.map_err(|e| route.failure(&e))
            }
        }
    }

    /// Sends a command and then a script so that Redis sees them in this order, and waits for both.
    pub(super) async fn command_then_script<T: FromRedisValue>(
        &self,
        command: &Cmd,
        script: &ScriptInvocation<'_>,
    ) -> Result<T, CommandFailure> {
        let Kind::Single(link) = &self.0 else {
            // They may go to two servers, so the answer of the first is waited for.
            self.command::<()>(command).await?;
            return self.script(script).await;
        };
        let open = link.open()?;
        let (mut first, mut second) = (open.connection.clone(), open.connection.clone());
        // `biased`: the command is put on the connection before the script is.
        let (done, answer) = tokio::join!(
            biased;
            command.query_async::<()>(&mut first),
            script.invoke_async(&mut second)
        );
        done.and(answer).map_err(|e| link.judge(&open, &e))
    }
}

/// Hears a link go up or down.
pub(super) struct LinkWatch(Watched);

enum Watched {
    Single(ShardWatch),
    Cluster(watch::Receiver<u64>),
}

impl LinkWatch {
    /// Changes until now are no news.
    pub(super) fn mark_seen(&mut self) {
        match &mut self.0 {
            Watched::Single(watch) => watch.mark_seen(),
            Watched::Cluster(watch) => watch.mark_unchanged(),
        }
    }

    /// Waits for the next change; for ever when the link is gone.
    pub(super) async fn changed(&mut self) {
        match &mut self.0 {
            Watched::Single(watch) => watch.changed().await,
            Watched::Cluster(watch) => {
                if watch.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        }
    }
}
