//! What routing needs from the cluster. Implemented over Redis and in memory by `cluster/`.

use std::time::{Duration, SystemTime};

use futures::{FutureExt, future::BoxFuture};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

pub use super::event_log::{EventLog, LoggedEvent};
use super::session_state::SessionState;
use crate::{
    identity::{ClientId, ConnectionId, GroupName, Incarnation, NodeId, NodeInstance, SessionId, UserId},
    protocol::envelope::{Envelope, ReportStatus},
};

/// Carries envelopes to other nodes. Never to the own node: local delivery is routing's work.
pub trait ClusterBus: Send + Sync {
    /// Queues an envelope for one node and waits for its report, at most `timeout`.
    fn request(
        &self,
        target: &NodeInstance,
        envelope: Envelope,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<Answer, BusError>>;

    /// Queues an envelope for one node; nobody waits.
    ///
    /// # Errors
    /// [`BusError`] when it is known at once that the envelope will not leave.
    fn post(&self, target: &NodeInstance, envelope: Envelope) -> Result<(), BusError>;

    /// Queues envelopes for one node, in this order and, as far as its bounds allow, in one batch; waits for the
    /// reports of those that want one. An envelope that wants none counts as done, for one connection, when it was
    /// queued. The answers are in the order of the letters.
    fn send_many(
        &self,
        target: &NodeInstance,
        letters: Vec<Letter>,
    ) -> BoxFuture<'static, Vec<Result<Answer, BusError>>> {
        if letters.iter().all(|letter| !letter.envelope.wants_report) {
            let post = |letter: Letter| self.post(target, letter.envelope).map(|()| Answer::posted());
            return futures::future::ready(letters.into_iter().map(post).collect()).boxed();
        }
        let answers: Vec<_> = letters
            .into_iter()
            .map(|Letter { envelope, timeout }| {
                if envelope.wants_report {
                    self.request(target, envelope, timeout)
                } else {
                    let posted = self.post(target, envelope).map(|()| Answer::posted());
                    futures::future::ready(posted).boxed()
                }
            })
            .collect();
        futures::future::join_all(answers).boxed()
    }

    /// Publishes to every node and collects the reports of `expected` for at most `timeout`.
    /// The own node hears nothing of it.
    fn broadcast(
        &self,
        expected: Vec<NodeInstance>,
        envelope: Envelope,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<Vec<(NodeInstance, Answer)>, BusError>>;
}

/// An envelope and how long its report is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// What to send.
    pub envelope: Envelope,
    /// Of no account when no report is wanted.
    pub timeout: Duration,
}

/// What another node says it did with an envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// What was done.
    pub status: ReportStatus,
    /// Connections that got the frame or were closed.
    pub count: u32,
}

impl Answer {
    /// Stands for the answer that nobody waits for.
    #[must_use]
    pub fn posted() -> Self {
        Self { status: ReportStatus::Done, count: 1 }
    }
}

/// Why there is no answer from another node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BusError {
    /// Nobody listens on that node's channel: certainly not delivered.
    #[error("node {0} is gone")]
    NodeGone(NodeInstance),
    /// The queue to that node is full: certainly not sent.
    #[error("the queue to node {0} is full")]
    Overloaded(NodeInstance),
    /// Redis cannot be reached: certainly not sent.
    #[error("redis is not reachable: {0}")]
    Unavailable(String),
    /// Sent, but no report came in time: the frame may have been delivered.
    #[error("no report from node {0} in time")]
    NoReport(NodeInstance),
}

/// What routing does with an envelope from another node. The bus calls it in the order of arrival per source
/// and subject, never concurrently for one subject.
pub trait Inbound: Send + Sync {
    /// Takes one envelope. Never blocks: what has to be waited for is in the answer.
    fn handle(&self, source: &NodeInstance, envelope: Envelope) -> Handling;
}

