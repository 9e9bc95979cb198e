//! What one client does with groups: joins, leaves, and messages to their members.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;

use super::{admission::SendRight, edge::Edge};
use crate::{
    identity::GroupName,
    local::{
        connection::Connection,
        memberships::{JoinRefused, JoinedBy},
    },
    protocol::{
        client_frame::{GroupMessage, MembershipWish},
        error_code::ErrorCode,
        group_answer,
        message::{Message, SendOptions, Wait},
        send_result::BroadcastStatus,
    },
    routing::{group_registry::JoinError, group_send::GroupSender},
};

/// How long the registry may take to hear of a join or a leave before the client is told that others do not know yet.
const SETTLING: Duration = Duration::from_secs(5);

/// Why a frame about a group is not acted on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GroupRefusal {
    /// The client may not join it.
    #[error("joining group:{0} is not granted")]
    JoinNotGranted(GroupName),
    /// The client may not send to it.
    #[error("sending to group:{0} is not granted")]
    SendNotGranted(GroupName),
    /// As many frames about groups are on their way as one client may have.
    #[error("{0} frames about groups are on their way already, wait for their results")]
    TooManyInFlight(usize),
    /// The connection's or the node's bounds.
    #[error(transparent)]
    Join(#[from] JoinError),
}

impl GroupRefusal {
    /// The stable word.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::JoinNotGranted(_) | Self::SendNotGranted(_) => ErrorCode::NotPermitted,
            Self::TooManyInFlight(_) | Self::Join(JoinError::Refused(JoinRefused::TooMany(_))) => {
                ErrorCode::RateLimited
            }
            Self::Join(JoinError::Refused(JoinRefused::Ended)) => ErrorCode::Draining,
            Self::Join(JoinError::RegistryBehind) => ErrorCode::RegistryUnavailable,
        }
    }
}

/// A client's frames about groups on their way. Messages outlive the connection: what was accepted is sent to its end.
pub struct ClientGroups(Arc<Shared>);

struct Shared {
    edge: Arc<Edge>,
    connection: Arc<Connection>,
    in_flight: AtomicUsize,
    /// Messages that wait for an earlier one to the same group; an entry is there while one is being sent.
    waiting: Mutex<HashMap<GroupName, VecDeque<Message>>>,
}

impl ClientGroups {
    /// No frames yet.
    #[must_use]
    pub fn new(edge: Arc<Edge>, connection: Arc<Connection>) -> Self {
        Self(Arc::new(Shared { edge, connection, in_flight: AtomicUsize::new(0), waiting: Mutex::default() }))
    }

    /// Accepts a message for a group; its result, if it has an id, comes through the connection's queue. Messages to
    /// one group keep their order.
    ///
    /// # Errors
    /// [`GroupRefusal`]: the message was not accepted.
    pub fn send(&self, frame: GroupMessage, right: &SendRight) -> Result<(), GroupRefusal> {
        let GroupMessage { group, message } = frame;
        if !right.covers_group(&group) {
            return Err(GroupRefusal::SendNotGranted(group));
        }
        self.take_off()?;
        let mut waiting = self.0.waiting.lock();
        if let Some(behind) = waiting.get_mut(&group) {
            behind.push_back(message);
            return Ok(());
        }
        waiting.insert(group.clone(), VecDeque::new());
        drop(waiting);
        let shared = Arc::clone(&self.0);
        self.0.edge.tasks.spawn(async move { shared.send_in_order(group, message).await });
        Ok(())
    }

    /// Joins or leaves at once here, and answers once the registry knows.
    ///
    /// # Errors
    /// [`GroupRefusal`]: nothing has changed.
    pub fn change(&self, wish: MembershipWish, right: &SendRight) -> Result<(), GroupRefusal> {
        if wish.joins && !right.grants().may_join(&wish.group) {
            return Err(GroupRefusal::JoinNotGranted(wish.group));
        }
        self.take_off()?;
        let Shared { edge, connection, in_flight, .. } = &*self.0;
        let groups = edge.router.groups();
        if wish.joins {
            groups.join(connection, &wish.group, JoinedBy::Grant).inspect_err(|_| {
                in_flight.fetch_sub(1, Ordering::AcqRel);
            })?;
        } else {
            groups.roster().leave(connection, &wish.group);
        }
        edge.router.registry().note_session(connection);
        if groups.is_settled(&wish.group) {
            self.0.answer_change(&wish, BroadcastStatus::Complete);
            return Ok(());
        }
        let shared = Arc::clone(&self.0);
        self.0.edge.tasks.spawn(async move {
            let settle = shared.edge.router.groups().settle(&wish.group);
            let status = match tokio::time::timeout(SETTLING, settle).await {
                Ok(Ok(())) => BroadcastStatus::Complete,
                // It holds here; the others hear of it when the registry is back.
                Ok(Err(_)) | Err(_) => BroadcastStatus::Partial,
            };
            shared.answer_change(&wish, status);
        });
        Ok(())
    }

    fn take_off(&self) -> Result<(), GroupRefusal> {
        let limit = self.0.edge.hot.now().limits.client_in_flight;
        // Only the session of this connection adds, so nothing comes between.
        if self.0.in_flight.load(Ordering::Acquire) >= limit {
            return Err(GroupRefusal::TooManyInFlight(limit));
        }
        self.0.in_flight.fetch_add(1, Ordering::AcqRel);
        Ok(())
    }
}

impl Shared {
    fn answer_change(&self, wish: &MembershipWish, status: BroadcastStatus) {
        self.in_flight.fetch_sub(1, Ordering::AcqRel);
        if let Some(message_id) = &wish.message_id {
            // A connection that is gone or closing reads no result.
            let _ = self.connection.queue.push(group_answer::changed(message_id, &wish.group, status), None);
        }
    }

    /// Sends a message, then those that came for the same group meanwhile.
    async fn send_in_order(&self, group: GroupName, first: Message) {
        let mut next = Some(first);
        while let Some(message) = next {
            self.send(&group, &message).await;
            self.in_flight.fetch_sub(1, Ordering::AcqRel);
            let mut waiting = self.waiting.lock();
            next = waiting.get_mut(&group).and_then(VecDeque::pop_front);
            if next.is_none() {
                waiting.remove(&group);
            }
        }
    }

    async fn send(&self, group: &GroupName, message: &Message) {
        // Without an id nobody will read the result, so nobody has to wait for it.
        let wait = if message.message_id.is_some() { Wait::Delivered } else { Wait::None };
        let options = SendOptions { wait, ..SendOptions::default() };
        let sender = GroupSender { user: &self.connection.user, connection: self.connection.id };
        let result = self.edge.router.send_to_group(Some(sender), group, message, &options).await;
        self.edge.metrics.group_send(result.status);
        if let Some(message_id) = &message.message_id {
            // As above.
            let _ = self.connection.queue.push(group_answer::sent(message_id, &result), None);
        }
    }
}
