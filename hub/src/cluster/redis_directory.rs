//! The directory of users and nodes in Redis.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{FutureExt, future::BoxFuture};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{
    group_directory::GroupDirectory,
    key_space::KeySpace,
    lease_view::{Lease, LeaseView},
    membership::Membership,
    presence_entry::{UserHash, banned, entry_json, field, field_prefix, nodes_of_fields},
    redis_link::{CommandFailure, RedisLink},
    registry_error::RegistryError,
    scripts,
    standing::Standing,
};
use crate::{
    identity::{ConnectionId, GroupName, NodeInstance, UserId},
    routing::ports::{
        Connected, ConnectionRecord, Directory, DirectoryError, NodeRecord, NodeStatus, Presence,
        Registration, UserNodes,
    },
};

/// Users share this many slots; what one slot holds is done one after the other.
const SLOTS: usize = 1024;
/// Removals that are owed while Redis does not answer. Beyond it the node begins a new life instead.
const OWED_REMOVALS: usize = 65_536;
/// Pause between two looks at what is owed.
const OWED_INTERVAL: Duration = Duration::from_secs(1);

/// A connection that ended while Redis did not answer; its entry would be a ghost until removed.
struct OwedRemoval {
    instance: NodeInstance,
    user: UserId,
    connection: ConnectionId,
}

/// Who is where, over Redis.
pub(super) struct RedisDirectory {
    link: Arc<RedisLink>,
    keys: KeySpace,
    standing: Arc<Standing>,
    leases: Arc<LeaseView>,
    membership: Arc<Membership>,
    /// Keeps writes of one user from this node in order: index and hash are two keys.
    slots: Vec<tokio::sync::Mutex<()>>,
    owed: Mutex<Vec<OwedRemoval>>,
    groups: Arc<GroupDirectory>,
}

impl RedisDirectory {
    pub(super) fn new(
        link: Arc<RedisLink>,
        keys: KeySpace,
        standing: Arc<Standing>,
        leases: Arc<LeaseView>,
        membership: Arc<Membership>,
        groups: Arc<GroupDirectory>,
    ) -> Self {
        let slots = (0..SLOTS).map(|_| tokio::sync::Mutex::default()).collect();
        Self { link, keys, standing, leases, membership, slots, owed: Mutex::default(), groups }
    }

    /// Makes up for removals that Redis did not hear, until told to stop.
    pub(super) async fn run(&self, shutdown: CancellationToken) {
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(OWED_INTERVAL) => {}
            }
            self.settle().await;
        }
    }

    /// Does the removals that are owed, until one fails.
    pub(super) async fn settle(&self) {
        while self.standing.holds(Instant::now()).is_some() {
            let Some(owed) = self.owed.lock().pop() else { return };
            // A former life's entries are swept with it.
            if self.standing.instance() == owed.instance
                && self.remove(&owed.instance, &owed.user, owed.connection).await.is_err()
            {
                self.owed.lock().push(owed);
                return;
            }
        }
    }

    fn slot(&self, user: &UserId) -> &tokio::sync::Mutex<()> {
        let mut hasher = DefaultHasher::new();
        user.hash(&mut hasher);
        let slot = usize::try_from(hasher.finish() % (SLOTS as u64)).unwrap_or(0);
        &self.slots[slot]
    }

    /// The instance under which entries may be written now.
    fn instance(&self) -> Result<NodeInstance, DirectoryError> {
        self.standing.holds(Instant::now()).ok_or_else(|| {
            let why = self
                .link
                .why_down()
                .map_or_else(|| "other: this node is not registered".to_owned(), |error| error.to_string());
            DirectoryError::Unavailable(why)
        })
    }

    async fn write(&self, record: ConnectionRecord) -> Result<Connected, DirectoryError> {
        let entry = entry_json(&record)?;
        let _slot = self.slot(&record.user).lock().await;
        let instance = self.instance().inspect_err(|_| self.standing.note_failed_write())?;
        let mut index = redis::cmd("SADD");
        index.arg(self.keys.user_index(&instance)).arg(record.user.as_str());
        let mut script = scripts::CONNECT.key(self.keys.connections(&record.user));
        script.key(self.keys.ban(&record.user)).arg(field(&instance, record.connection)).arg(entry);
        let answer =
            self.link.command_then_script::<redis::Value>(&index, &script).await.map_err(|failure| {
                self.standing.note_failed_write();
                DirectoryError::from(failure)
            })?;
        let (hash, changed) = match connect_answer(answer)? {
            ConnectAnswer::Hash(pairs, changed) => (UserHash::parse(&record.user, &pairs), changed),
            ConnectAnswer::Banned(text, left_ms) => return Err(banned(&text, left_ms)),
        };
        Ok(Connected { presence: self.filter(hash).await?, changed })
    }

    async fn filter(&self, hash: UserHash) -> Result<Presence, DirectoryError> {
        let live = self.leases.live(&hash.instances()).await;
        Ok(hash.presence(&live?))
    }

    /// Removes an entry, and the user from the index when none of this instance is left.
    async fn remove(
        &self,
        instance: &NodeInstance,
        user: &UserId,
        connection: ConnectionId,
    ) -> Result<UserNodes, DirectoryError> {
        let _slot = self.slot(user).lock().await;
        let mut script = scripts::DISCONNECT.key(self.keys.connections(user));
        script.arg(field(instance, connection)).arg(field_prefix(instance));
        let (left_here, ver, fields): (u64, u64, Vec<String>) = self.link.script(&script).await?;
        if left_here == 0 {
            let mut index = redis::cmd("SREM");
            index.arg(self.keys.user_index(instance)).arg(user.as_str());
            self.link.command::<()>(&index).await?;
        }
        Ok(UserNodes { ver, instances: nodes_of_fields(&fields) })
    }

    fn owe(&self, removal: OwedRemoval) {
        let mut owed = self.owed.lock();
        if owed.len() < OWED_REMOVALS {
            owed.push(removal);
        } else {
            owed.clear();
            self.standing.renounce();
        }
    }
}