/// What became of an envelope from another node.
pub enum Handling {
    /// Nothing to report.
    Ignored,
    /// The report can be sent now.
    Done(Answer),
    /// The report waits for sockets; bounded in time by routing. `None`: nothing can be said truthfully, so no
    /// report is sent.
    Waiting(BoxFuture<'static, Option<Answer>>),
}

/// A live connection as the directory keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionRecord {
    /// Whose.
    pub user: UserId,
    /// Which.
    pub connection: ConnectionId,
    /// The device; equal to the connection id when the client gave none.
    pub client: ClientId,
    /// When it was accepted.
    pub connected_at: SystemTime,
    /// The client's address as the hub believes it, `ip:port` or `ip`.
    pub remote_address: String,
    /// When its token was issued, in ms since the epoch; 0 when the token does not say, none without a token.
    pub token_issued_at: Option<u64>,
    /// What is kept for when the client comes back; none when nothing is. Not read back.
    pub session: Option<(SessionId, SessionState)>,
}

impl ConnectionRecord {
    /// The device that the client named: it has one live connection, the newest. None for a client that named none.
    #[must_use]
    pub fn device(&self) -> Option<&ClientId> {
        Some(&self.client).filter(|client| client.as_str() != self.connection.to_string())
    }
}

/// How many connections one user may have on all nodes together, and what happens beyond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LoginPolicy {
    /// Most connections; 0 for no limit.
    pub most: u32,
    /// Refuses the new connection; else the oldest ones are closed.
    pub reject: bool,
}

/// Keeps a user out until then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ban {
    /// End of the ban.
    pub until: SystemTime,
    /// Why, as given by whoever banned.
    pub reason: String,
}

/// One entry of a user's presence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PresentConnection {
    /// Where.
    pub instance: NodeInstance,
    /// The rest.
    pub record: ConnectionRecord,
}

/// Where a user is, by the directory; entries of dead incarnations are left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presence {
    /// Version of the user's entry; 0 when there is none.
    pub ver: u64,
    /// Live connections, oldest first.
    pub connections: Vec<PresentConnection>,
    /// The connections' nodes hold no lease, but the registry was away so lately that this says nothing: they are to
    /// be tried, and nobody may say that the user is offline.
    pub doubtful: bool,
    /// There is no connection, but a client was sent away a moment ago and is expected back.
    pub moving: bool,
}

/// The nodes of a user at one version of its entry.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UserNodes {
    /// Version of the user's entry.
    pub ver: u64,
    /// Nodes with a connection of the user, sorted, each once.
    pub instances: Vec<NodeInstance>,
    /// The registry was not asked, or holds something else in the user's place: that there are no nodes means nothing.
    pub unknown: bool,
    /// There is none, but a client was sent away a moment ago and is expected back.
    pub moving: bool,
}

impl Presence {
    /// The nodes of the connections.
    #[must_use]
    pub fn nodes(&self) -> UserNodes {
        let mut instances: Vec<_> = self.connections.iter().map(|c| c.instance.clone()).collect();
        instances.sort_unstable();
        instances.dedup();
        UserNodes { ver: self.ver, instances, unknown: false, moving: self.moving }
    }
}

/// The nodes with members of a group.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GroupNodes {
    /// Those that live, sorted, each once.
    pub instances: Vec<NodeInstance>,
    /// The registry is not known to be whole, so there may be more.
    pub doubtful: bool,
}

/// The nodes that live.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Roll {
    /// Sorted by id.
    pub records: Vec<NodeRecord>,
    /// The registry is not known to be whole, so there may be more.
    pub doubtful: bool,
}

/// What became of a connection that was written to the directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connected {
    /// Where the user is now, the new connection included.
    pub presence: Presence,
    /// Whether the entry is not what it was before: the user's other nodes are to be told.
    pub changed: bool,
    /// Older connections that have to be closed for this one; they are in `presence` until they are.
    pub replaced: Vec<PresentConnection>,
    /// The user was on the move and has come back: nobody was told that it was offline.
    pub returned: bool,
}

