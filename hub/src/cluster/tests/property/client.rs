//! One connection of a user, as its device sees it.

use std::{
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use tokio::sync::Notify;

use super::life::Life;
use crate::{
    identity::{ClientId, ConnectionId, GroupName, NodeInstance, UserId},
    local::{connection::Connection, memberships::JoinedBy, outbound_queue::QueueLimits},
    protocol::close_reason::CloseReason,
};

/// Where a client is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Connecting = 0,
    Open = 1,
    /// It leaves, or was told to; the node has not finished with it.
    Ending = 2,
    /// It was refused, or the node has finished with it.
    Over = 3,
}

/// One connection of a user.
pub(super) struct Client {
    pub(super) life: Arc<Life>,
    pub(super) user: UserId,
    pub(super) group: Option<GroupName>,
    pub(super) connection: Arc<Connection>,
    stage: AtomicU8,
    leave: Notify,
    /// When it was open, in us since the epoch.
    opened: AtomicU64,
    /// The instance under which it was written, if that was one and the same all the time.
    written: parking_lot::Mutex<Option<NodeInstance>>,
}

impl Client {
    pub(super) fn new(life: &Arc<Life>, user: &UserId, group: Option<GroupName>) -> Arc<Self> {
        let id = ConnectionId::new(ulid::Ulid::generate());
        let limits = QueueLimits { bytes: 1 << 20, messages: 1024 };
        let device = ClientId::new(id.to_string()).unwrap();
        let at = SystemTime::now();
        let connection = Connection::new(id, user.clone(), device, "127.0.0.1:4711".to_owned(), at, limits);
        Arc::new(Self {
            life: Arc::clone(life),
            user: user.clone(),
            group,
            connection: Arc::new(connection),
            stage: AtomicU8::new(Stage::Connecting as u8),
            leave: Notify::new(),
            opened: AtomicU64::new(u64::MAX),
            written: parking_lot::Mutex::default(),
        })
    }

    /// The whole of its life, as a session has it.
    pub(super) async fn live(self: Arc<Self>) {
        let router = &self.life.router;
        let before = self.life.instance();
        if router.registry().connect(&self.connection, false).await.is_err() {
            self.enter(Stage::Over);
            return;
        }
        if self.life.instance() == before && self.connection.listed.load(Ordering::Relaxed) > 0 {
            *self.written.lock() = Some(before);
        }
        self.opened.store(now_us(), Ordering::Release);
        self.enter(Stage::Open);
        if let Some(group) = &self.group
            && router.groups().join(&self.connection, group, JoinedBy::Grant).is_ok()
        {
            let _ = router.groups().settle(group).await;
        }
        tokio::select! {
            _ = poll_fn(|cx| self.connection.queue.poll_closing(cx)) => {}
            () = self.leave.notified() => {}
        }
        self.enter(Stage::Ending);
        router.disconnect(&self.connection).await;
        self.enter(Stage::Over);
    }

    fn enter(&self, stage: Stage) {
        self.stage.fetch_max(stage as u8, Ordering::AcqRel);
    }

    /// The device closes the connection.
    pub(super) fn leave(&self) {
        self.enter(Stage::Ending);
        self.leave.notify_one();
    }

    pub(super) fn stage(&self) -> Stage {
        match self.stage.load(Ordering::Acquire) {
            0 => Stage::Connecting,
            1 => Stage::Open,
            2 => Stage::Ending,
            _ => Stage::Over,
        }
    }

    /// Why the node closes it.
    pub(super) fn closing(&self) -> Option<CloseReason> {
        self.connection.queue.closing()
    }

    /// Whether a user sits behind it.
    pub(super) fn is_live(&self) -> bool {
        self.stage() == Stage::Open && self.closing().is_none() && !self.life.is_dead()
    }

    /// Whether something about it is still under way.
    pub(super) fn is_unfinished(&self) -> bool {
        let unfinished = match self.stage() {
            Stage::Connecting | Stage::Ending => true,
            Stage::Open => self.closing().is_some(),
            Stage::Over => false,
        };
        unfinished && !self.life.is_dead()
    }

    /// When it was open, in us since the epoch.
    pub(super) fn opened(&self) -> u64 {
        self.opened.load(Ordering::Acquire)
    }

    /// The instance under which the registry took it.
    pub(super) fn written(&self) -> Option<NodeInstance> {
        self.written.lock().clone()
    }
}

/// Microseconds since the epoch, as Redis counts them on the same machine.
pub(super) fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