impl Directory for RedisDirectory {
    fn registration(&self) -> watch::Receiver<Registration> {
        self.standing.registration()
    }

    fn connect(&self, record: ConnectionRecord) -> BoxFuture<'_, Result<Connected, DirectoryError>> {
        self.write(record).boxed()
    }

    fn disconnect<'a>(
        &'a self,
        user: &'a UserId,
        connection: ConnectionId,
    ) -> BoxFuture<'a, Result<UserNodes, DirectoryError>> {
        async move {
            let instance = self.standing.instance();
            let removed = match self.instance() {
                Ok(_) => self.remove(&instance, user, connection).await,
                // Never registered in this life, so nothing was written under it.
                Err(_) if !self.standing.registered() => return Ok(UserNodes::default()),
                Err(error) => Err(error),
            };
            removed.inspect_err(|_| self.owe(OwedRemoval { instance, user: user.clone(), connection }))
        }
        .boxed()
    }

    fn locate<'a>(&'a self, user: &'a UserId) -> BoxFuture<'a, Result<Presence, DirectoryError>> {
        async move {
            let mut command = redis::cmd("HGETALL");
            command.arg(self.keys.connections(user));
            let pairs: Vec<(String, String)> = self.link.command(&command).await?;
            self.filter(UserHash::parse(user, &pairs)).await
        }
        .boxed()
    }

    fn all_live<'a>(&'a self, instances: &'a [NodeInstance]) -> BoxFuture<'a, Result<bool, DirectoryError>> {
        async move {
            let asked = instances.iter().cloned().collect();
            Ok(self.leases.live(&asked).await?.len() == instances.len())
        }
        .boxed()
    }

    fn set_members<'a>(
        &'a self,
        group: &'a GroupName,
        members: u32,
    ) -> BoxFuture<'a, Result<(), DirectoryError>> {
        self.groups.set_members(group, members).boxed()
    }

    fn group_nodes<'a>(
        &'a self,
        group: &'a GroupName,
    ) -> BoxFuture<'a, Result<Vec<NodeInstance>, DirectoryError>> {
        self.groups.nodes(group).boxed()
    }

    fn locate_many<'a>(
        &'a self,
        users: &'a [UserId],
    ) -> BoxFuture<'a, Result<Vec<Presence>, DirectoryError>> {
        async move {
            if users.is_empty() {
                return Ok(Vec::new());
            }
            let mut pipeline = redis::pipe();
            for user in users {
                pipeline.cmd("HGETALL").arg(self.keys.connections(user));
            }
            let answers: Vec<Vec<(String, String)>> = self.link.pipeline(&pipeline).await?;
            let hashes: Vec<_> =
                users.iter().zip(&answers).map(|(user, pairs)| UserHash::parse(user, pairs)).collect();
            // One look at all leases; those that follow are answered from what it found.
            self.leases.live(&hashes.iter().flat_map(UserHash::instances).collect()).await?;
            let mut presences = Vec::with_capacity(hashes.len());
            for hash in hashes {
                presences.push(self.filter(hash).await?);
            }
            Ok(presences)
        }
        .boxed()
    }

    fn nodes(&self) -> BoxFuture<'_, Result<Vec<NodeRecord>, DirectoryError>> {
        async move {
            let listed = self.leases.listed().await?;
            let leases = self.leases.read(&listed).await?;
            let held = leases.into_iter().filter_map(|lease| match lease {
                Lease::Held(record, _) => Some(*record),
                Lease::NotHeld | Lease::Unreadable => None,
            });
            let mut records: Vec<_> = held.collect();
            records.sort_by(|a, b| a.id.cmp(&b.id));
            Ok(records)
        }
        .boxed()
    }

    fn set_status(&self, status: NodeStatus) -> BoxFuture<'_, Result<(), DirectoryError>> {
        async move {
            self.membership.set_status(status).await?;
            Ok(())
        }
        .boxed()
    }
}

impl From<RegistryError> for DirectoryError {
    fn from(error: RegistryError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

impl From<CommandFailure> for DirectoryError {
    fn from(failure: CommandFailure) -> Self {
        failure.error.into()
    }
}

/// What the connect script said.
enum ConnectAnswer {
    Hash(Vec<(String, String)>, bool),
    Banned(String, i64),
}

fn connect_answer(answer: redis::Value) -> Result<ConnectAnswer, DirectoryError> {
    let strange = |e: redis::ParsingError| {
        DirectoryError::Unavailable(format!("other: the connect script answered: {e}"))
    };
    let parts: Vec<redis::Value> = redis::from_redis_value(answer).map_err(strange)?;
    let mut parts = parts.into_iter();
    let mut next = || parts.next().unwrap_or(redis::Value::Nil);
    if redis::from_redis_value::<u8>(next()).map_err(strange)? == 1 {
        let pairs = redis::from_redis_value(next()).map_err(strange)?;
        let changed = redis::from_redis_value::<u8>(next()).map_err(strange)?;
        return Ok(ConnectAnswer::Hash(pairs, changed == 1));
    }
    let ban = redis::from_redis_value(next()).map_err(strange)?;
    Ok(ConnectAnswer::Banned(ban, redis::from_redis_value(next()).map_err(strange)?))
}
