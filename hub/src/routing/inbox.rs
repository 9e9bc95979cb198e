//! Stored messages: what routing needs of whoever keeps them. Implemented over Redis and in memory by `cluster/`.

use std::time::Duration;

use futures::future::BoxFuture;

use super::ports::DirectoryError;
use crate::{
    identity::{ClientId, NodeInstance, UserId},
    local::inbox_page::{Page, PageWish},
    protocol::inbox_offset::{EntryId, Offset},
};

/// How much is kept for one user. Beyond it the oldest messages go first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InboxLimits {
    /// Most messages; 0 when nothing is stored at all.
    pub messages: u32,
    /// Most bytes of frames together.
    pub bytes: u64,
    /// How long a message is kept.
    pub ttl: Duration,
}

/// A message to be kept.
#[derive(Debug, Clone, Copy)]
pub struct StoreRequest<'a> {
    /// For whom.
    pub user: &'a UserId,
    /// The hub's id of the message, a ULID.
    pub id: &'a str,
    /// The frame without its offset, a JSON object.
    pub frame: &'a [u8],
    /// Stands for the same message of the same principal; none when it has no `message_id`.
    pub key: Option<&'a str>,
    /// How long it is kept, if not as long as others.
    pub ttl: Option<Duration>,
}

/// A message that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Where it stands.
    pub offset: Offset,
    /// Where the one before it stood.
    pub prev: EntryId,
    /// It was stored before, with this id; nothing was stored now.
    pub duplicate_of: Option<String>,
    /// Older messages that went for it.
    pub trimmed: u64,
    /// Where the user was at that moment, this node included; sorted.
    pub nodes: Vec<NodeInstance>,
}

/// Why a message is not known to be kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Redis cannot be reached, or refused: certainly not kept.
    #[error("the registry is not reachable: {0}")]
    Unavailable(String),
    /// No answer came: it may be kept.
    #[error("the registry did not say whether the message is kept: {0}")]
    Unknown(String),
    /// There is no room for more messages: certainly not kept.
    #[error("no room for stored messages: {0}")]
    NoRoom(String),
}

/// Keeps messages for users until there are too many or they are too old; who has read them changes nothing.
pub trait Inbox: Send + Sync {
    /// Keeps a message. One with a key that was stored before is answered with the first one's place.
    fn store<'a>(&'a self, request: StoreRequest<'a>) -> BoxFuture<'a, Result<Kept, StoreError>>;

    /// Reads a part of a user's inbox. `device`: whose cursor counts, if the wish says so; one without a cursor gets its
    /// own where it starts.
    fn page<'a>(
        &'a self,
        user: &'a UserId,
        device: Option<&'a ClientId>,
        wish: PageWish,
    ) -> BoxFuture<'a, Result<Page, DirectoryError>>;

    /// Notes that a device, if a cursor is kept for it, and the user have everything up to an offset. Only moves forward,
    /// and not beyond what was stored. An offset of another life of the inbox changes nothing.
    fn acknowledge<'a>(
        &'a self,
        user: &'a UserId,
        device: Option<&'a ClientId>,
        upto: Offset,
    ) -> BoxFuture<'a, Result<(), DirectoryError>>;

    /// The newest offset of each user's inbox, in the users' order; none where there is no inbox.
    fn heads<'a>(&'a self, users: &'a [UserId])
    -> BoxFuture<'a, Result<Vec<Option<Offset>>, DirectoryError>>;
}
