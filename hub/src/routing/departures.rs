//! Users whose clients were told to connect elsewhere, until the registry knows that they have left.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::sync::watch;

use super::router::Router;
use crate::{
    identity::{ConnectionId, UserId},
    local::connection::Connection,
    protocol::{close_reason::CloseReason, server_frame},
};

/// Users whose clients were told to connect elsewhere. Between that and the moment when the registry says so nobody
/// here or elsewhere can tell where they are: who looks for them waits for it. Bounded by the connections of the node.
#[derive(Debug, Default)]
pub struct Departures {
    users: Mutex<HashMap<UserId, Leaving>>,
    /// Users in the map, so that nobody who sends has to lock it while no client is sent away.
    count: AtomicUsize,
}

#[derive(Debug, Default)]
struct Leaving {
    connections: Vec<ConnectionId>,
    /// Closed when the last of the connections has left.
    gone: watch::Sender<()>,
}

impl Departures {
    /// A connection is about to be closed.
    pub fn begin(&self, connection: &Connection) {
        let mut users = self.users.lock();
        users.entry(connection.user.clone()).or_default().connections.push(connection.id);
        self.count.store(users.len(), Ordering::Release);
    }

    /// The registry was told that a connection is gone, or cannot be told now.
    pub fn end(&self, connection: &Connection) {
        if self.count.load(Ordering::Acquire) == 0 {
            return;
        }
        let mut users = self.users.lock();
        let Some(leaving) = users.get_mut(&connection.user) else { return };
        leaving.connections.retain(|id| *id != connection.id);
        if leaving.connections.is_empty() {
            users.remove(&connection.user);
        }
        self.count.store(users.len(), Ordering::Release);
    }

    /// Resolves when the registry knows that the user's connections have left; none when none is leaving.
    pub fn over(&self, user: &UserId) -> Option<impl Future<Output = ()> + Send + use<>> {
        if self.count.load(Ordering::Acquire) == 0 {
            return None;
        }
        let mut gone = self.users.lock().get(user)?.gone.subscribe();
        Some(async move {
            // Nothing is ever sent: the end of the channel is the news.
            let _ = gone.changed().await;
        })
    }
}

impl Router {
    /// Asks a connection to end after what is queued for it, and its client to connect again after `hint`. Returns
    /// whether it was open until now.
    pub fn send_away(&self, connection: &Connection, reason: &str, hint: Duration) -> bool {
        connection.set_sent_away(Some(hint));
        self.departures.begin(connection);
        let notice = server_frame::going_away(reason, hint);
        let closed = connection.queue.close_with(Some(notice), CloseReason::Restart);
        if !closed {
            connection.set_sent_away(None);
            self.departures.end(connection);
        }
        closed
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use futures::FutureExt;

    use super::*;
    use crate::{identity::ClientId, local::outbound_queue::QueueLimits};

    fn connection(user: &str, number: u64) -> Connection {
        Connection::new(
            ConnectionId::new(ulid::Ulid::from_parts(number, 0)),
            UserId::new(user).unwrap(),
            ClientId::new("phone").unwrap(),
            "127.0.0.1:1".into(),
            SystemTime::UNIX_EPOCH,
            QueueLimits { bytes: 1000, messages: 10 },
        )
    }

    #[test]
    fn a_departure_is_over_when_the_last_connection_has_left() {
        let departures = Departures::default();
        let (first, second, other) = (connection("alice", 1), connection("alice", 2), connection("bob", 3));
        departures.end(&first);
        assert!(departures.over(&first.user).is_none());
        departures.begin(&first);
        departures.begin(&second);
        departures.begin(&other);
        let mut over = Box::pin(departures.over(&first.user).unwrap());
        departures.end(&first);
        departures.end(&first);
        assert!((&mut over).now_or_never().is_none());
        departures.end(&second);
        assert!((&mut over).now_or_never().is_some());
        assert!(departures.over(&first.user).is_none() && departures.over(&other.user).is_some());
    }
}
