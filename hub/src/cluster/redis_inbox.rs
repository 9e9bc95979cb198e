//! Inboxes as Redis streams.

use std::{sync::Arc, time::Duration};

use futures::{FutureExt, future::BoxFuture};
use redis::{Pipeline, ScriptInvocation, Value};

use super::{
    inbox_entries::{StoredEntry, stored_entries},
    inbox_scripts,
    key_space::KeySpace,
    lease_view::LeaseView,
    membership::millis,
    memory_guard::MemoryGuard,
    presence_entry::nodes_of_fields,
    redis_link::{CommandFailure, RedisLink},
    registry_error::RegistryError,
};
use crate::{
    identity::{ClientId, NodeInstance, UserId},
    local::inbox_page::{Page, PageEntry, PageWish},
    protocol::{
        inbox_offset::{BadOffset, EntryId, InboxEpoch, Offset},
        stored_notice::with_offset,
    },
    routing::{
        inbox::{Inbox, InboxLimits, Kept, StoreError, StoreRequest},
        ports::DirectoryError,
    },
};

/// How long a repeat of a message is known for one: as long as a Redis may be away.
pub(super) const IDEMPOTENCY_LIFE: Duration = Duration::from_mins(10);
/// By how much meta outlives the messages.
const META_BEYOND: Duration = Duration::from_hours(24);

/// Entries that are read with one command, whatever their size.
const READ_AT_ONCE: usize = 64;

/// Inboxes as Redis streams, in the slots of their users.
pub(super) struct RedisInbox {
    link: Arc<RedisLink>,
    keys: KeySpace,
    leases: Arc<LeaseView>,
    guard: Arc<MemoryGuard>,
    limits: InboxLimits,
}

type StoreAnswer = (u8, String, String, String, String, u64, Vec<String>);
/// What [`inbox_scripts::BEGIN`] answers: epoch, last, start, now in ms.
type Head = (String, String, String, u64);

impl RedisInbox {
    pub(super) fn new(
        link: Arc<RedisLink>,
        keys: KeySpace,
        leases: Arc<LeaseView>,
        guard: Arc<MemoryGuard>,
        limits: InboxLimits,
    ) -> Self {
        Self { link, keys, leases, guard, limits }
    }

    async fn keep(&self, request: StoreRequest<'_>) -> Result<Kept, StoreError> {
        let StoreRequest { user, id, frame, key, ttl } = request;
        let inbox = self.keys.inbox(user);
        if let Some(why) = self.guard.shortage(&inbox) {
            return Err(StoreError::NoRoom(why));
        }
        let mut script = inbox_scripts::STORE.key(inbox);
        // A key that is not used is named nevertheless, so that the slot is always the same.
        script.key(self.keys.inbox_meta(user)).key(self.keys.connections(user));
        script.key(self.keys.idempotency(user, key.unwrap_or("-")));
        script.arg(new_epoch()).arg(frame).arg(id).arg(self.limits.messages).arg(self.limits.bytes);
        let own = ttl.filter(|ttl| *ttl < self.limits.ttl);
        let empty = String::new;
        script.arg(millis(self.limits.ttl)).arg(own.map_or_else(empty, |ttl| millis(ttl).to_string()));
        script.arg(key.map_or_else(empty, |_| millis(IDEMPOTENCY_LIFE).to_string())).arg(self.meta_life());
        let answer: StoreAnswer = self.link.script(&script).await.map_err(refusal)?;
        let (before, epoch, id, prev, first, trimmed, fields) = answer;
        let place = || Ok::<_, BadOffset>((epoch.parse()?, id.parse()?, prev.parse()?));
        // It is kept all the same.
        let (epoch, id, prev) = place().map_err(|error| StoreError::Unknown(error.to_string()))?;
        Ok(Kept {
            offset: Offset { epoch, id },
            prev,
            duplicate_of: (before == 1).then_some(first),
            trimmed,
            nodes: self.living(nodes_of_fields(&fields)).await,
        })
    }

