//! Commands to a Redis Cluster: each goes to the primary that has its slot.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures::{FutureExt, StreamExt, stream::FuturesUnordered};
use parking_lot::Mutex;
use redis::{Cmd, Pipeline, RedisError, RedisFuture, Value, aio::ConnectionLike};
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    cluster_topology::ClusterTopology,
    redis_address::{Endpoint, RESPONSE_TIMEOUT, RedisAddress},
    registry_error::RegistryError,
    shard_link::{CommandFailure, OpenLink, ShardLink, Target},
    slot_map::{Redirection, key_of, slot_of},
};

/// How often one command is sent elsewhere; each time the server before said that it did nothing.
const REDIRECTIONS: usize = 5;
/// Before a command whose keys are just being moved is sent again.
const TRY_AGAIN: Duration = Duration::from_millis(50);

/// A link to each primary.
pub(super) struct ClusterLink {
    address: Arc<RedisAddress>,
    topology: Arc<ClusterTopology>,
    links: Mutex<HashMap<Endpoint, Shard>>,
    /// Rises whenever a link goes up or down.
    changes: Arc<watch::Sender<u64>>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

struct Shard {
    link: Arc<ShardLink>,
    stop: CancellationToken,
}

impl ClusterLink {
    pub(super) fn new(address: Arc<RedisAddress>, topology: Arc<ClusterTopology>) -> Self {
        Self {
            address,
            topology,
            links: Mutex::default(),
            changes: Arc::new(watch::Sender::new(0)),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        }
    }

    /// Keeps a link to each primary until told to stop.
    pub(super) async fn run(&self, shutdown: CancellationToken) {
        let mut map = self.topology.watch();
        loop {
            let known = Arc::clone(&map.borrow_and_update());
            let primaries = known.primaries();
            for primary in &primaries {
                drop(self.link_to(primary));
            }
            if !primaries.is_empty() {
                self.links.lock().retain(|server, shard| {
                    let kept = primaries.contains(server);
                    if !kept {
                        shard.stop.cancel();
                    }
                    kept
                });
            }
            tokio::select! {
                () = shutdown.cancelled() => break,
                changed = map.changed() => if changed.is_err() { break },
            }
        }
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn link_to(&self, server: &Endpoint) -> Arc<ShardLink> {
        let mut links = self.links.lock();
        if let Some(shard) = links.get(server) {
            return Arc::clone(&shard.link);
        }
        let link = Arc::new(ShardLink::new(Arc::clone(&self.address), Target::Server(server.clone())));
        let stop = self.stop.child_token();
        links.insert(server.clone(), Shard { link: Arc::clone(&link), stop: stop.clone() });
        let (kept, changes, topology) =
            (Arc::clone(&link), Arc::clone(&self.changes), Arc::clone(&self.topology));
        self.tasks.spawn(async move {
            let mut state = kept.watch();
            let noticing = async {
                let mut was_up = false;
                loop {
                    state.changed().await;
                    let is_up = kept.is_up();
                    if is_up != was_up {
                        was_up = is_up;
                        changes.send_modify(|changes| *changes += 1);
                    }
                    if !is_up {
                        topology.refresh();
                    }
                }
            };
            tokio::select! {
                () = kept.run(stop) => {}
                () = noticing => {}
            }
        });
        link
    }

    /// Why all commands fail at once, if they do: as long as one primary is reached, some work.
    pub(super) fn why_down(&self) -> Option<RegistryError> {
        let links = self.links.lock();
        let mut why = None;
        for shard in links.values() {
            match shard.link.why_down() {
                None => return None,
                Some(error) => why = Some(error),
            }
        }
        Some(why.unwrap_or_else(|| self.topology.error()))
    }

    /// Hears links go up or down.
    pub(super) fn watch(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// A hash tag that lives on the same primary as the key.
    pub(super) fn tag_beside(&self, key: &str) -> Option<String> {
        self.topology.map().tag_beside(key.as_bytes())
    }

    /// One hash tag per primary.
    pub(super) fn tags(&self) -> Vec<String> {
        self.topology.map().tags()
    }

    /// For one exchange.
    pub(super) fn route(&self) -> Route<'_> {
        Route { cluster: self, last: None, failure: None }
    }

    fn owner(&self, slot: u16) -> Result<Arc<ShardLink>, CommandFailure> {
        let map = self.topology.map();
        match map.owner(slot) {
            Some(server) => Ok(self.link_to(server)),
            None => {
                self.topology.refresh();
                Err(CommandFailure { error: self.topology.error(), maybe_done: false })
            }
        }
    }
}

/// Sends what belongs to one exchange: a command with its redirections, a script that is to be loaded, a pipeline.
pub(super) struct Route<'a> {
    cluster: &'a ClusterLink,
    /// Where the last command went; one without a key goes there too.
    last: Option<Arc<ShardLink>>,
    failure: Option<CommandFailure>,
}

impl Route<'_> {
    /// Says what an error that came by this route means.
    pub(super) fn failure(self, error: &RedisError) -> CommandFailure {
        self.failure.unwrap_or_else(|| CommandFailure {
            error: RegistryError::Other(format!("redis answered: {error}")),
            maybe_done: true,
        })
    }

    /// Asks the server that answered last whether it still is a primary.
    ///
    /// # Errors
    /// When it is not, or does not say.
    pub(super) async fn confirm_primary(self) -> Result<(), CommandFailure> {
        let Some(last) = self.last else { return Ok(()) };
        let open = last.open().map_err(|failure| CommandFailure { maybe_done: true, ..failure })?;
        last.confirm_primary(open).await
    }