/// Why the directory gave no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DirectoryError {
    /// Redis cannot be reached, or answered with an error.
    #[error("the registry is not reachable: {0}")]
    Unavailable(String),
    /// The user is banned until then.
    #[error("user is banned")]
    Banned {
        /// End of the ban.
        until: SystemTime,
        /// Why, as given by whoever banned.
        reason: String,
    },
    /// The user's tokens must be newer than this.
    #[error("the token was revoked: those issued before {before} ms are not accepted any more")]
    Revoked {
        /// Milliseconds since the epoch.
        before: u64,
    },
    /// The user has as many connections as the login policy allows.
    #[error("the user has {0} connections already, that is the most")]
    TooMany(u32),
    /// A newer connection took the place of this one.
    #[error("a newer connection took this one's place")]
    Replaced,
}

/// Where a node is in its life. The words are those of `/nodes` and `/admin/status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum NodeStatus {
    /// Serves clients.
    Active,
    /// Sends its clients elsewhere.
    Draining,
    /// Not yet registered.
    Starting,
    /// Ending now; another process may take its place at once.
    Leaving,
}

/// What a node carries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NodeLoad {
    /// Open connections.
    pub connections: u64,
    /// Users with a connection to this node.
    pub users: u64,
    /// Groups with members on this node.
    pub groups: u64,
    /// Frames written to clients per second, over the last ten seconds.
    pub messages_per_second: u64,
}

/// The record under a node's lease, and a row of `/nodes`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct NodeRecord {
    /// The node.
    pub id: NodeId,
    /// Which life of it.
    pub incarnation: Incarnation,
    /// UID of its pod; empty outside Kubernetes.
    #[serde(default)]
    pub pod_uid: String,
    /// Its address.
    pub ip_address: String,
    /// Port of its client listener.
    pub port: u16,
    /// Port of its API listener.
    #[serde(default)]
    pub api_port: u16,
    /// Where it is in its life.
    pub status: NodeStatus,
    /// Open connections at the last heartbeat.
    pub connections: u64,
    /// Users with a connection to this node, at the last heartbeat.
    #[serde(default)]
    pub users: u64,
    /// Groups with members on this node, at the last heartbeat.
    #[serde(default)]
    pub groups: u64,
    /// Frames written to clients per second, before the last heartbeat.
    #[serde(default)]
    pub messages_per_second: u64,
    /// Release of the hub.
    pub version: String,
    /// Failure domain; empty when unknown.
    #[serde(default)]
    pub zone: String,
    /// Start of the process, RFC 3339.
    pub started_at: String,
    /// Last heartbeat, RFC 3339, by the node's own clock.
    pub last_seen: String,
    /// The registry's marker under which all users of the node were written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asserted: Option<String>,
}

/// The node's standing in the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// The node in its present life.
    pub instance: NodeInstance,
    /// Whether the lease of `instance` is held.
    pub registered: bool,
    /// Whether it was held at any time since the process started.
    pub ever_registered: bool,
    /// Rises with each registration and each reconnect that found the lease lost: local users are to be asserted again.
    pub epoch: u64,
    /// Rises whenever something that other nodes said may have been missed: what was learned under a smaller number
    /// may be old.
    pub hearing: u64,
    /// The registry's state.
    pub redis: RedisState,
    /// When the lease runs out unless renewed.
    pub lease_expires: Option<SystemTime>,
    /// Another process took this node's identity: stop accepting, close, exit.
    pub superseded: bool,
}

/// State of the connection to the registry. The first word of the error is one of
/// `auth_failed unreachable tls prefix_in_use node_id_in_use other`, followed by `: ` and a sentence without secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RedisState {
    /// No Redis: the node is alone.
    Embedded,
    /// The last exchange worked.
    Up,
    /// The last exchange failed, and why.
    Down(String),
    /// Redis answers, but what it holds keeps this node out, and why.
    Refused(String),
}

impl RedisState {
    /// The word in `/health` and `/admin/status`.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::Up | Self::Refused(_) => "up",
            Self::Down(_) => "down",
        }
    }
}

/// Knows who is where and which nodes live.
pub trait Directory: Send + Sync {
    /// The node's own standing; changes are seen on the channel.
    fn registration(&self) -> watch::Receiver<Registration>;