    /// Those that live. When nobody seems to, or Redis does not say, all of them are worth a try.
    async fn living(&self, nodes: Vec<NodeInstance>) -> Vec<NodeInstance> {
        match self.leases.live(&nodes.iter().cloned().collect()).await {
            Ok(live) if !live.is_empty() => nodes.into_iter().filter(|node| live.contains(node)).collect(),
            Ok(_) | Err(_) => nodes,
        }
    }

    async fn read(
        &self,
        user: &UserId,
        device: Option<&ClientId>,
        wish: PageWish,
    ) -> Result<Page, DirectoryError> {
        if let Some(after) = wish.after.filter(|_| !wish.from_cursor)
            && let Some(page) = self.read_on(user, after, wish).await?
        {
            return Ok(page);
        }
        let begin = self.begin(user, device.filter(|_| wish.from_cursor), wish.after);
        let head: Head = self.link.script(&begin).await?;
        let Some((mut page, now)) = self.page(&head)? else { return Ok(Page::of_nobody()) };
        if page.start < page.last {
            let mut pipeline = redis::pipe();
            self.range(&mut pipeline, user, page.start, wish);
            let (entries, still): (Value, Option<String>) = self.link.pipeline(&pipeline).await?;
            if still.as_deref() != Some(head.0.as_str()) {
                let why = "other: the inbox began a new life while it was read";
                return Err(DirectoryError::Unavailable(why.to_owned()));
            }
            self.fill(&mut page, entries, wish, now).map_err(strange)?;
        }
        Ok(page)
    }

    /// The same where it is known what comes next, as after each page but the first: with one question. None: the inbox is
    /// not as it was, or the script is not known to Redis any more.
    async fn read_on(
        &self,
        user: &UserId,
        after: Offset,
        wish: PageWish,
    ) -> Result<Option<Page>, DirectoryError> {
        let mut pipeline = redis::pipe();
        pipeline.invoke_script(&self.begin(user, None, Some(after)));
        self.range(&mut pipeline, user, after.id, wish);
        let answer: Result<(Head, Value, Option<String>), _> = self.link.pipeline(&pipeline).await;
        // Whatever it is, the longer way finds it too, and says it.
        let Ok((head, entries, still)) = answer else { return Ok(None) };
        let Some((mut page, now)) = self.page(&head)? else { return Ok(None) };
        if page.epoch != Some(after.epoch)
            || page.start != after.id
            || still.as_deref() != Some(head.0.as_str())
        {
            return Ok(None);
        }
        self.fill(&mut page, entries, wish, now).map_err(strange)?;
        Ok(Some(page))
    }