    /// Remembers the failure, and gives the error that stands for it.
    fn fail(&mut self, failure: CommandFailure) -> RedisError {
        self.failure.get_or_insert(failure);
        RedisError::from((redis::ErrorKind::Client, "failed on the way to a redis cluster"))
    }

    async fn send(&mut self, command: &Cmd) -> Result<Value, RedisError> {
        let mut link = match (key_of(command), &self.last) {
            (Some(key), _) => self.cluster.owner(slot_of(key)).map_err(|failure| self.fail(failure))?,
            (None, Some(last)) => Arc::clone(last),
            (None, None) => {
                return Err(RedisError::from((redis::ErrorKind::Client, "the command has no key")));
            }
        };
        let mut asking = false;
        for turn in 0..REDIRECTIONS {
            let open = if turn == 0 { link.open() } else { open_soon(&link).await };
            let mut open = open.map_err(|failure| self.fail(failure))?;
            self.last = Some(Arc::clone(&link));
            let error = match exchange(&mut open, command, asking).await {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            asking = false;
            match Redirection::of(&error, open.at()) {
                Some(Redirection::Moved(slot, to)) => {
                    self.cluster.topology.moved(slot, &to);
                    link = self.cluster.link_to(&to);
                }
                Some(Redirection::Ask(to)) => {
                    link = self.cluster.link_to(&to);
                    asking = true;
                }
                None if error.code() == Some("TRYAGAIN") => tokio::time::sleep(TRY_AGAIN).await,
                // The script is loaded by whoever sent its hash.
                None if error.code() == Some("NOSCRIPT") => return Err(error),
                None => {
                    if error.code() == Some("CLUSTERDOWN") {
                        self.cluster.topology.refresh();
                    }
                    return Err(self.fail(link.judge(&open, &error)));
                }
            }
        }
        let why = "redis sent a command on too often; its slots are being moved, wait".to_owned();
        Err(self.fail(CommandFailure { error: RegistryError::Other(why), maybe_done: false }))
    }

    /// Commands of one primary travel together, in their order; what is refused because its slot has moved follows
    /// alone.
    async fn send_all(&mut self, pipeline: &Pipeline) -> Result<Vec<Value>, RedisError> {
        let commands: Vec<&Cmd> = pipeline.cmd_iter().collect();
        let mut groups: Vec<(Arc<ShardLink>, Vec<usize>)> = Vec::new();
        for (place, command) in commands.iter().enumerate() {
            let Some(key) = key_of(command) else {
                return Err(RedisError::from((
                    redis::ErrorKind::Client,
                    "a command of the pipeline has no key",
                )));
            };
            let link = self.cluster.owner(slot_of(key)).map_err(|failure| self.fail(failure))?;
            match groups.iter_mut().find(|(known, _)| Arc::ptr_eq(known, &link)) {
                Some((_, places)) => places.push(place),
                None => groups.push((link, vec![place])),
            }
        }
        let mut under_way: FuturesUnordered<_> = groups
            .into_iter()
            .map(|(link, places)| {
                let mut part = Pipeline::with_capacity(places.len());
                for place in &places {
                    part.add_command(commands[*place].clone());
                }
                async move {
                    let mut open = link.open()?;
                    let sent = open.connection.send_packed_commands(&part, 0, places.len()).await;
                    sent.map(|values| (places, values)).map_err(|error| link.judge(&open, &error))
                }
            })
            .collect();
        let mut answers: Vec<Value> = vec![Value::Nil; commands.len()];
        let mut again = Vec::new();
        while let Some(part) = under_way.next().await {
            let (places, values) = part.map_err(|failure| self.fail(failure))?;
            for (place, value) in places.into_iter().zip(values) {
                let redirected = match &value {
                    Value::ServerError(error) => matches!(error.code(), "MOVED" | "ASK" | "TRYAGAIN"),
                    _ => false,
                };
                if redirected {
                    again.push(place);
                } else {
                    answers[place] = value;
                }
            }
        }
        again.sort_unstable();
        for place in again {
            answers[place] = self.send(commands[place]).await?;
        }
        Ok(answers)
    }
}

/// Sends a command; what the server refuses is an error.
async fn exchange(open: &mut OpenLink, command: &Cmd, asking: bool) -> Result<Value, RedisError> {
    if !asking {
        return open.connection.send_packed_command(command).await?.extract_error();
    }
    let mut both = Pipeline::with_capacity(2);
    both.cmd("ASKING").add_command(command.clone());
    let mut values = open.connection.send_packed_commands(&both, 0, 2).await?;
    values.pop().unwrap_or(Value::Nil).extract_error()
}

/// A server that was just named may not be connected yet.
async fn open_soon(link: &ShardLink) -> Result<OpenLink, CommandFailure> {
    let mut state = link.watch();
    let waiting = async {
        while !link.is_up() {
            state.changed().await;
        }
    };
    // Whether it came up is what `open` says.
    let _ = tokio::time::timeout(RESPONSE_TIMEOUT, waiting).await;
    link.open()
}

impl ConnectionLike for Route<'_> {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        self.send(command).boxed()
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        _count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        async move {
            if offset > 0 {
                let why = "transactions are not sent to a redis cluster";
                return Err(RedisError::from((redis::ErrorKind::Client, why)));
            }
            self.send_all(pipeline).await
        }
        .boxed()
    }

    fn get_db(&self) -> i64 {
        0
    }
}