    /// Writes a connection of this node and reads back where the user is now. Writing one that is there already
    /// changes nothing but heals what was lost.
    fn connect(&self, record: ConnectionRecord) -> BoxFuture<'_, Result<Connected, DirectoryError>>;

    /// Removes a connection of this node and says where the user is now. `moving`: its client was sent away and is
    /// expected back within this time; if it was the user's last one here, the user counts as moving for so long, or
    /// until it connects. Whoever is not back by then is told offline to the events once.
    fn disconnect<'a>(
        &'a self,
        user: &'a UserId,
        connection: ConnectionId,
        moving: Option<Duration>,
    ) -> BoxFuture<'a, Result<UserNodes, DirectoryError>>;

    /// Where a user is. That it is nowhere is answered only when the registry is known to be whole.
    fn locate<'a>(&'a self, user: &'a UserId) -> BoxFuture<'a, Result<Presence, DirectoryError>>;

    /// All connections and groups of this node were written in this `epoch` of the registration: what is not in the
    /// registry now is not here either.
    fn asserted(&self, epoch: u64) -> BoxFuture<'_, ()>;

    /// What is kept of a session of this user; none when there is no such session, or it is too old.
    fn session<'a>(
        &'a self,
        user: &'a UserId,
        session: SessionId,
    ) -> BoxFuture<'a, Result<Option<SessionState>, DirectoryError>>;

    /// The connection of a session ended. From now on it is kept for as long as sessions are, or, unless `resumable`,
    /// not at all.
    fn end_session<'a>(
        &'a self,
        user: &'a UserId,
        session: SessionId,
        resumable: bool,
    ) -> BoxFuture<'a, Result<(), DirectoryError>>;

    /// Forgets all sessions of a user.
    fn forget_sessions<'a>(&'a self, user: &'a UserId) -> BoxFuture<'a, Result<(), DirectoryError>>;

    /// Writes a user's ban, or lifts it.
    fn set_ban<'a>(
        &'a self,
        user: &'a UserId,
        ban: Option<&'a Ban>,
    ) -> BoxFuture<'a, Result<(), DirectoryError>>;

    /// A user's ban, while it lasts.
    fn ban<'a>(&'a self, user: &'a UserId) -> BoxFuture<'a, Result<Option<Ban>, DirectoryError>>;

    /// From now on tokens of the user that were issued before `before` (ms since the epoch) are not accepted. Returns
    /// what counts, which is the later of this and what was there.
    fn revoke<'a>(&'a self, user: &'a UserId, before: u64) -> BoxFuture<'a, Result<u64, DirectoryError>>;

    /// Whether all of these hold their leases, as seen at most a second ago.
    fn all_live<'a>(&'a self, instances: &'a [NodeInstance]) -> BoxFuture<'a, Result<bool, DirectoryError>>;

    /// Writes how many connections of this node are in a group; 0 removes the node from it.
    fn set_members<'a>(
        &'a self,
        group: &'a GroupName,
        members: u32,
    ) -> BoxFuture<'a, Result<(), DirectoryError>>;

    /// The live nodes with members of a group, this one included; read no earlier than this call.
    fn group_nodes<'a>(&'a self, group: &'a GroupName) -> BoxFuture<'a, Result<GroupNodes, DirectoryError>>;

    /// Where many users are, in their order, read with one exchange. One who is nowhere is `doubtful` unless the registry
    /// is known to be whole.
    fn locate_many<'a>(&'a self, users: &'a [UserId])
    -> BoxFuture<'a, Result<Vec<Presence>, DirectoryError>>;

    /// The nodes whose leases are held, the own one included.
    fn roll(&self) -> BoxFuture<'_, Result<Roll, DirectoryError>>;

    /// The same, whether or not there may be more.
    fn nodes(&self) -> BoxFuture<'_, Result<Vec<NodeRecord>, DirectoryError>> {
        self.roll().map(|roll| roll.map(|roll| roll.records)).boxed()
    }

    /// Tells the registry what the next heartbeat shall say; `Leaving` and `Draining` are written at once.
    fn set_status(&self, status: NodeStatus) -> BoxFuture<'_, Result<(), DirectoryError>>;
}