    fn begin(&self, user: &UserId, device: Option<&ClientId>, after: Option<Offset>) -> ScriptInvocation<'_> {
        let mut script = inbox_scripts::BEGIN.key(self.keys.inbox(user));
        script.key(self.keys.inbox_meta(user));
        let (epoch, id) =
            after.map_or_else(Default::default, |after| (after.epoch.to_string(), after.id.to_string()));
        script.arg(field(device)).arg(epoch).arg(id).arg(new_epoch()).arg(self.meta_life());
        script
    }

    /// Asks for the entries behind `start`, and then for the life of the inbox that they are of.
    fn range(&self, pipeline: &mut Pipeline, user: &UserId, start: EntryId, wish: PageWish) {
        pipeline.cmd("XRANGE").arg(self.keys.inbox(user)).arg(format!("({start}")).arg("+");
        pipeline.arg("COUNT").arg(wish.entries.min(READ_AT_ONCE).saturating_add(1));
        pipeline.cmd("HGET").arg(self.keys.inbox_meta(user)).arg("epoch");
    }

    /// A page without its entries, and the time of Redis in ms; none when the user has no inbox.
    fn page(&self, (epoch, last, start, now): &Head) -> Result<Option<(Page, u64)>, DirectoryError> {
        if epoch.is_empty() {
            return Ok(None);
        }
        let page = Page {
            epoch: Some(epoch.parse().map_err(strange)?),
            last: last.parse().map_err(strange)?,
            start: start.parse().map_err(strange)?,
            entries: Vec::new(),
            more: false,
        };
        Ok(Some((page, *now)))
    }

    /// Takes what was read into the page, as far as it may go.
    fn fill(&self, page: &mut Page, entries: Value, wish: PageWish, now: u64) -> Result<(), BadOffset> {
        let Some(epoch) = page.epoch else { return Ok(()) };
        let most = wish.entries.min(READ_AT_ONCE);
        let oldest = now.saturating_sub(millis(self.limits.ttl));
        let mut bytes = 0usize;
        for StoredEntry { id, prev, until, frame } in stored_entries(entries)? {
            bytes = bytes.saturating_add(frame.len());
            if page.entries.len() >= most || (!page.entries.is_empty() && bytes > wish.bytes) {
                page.more = true;
                break;
            }
            let over = until <= now || id.ms < oldest;
            let frame = if over { None } else { with_offset(&frame, Offset { epoch, id }) };
            page.entries.push(PageEntry { id, prev, frame });
        }
        Ok(())
    }

    async fn look(&self, users: &[UserId]) -> Result<Vec<Option<Offset>>, DirectoryError> {
        if users.is_empty() {
            return Ok(Vec::new());
        }
        let mut pipeline = redis::pipe();
        for user in users {
            pipeline.cmd("HMGET").arg(self.keys.inbox_meta(user)).arg("epoch").arg("last");
        }
        let heads: Vec<(Option<String>, Option<String>)> = self.link.pipeline(&pipeline).await?;
        let head = |(epoch, last): (Option<String>, Option<String>)| {
            Some(Offset { epoch: epoch?.parse().ok()?, id: last?.parse().ok()? })
        };
        Ok(heads.into_iter().map(head).collect())
    }

    fn meta_life(&self) -> u64 {
        millis(self.limits.ttl.saturating_add(META_BEYOND))
    }
}

/// The field of a device's cursor.
fn field(device: Option<&ClientId>) -> String {
    device.map_or_else(String::new, |device| format!("c:{device}"))
}

fn new_epoch() -> String {
    InboxEpoch::of(rand::random()).to_string()
}

fn strange(error: BadOffset) -> DirectoryError {
    DirectoryError::Unavailable(format!("other: the inbox in redis holds what is no offset: {error}"))
}

fn refusal(failure: CommandFailure) -> StoreError {
    match failure {
        CommandFailure { error, maybe_done: true } => StoreError::Unknown(error.to_string()),
        CommandFailure { error: error @ RegistryError::OutOfMemory(_), .. } => {
            StoreError::NoRoom(error.to_string())
        }
        CommandFailure { error, .. } => StoreError::Unavailable(error.to_string()),
    }
}

impl Inbox for RedisInbox {
    fn store<'a>(&'a self, request: StoreRequest<'a>) -> BoxFuture<'a, Result<Kept, StoreError>> {
        self.keep(request).boxed()
    }

    fn page<'a>(
        &'a self,
        user: &'a UserId,
        device: Option<&'a ClientId>,
        wish: PageWish,
    ) -> BoxFuture<'a, Result<Page, DirectoryError>> {
        self.read(user, device, wish).boxed()
    }

    fn acknowledge<'a>(
        &'a self,
        user: &'a UserId,
        device: Option<&'a ClientId>,
        upto: Offset,
    ) -> BoxFuture<'a, Result<(), DirectoryError>> {
        async move {
            let mut script = inbox_scripts::ACKNOWLEDGE.key(self.keys.inbox_meta(user));
            script.arg(upto.epoch.to_string()).arg(field(device)).arg(upto.id.to_string());
            Ok(self.link.script::<u8>(&script).await.map(drop)?)
        }
        .boxed()
    }

    fn heads<'a>(
        &'a self,
        users: &'a [UserId],
    ) -> BoxFuture<'a, Result<Vec<Option<Offset>>, DirectoryError>> {
        self.look(users).boxed()
    }
}
