//! Inboxes in the memory of a node that is alone: as durable as its process.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
    time::SystemTime,
};

use futures::{
    FutureExt,
    future::{BoxFuture, ready},
};
use parking_lot::Mutex;

use super::{inbox_scripts::MOST_CURSORS, redis_inbox::IDEMPOTENCY_LIFE};
use crate::{
    identity::{ClientId, NodeInstance, UserId},
    local::inbox_page::{Page, PageEntry, PageWish},
    protocol::{
        inbox_offset::{EntryId, InboxEpoch, Offset},
        millis::{millis_since_epoch, whole_millis},
        stored_notice::with_offset,
    },
    routing::{
        inbox::{Inbox, InboxLimits, Kept, StoreError, StoreRequest},
        ports::DirectoryError,
    },
};

/// Bytes of frames that are kept for all users together.
const MOST_BYTES: u64 = 256 * 1024 * 1024;
/// What an entry or a key is taken to need besides.
const OVERHEAD: u64 = 128;

struct Entry {
    id: EntryId,
    prev: EntryId,
    frame: Vec<u8>,
    /// Ms since the epoch.
    until: u64,
}

struct UserInbox {
    epoch: InboxEpoch,
    last: EntryId,
    acked: EntryId,
    bytes: u64,
    entries: VecDeque<Entry>,
    /// With the time of writing, in ms since the epoch.
    cursors: BTreeMap<ClientId, (EntryId, u64)>,
}

#[derive(Default)]
struct State {
    users: HashMap<UserId, UserInbox>,
    bytes: u64,
    /// Messages with a key, until when, and in the order of their storing.
    keys: HashMap<(UserId, String), (Offset, String)>,
    key_order: VecDeque<(u64, (UserId, String))>,
}

/// Where a user is, by whoever knows it.
pub(super) type Whereabouts = Arc<dyn Fn(&UserId) -> Vec<NodeInstance> + Send + Sync>;

/// Inboxes in memory.
pub(super) struct MemoryInbox {
    limits: InboxLimits,
    state: Arc<Mutex<Inboxes>>,
    nodes: Whereabouts,
}

/// The inboxes that the nodes of one process share.
#[derive(Default)]
pub(super) struct Inboxes(State);

impl MemoryInbox {
    pub(super) fn new(limits: InboxLimits, state: Arc<Mutex<Inboxes>>, nodes: Whereabouts) -> Self {
        Self { limits, state, nodes }
    }
}

fn now_ms() -> u64 {
    millis_since_epoch(SystemTime::now())
}

impl UserInbox {
    fn new() -> Self {
        Self {
            epoch: InboxEpoch::of(rand::random()),
            last: EntryId::START,
            acked: EntryId::START,
            bytes: 0,
            entries: VecDeque::new(),
            cursors: BTreeMap::new(),
        }
    }

    /// Drops the oldest while there are too many or they are too old. Returns entries and bytes.
    fn trim(&mut self, limits: &InboxLimits, now: u64) -> (u64, u64) {
        let (mut count, mut bytes) = (0, 0);
        let most = usize::try_from(limits.messages).unwrap_or(usize::MAX);
        while let Some(first) = self.entries.front()
            && (self.entries.len() > most
                || self.bytes > limits.bytes
                || first.id.ms.saturating_add(whole_millis(limits.ttl)) < now)
        {
            let size = u64::try_from(first.frame.len()).unwrap_or(u64::MAX);
            self.bytes = self.bytes.saturating_sub(size);
            (count, bytes) = (count + 1, bytes + size + OVERHEAD);
            self.entries.pop_front();
        }
        (count, bytes)
    }

    fn set_cursor(&mut self, device: &ClientId, id: EntryId, now: u64) {
        self.cursors.insert(device.clone(), (id, now));
        if self.cursors.len() > MOST_CURSORS {
            let others = self.cursors.iter().filter(|(client, _)| *client != device);
            let oldest = others.min_by_key(|(_, (_, written))| *written).map(|(client, _)| client.clone());
            if let Some(oldest) = oldest {
                self.cursors.remove(&oldest);
            }
        }
    }
}

impl State {
    /// Forgets what is too old, of everybody.
    fn sweep(&mut self, limits: &InboxLimits, now: u64) {
        let mut freed = 0;
        for inbox in self.users.values_mut() {
            freed += inbox.trim(limits, now).1;
        }
        self.bytes = self.bytes.saturating_sub(freed);
    }

    fn forget_keys(&mut self, now: u64) {
        while self.key_order.front().is_some_and(|(until, _)| *until <= now) {
            if let Some((_, key)) = self.key_order.pop_front() {
                self.keys.remove(&key);
                self.bytes = self.bytes.saturating_sub(OVERHEAD);
            }
        }
    }

