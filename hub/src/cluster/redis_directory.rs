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
    membership::{Membership, millis},
    moved_users::MovedUsers,
    presence_entry::{field, field_prefix, nodes_of_fields},
    redis_link::{CommandFailure, RedisLink},
    registry_error::RegistryError,
    scripts,
    standing::Standing,
    wholeness::Wholeness,
};
#[cfg(test)]
use crate::fault::{self, Fault};
use crate::{
    identity::{ConnectionId, GroupName, NodeInstance, SessionId, UserId},
    routing::{
        ports::{
            Ban, Connected, ConnectionRecord, Directory, DirectoryError, GroupNodes, LoginPolicy, NodeStatus,
            Presence, Registration, Roll, UserNodes,
        },
        session_state::SessionState,
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
    pub(super) link: Arc<RedisLink>,
    pub(super) keys: KeySpace,
    pub(super) standing: Arc<Standing>,
    pub(super) leases: Arc<LeaseView>,
    membership: Arc<Membership>,
    pub(super) wholeness: Arc<Wholeness>,
    pub(super) login: LoginPolicy,
    /// How long a client that is gone can take up its session; zero for never.
    pub(super) resume_window: Duration,
    pub(super) moved: Arc<MovedUsers>,
    /// Keeps writes of one user from this node in order: index and hash are two keys.
    slots: Vec<tokio::sync::Mutex<()>>,
    owed: Mutex<Vec<OwedRemoval>>,
    groups: Arc<GroupDirectory>,
}

/// What the directory needs to know of nodes, groups, the registry as a whole, and users on the move.
pub(super) struct DirectoryParts {
    pub(super) leases: Arc<LeaseView>,
    pub(super) membership: Arc<Membership>,
    pub(super) groups: Arc<GroupDirectory>,
    pub(super) wholeness: Arc<Wholeness>,
    pub(super) moved: Arc<MovedUsers>,
}

impl RedisDirectory {
    pub(super) fn new(
        link: Arc<RedisLink>,
        keys: KeySpace,
        parts: DirectoryParts,
        login: LoginPolicy,
        resume_window: Duration,
    ) -> Self {
        let DirectoryParts { leases, membership, groups, wholeness, moved } = parts;
        let standing = Arc::clone(leases.standing());
        let slots = (0..SLOTS).map(|_| tokio::sync::Mutex::default()).collect();
        let owed = Mutex::default();
        Self {
            link,
            keys,
            standing,
            leases,
            membership,
            wholeness,
            login,
            resume_window,
            moved,
            slots,
            owed,
            groups,
        }
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
                && self.remove(&owed.instance, &owed.user, owed.connection, None).await.is_err()
            {
                self.owed.lock().push(owed);
                return;
            }
        }
    }

    pub(super) fn slot(&self, user: &UserId) -> &tokio::sync::Mutex<()> {
        let mut hasher = DefaultHasher::new();
        user.hash(&mut hasher);
        let slot = usize::try_from(hasher.finish() % (SLOTS as u64)).unwrap_or(0);
        &self.slots[slot]
    }

    /// The instance under which entries may be written now.
    pub(super) fn instance(&self) -> Result<NodeInstance, DirectoryError> {
        self.standing.holds(Instant::now()).ok_or_else(|| {
            let why = self
                .link
                .why_down()
                .map_or_else(|| "other: this node is not registered".to_owned(), |error| error.to_string());
            DirectoryError::Unavailable(why)
        })
    }

    /// Removes an entry, and the user from the index when none of this instance is left.
    async fn remove(
        &self,
        instance: &NodeInstance,
        user: &UserId,
        connection: ConnectionId,
        moving: Option<Duration>,
    ) -> Result<UserNodes, DirectoryError> {
        let _slot = self.slot(user).lock().await;
        #[cfg(test)]
        if fault::is(Fault::IndexRemovedFirst) {
            let mut index = redis::cmd("SREM");
            index.arg(self.keys.user_index(instance)).arg(user.as_str());
            self.link.command::<()>(&index).await?;
        }
        let mut script = scripts::DISCONNECT.key(self.keys.connections(user));
        script.arg(field(instance, connection)).arg(field_prefix(instance));
        script.arg(moving.map_or(0, millis)).arg(self.moved.kept_ms());
        let (left_here, ver, fields, until): (i64, u64, Vec<String>, u64) = self.link.script(&script).await?;
        if until > 0 {
            // Before the index entry goes: should this node end here, whoever sweeps it finds the user.
            self.moved.note(user, ver, &instance.node, until).await?;
        }
        if left_here <= 0 {
            let mut index = redis::cmd("SREM");
            index.arg(self.keys.user_index(instance)).arg(user.as_str());
            self.link.command::<()>(&index).await?;
        }
        #[cfg(test)]
        if left_here > 0 && fault::is(Fault::IndexRemovedFirst) {
            let mut index = redis::cmd("SADD");
            index.arg(self.keys.user_index(instance)).arg(user.as_str());
            self.link.command::<()>(&index).await?;
        }
        Ok(UserNodes { ver, instances: nodes_of_fields(&fields), unknown: left_here < 0, moving: until > 0 })
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
        moving: Option<Duration>,
    ) -> BoxFuture<'a, Result<UserNodes, DirectoryError>> {
        async move {
            #[cfg(test)]
            if fault::is(Fault::DisconnectNotWritten) {
                return Ok(UserNodes::default());
            }
            let instance = self.standing.instance();
            let removed = match self.instance() {
                Ok(_) => self.remove(&instance, user, connection, moving).await,
                // Never registered in this life, so nothing was written under it.
                Err(_) if !self.standing.registered() => {
                    return Ok(UserNodes { unknown: true, ..UserNodes::default() });
                }
                Err(error) => Err(error),
            };
            removed.inspect_err(|_| self.owe(OwedRemoval { instance, user: user.clone(), connection }))
        }
        .boxed()
    }

    fn locate<'a>(&'a self, user: &'a UserId) -> BoxFuture<'a, Result<Presence, DirectoryError>> {
        self.read(user).boxed()
    }

    fn asserted(&self, epoch: u64) -> BoxFuture<'_, ()> {
        self.membership.asserted(epoch).boxed()
    }

    fn session<'a>(
        &'a self,
        user: &'a UserId,
        session: SessionId,
    ) -> BoxFuture<'a, Result<Option<SessionState>, DirectoryError>> {
        self.read_session(user, session).boxed()
    }

    fn end_session<'a>(
        &'a self,
        user: &'a UserId,
        session: SessionId,
        resumable: bool,
    ) -> BoxFuture<'a, Result<(), DirectoryError>> {
        self.close_session(user, session, resumable).boxed()
    }

    fn forget_sessions<'a>(&'a self, user: &'a UserId) -> BoxFuture<'a, Result<(), DirectoryError>> {
        self.delete_sessions(user).boxed()
    }

    fn set_ban<'a>(
        &'a self,
        user: &'a UserId,
        ban: Option<&'a Ban>,
    ) -> BoxFuture<'a, Result<(), DirectoryError>> {
        self.write_ban(user, ban).boxed()
    }

    fn ban<'a>(&'a self, user: &'a UserId) -> BoxFuture<'a, Result<Option<Ban>, DirectoryError>> {
        self.read_ban(user).boxed()
    }

    fn revoke<'a>(&'a self, user: &'a UserId, before: u64) -> BoxFuture<'a, Result<u64, DirectoryError>> {
        self.write_revocation(user, before).boxed()
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

    fn group_nodes<'a>(&'a self, group: &'a GroupName) -> BoxFuture<'a, Result<GroupNodes, DirectoryError>> {
        self.groups.nodes(group).boxed()
    }

    fn locate_many<'a>(
        &'a self,
        users: &'a [UserId],
    ) -> BoxFuture<'a, Result<Vec<Presence>, DirectoryError>> {
        self.read_many(users).boxed()
    }

    fn roll(&self) -> BoxFuture<'_, Result<Roll, DirectoryError>> {
        async move {
            let marker_key = self.keys.marker(self.link.tag_beside(&self.keys.nodes()).as_deref());
            let (listed, marker) = self.leases.listed_under(&marker_key).await?;
            let doubtful = !self.wholeness.absence_counts(&marker_key, marker.as_deref(), Instant::now());
            let leases = self.leases.read(&listed).await?;
            let held = leases.into_iter().filter_map(|lease| match lease {
                Lease::Held(record, _) => Some(*record),
                Lease::NotHeld | Lease::Unreadable => None,
            });
            let mut records: Vec<_> = held.collect();
            records.sort_by(|a, b| a.id.cmp(&b.id));
            Ok(Roll { records, doubtful })
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