    fn store(
        &mut self,
        request: StoreRequest<'_>,
        limits: &InboxLimits,
        now: u64,
    ) -> Result<Kept, StoreError> {
        let StoreRequest { user, id: hub_id, frame, key, ttl } = request;
        self.forget_keys(now);
        let key = key.map(|key| (user.clone(), key.to_owned()));
        if let Some((offset, first)) = key.as_ref().and_then(|key| self.keys.get(key)) {
            let (offset, duplicate_of) = (*offset, Some(first.clone()));
            return Ok(Kept { offset, prev: offset.id, duplicate_of, trimmed: 0, nodes: Vec::new() });
        }
        let size = u64::try_from(frame.len()).unwrap_or(u64::MAX);
        if self.bytes.saturating_add(size) > MOST_BYTES {
            self.sweep(limits, now);
        }
        if self.bytes.saturating_add(size) > MOST_BYTES {
            return Err(StoreError::NoRoom(format!("{MOST_BYTES} bytes are kept already")));
        }
        let inbox = self.users.entry(user.clone()).or_insert_with(UserInbox::new);
        let prev = inbox.last;
        let id =
            if now > prev.ms { EntryId { ms: now, seq: 0 } } else { EntryId { seq: prev.seq + 1, ..prev } };
        let until = now.saturating_add(whole_millis(ttl.unwrap_or(limits.ttl).min(limits.ttl)));
        inbox.last = id;
        inbox.bytes += size;
        inbox.entries.push_back(Entry { id, prev, frame: frame.to_vec(), until });
        let (trimmed, freed) = inbox.trim(limits, now);
        let offset = Offset { epoch: inbox.epoch, id };
        self.bytes = (self.bytes + size + OVERHEAD).saturating_sub(freed);
        if let Some(key) = key {
            self.key_order.push_back((now.saturating_add(whole_millis(IDEMPOTENCY_LIFE)), key.clone()));
            self.keys.insert(key, (offset, hub_id.to_owned()));
            self.bytes += OVERHEAD;
        }
        Ok(Kept { offset, prev, duplicate_of: None, trimmed, nodes: Vec::new() })
    }

    fn page(&mut self, user: &UserId, device: Option<&ClientId>, wish: PageWish, now: u64) -> Page {
        let inbox = match self.users.get_mut(user) {
            Some(inbox) => inbox,
            None if wish.after.is_none() => return Page::of_nobody(),
            None => self.users.entry(user.clone()).or_insert_with(UserInbox::new),
        };
        let mut start = EntryId::START;
        if let Some(device) = device.filter(|_| wish.from_cursor) {
            let cursor = inbox.cursors.get(device).map(|(id, _)| *id);
            start = cursor.unwrap_or(inbox.acked);
            if cursor.is_none() {
                inbox.set_cursor(device, start, now);
            }
        }
        let after = wish.after.filter(|after| after.epoch == inbox.epoch).map(|after| after.id);
        start = start.max(after.unwrap_or_default()).min(inbox.last);
        let (mut entries, mut bytes, mut more) = (Vec::new(), 0, false);
        for entry in inbox.entries.iter().filter(|entry| entry.id > start) {
            bytes += entry.frame.len();
            if entries.len() >= wish.entries || (!entries.is_empty() && bytes > wish.bytes) {
                more = true;
                break;
            }
            let offset = Offset { epoch: inbox.epoch, id: entry.id };
            let frame = if entry.until > now { with_offset(&entry.frame, offset) } else { None };
            entries.push(PageEntry { id: entry.id, prev: entry.prev, frame });
        }
        Page { epoch: Some(inbox.epoch), last: inbox.last, start, entries, more }
    }

    fn acknowledge(&mut self, user: &UserId, device: Option<&ClientId>, upto: Offset, now: u64) {
        let Some(inbox) = self.users.get_mut(user).filter(|inbox| inbox.epoch == upto.epoch) else { return };
        let id = upto.id.min(inbox.last);
        inbox.acked = inbox.acked.max(id);
        if let Some(device) = device
            && inbox.cursors.get(device).is_none_or(|(cursor, _)| *cursor < id)
        {
            inbox.set_cursor(device, id, now);
        }
    }
}

impl Inbox for MemoryInbox {
    fn store<'a>(&'a self, request: StoreRequest<'a>) -> BoxFuture<'a, Result<Kept, StoreError>> {
        let user = request.user;
        let kept = self.state.lock().0.store(request, &self.limits, now_ms());
        // After the message stands: who connects meanwhile reads it.
        ready(kept.map(|kept| Kept { nodes: (self.nodes)(user), ..kept })).boxed()
    }

    fn page<'a>(
        &'a self,
        user: &'a UserId,
        device: Option<&'a ClientId>,
        wish: PageWish,
    ) -> BoxFuture<'a, Result<Page, DirectoryError>> {
        ready(Ok(self.state.lock().0.page(user, device, wish, now_ms()))).boxed()
    }

    fn acknowledge<'a>(
        &'a self,
        user: &'a UserId,
        device: Option<&'a ClientId>,
        upto: Offset,
    ) -> BoxFuture<'a, Result<(), DirectoryError>> {
        self.state.lock().0.acknowledge(user, device, upto, now_ms());
        ready(Ok(())).boxed()
    }

    fn heads<'a>(
        &'a self,
        users: &'a [UserId],
    ) -> BoxFuture<'a, Result<Vec<Option<Offset>>, DirectoryError>> {
        let state = self.state.lock();
        let head = |user: &UserId| {
            state.0.users.get(user).map(|inbox| Offset { epoch: inbox.epoch, id: inbox.last })
        };
        ready(Ok(users.iter().map(head).collect())).boxed()
    }
}
