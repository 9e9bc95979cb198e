//! The end of a node: clients are sent elsewhere, the registry is told, then everything stops.

use std::time::{Duration, Instant};

use super::Hub;
use crate::{http::events::READERS, routing::ports::NodeStatus};

/// Longest wait for the registry to say whether there are other nodes.
const ASK: Duration = Duration::from_secs(1);
/// Kept of the grace for leaving the cluster and for the last HTTP answers.
const RESERVE: Duration = Duration::from_secs(4);
/// Longest wait for tasks after the connections: leaving the cluster takes at most 2 s.
const BACKGROUND: Duration = Duration::from_secs(3);
/// Longest wait for HTTP requests that are being answered, when the end is to come soon.
const SERVING: Duration = Duration::from_secs(1);
/// The same where the grace leaves room: as long as a send takes that is told nothing else.
const ANSWERS: Duration = Duration::from_secs(5);
/// Between two looks at the connections that are left.
const LOOK: Duration = Duration::from_millis(20);
/// After the last connection the node still answers others for so long: they may believe for 2 s that a user is here, and
/// are to hear that it left instead of nothing.
const LINGER: Duration = Duration::from_millis(2250);
/// For the closes of those that are left, when the end is to come at once.
const LAST_WORDS: Duration = Duration::from_millis(300);
/// For leaving the cluster, when the end is to come at once.
const LEAVING: Duration = Duration::from_millis(500);

impl Hub {
    /// Ends the node within `grace`. Its clients are sent elsewhere as by a drain: after the time in which load
    /// balancers notice, at the rate of the settings or faster where the grace demands it; a drain that was begun is
    /// continued. With no clients, or no other node that takes them, or with `--dev`, nothing is waited for: what is
    /// left is closed at once. Then the node gives up its place in the cluster and listeners close.
    pub async fn shutdown(&self, grace: Duration) {
        let edge = &self.service.edge;
        let end = Instant::now() + grace;
        let deadline = end - RESERVE.min(grace / 2);
        let connections = edge.seats.taken();
        let at_once = connections == 0 || edge.settings.dev || !self.others_take_clients().await;
        tracing::info!(connections, grace = ?grace, at_once, "shutting down");
        edge.drain_to_end(left(deadline), at_once).await;
        while edge.seats.taken() > 0 && Instant::now() < deadline {
            tokio::time::sleep(LOOK).await;
        }
        edge.tasks.close();
        if tokio::time::timeout(left(deadline), edge.tasks.wait()).await.is_err() {
            tracing::warn!(tasks = edge.tasks.len(), "connections or sends did not end in time");
        }
        if connections > 0 && !at_once {
            tokio::time::sleep(LINGER.min(left(deadline))).await;
        }
        let answers = if at_once { SERVING } else { left(deadline).clamp(SERVING, ANSWERS) };
        self.stop_all(BACKGROUND.min(left(end)), answers.min(left(end))).await;
    }

    /// Ends the node now: what is left is closed, and waited for less than a second. To be called when
    /// [`Hub::shutdown`] was begun and there is no time for the rest of it.
    pub async fn shutdown_at_once(&self) {
        let edge = &self.service.edge;
        tracing::info!(connections = edge.seats.taken(), "ending at once");
        // Only the registry is slow to be told; it learns it when the lease is given up.
        let _ = tokio::time::timeout(LAST_WORDS, async {
            tokio::join!(edge.drain_to_end(Duration::ZERO, true), async {
                while edge.seats.taken() > 0 {
                    tokio::time::sleep(LOOK).await;
                }
            });
        })
        .await;
        self.stop_all(LEAVING, Duration::ZERO).await;
    }

    /// Whether clients that are sent away have a node to go to.
    async fn others_take_clients(&self) -> bool {
        let edge = &self.service.edge;
        let registration = edge.router.registration();
        if registration.superseded {
            // Another process is this node now; its clients do not belong here any more.
            return false;
        }
        match tokio::time::timeout(ASK, edge.router.nodes()).await {
            Ok(Ok(nodes)) => nodes
                .iter()
                .any(|node| node.id != registration.instance.node && node.status == NodeStatus::Active),
            // Nobody says that there is none.
            Ok(Err(_)) | Err(_) => true,
        }
    }

    /// First the requests that are being answered, then the cluster: a send that met a node which has left it would reach
    /// nobody elsewhere, however well others do.
    async fn stop_all(&self, background: Duration, serving: Duration) {
        self.service.edge.lifecycle.close();
        self.stop_serving.cancel();
        self.sockets.close();
        let answered = async {
            while self.sockets.len() > self.readers_of_events() {
                tokio::time::sleep(LOOK).await;
            }
        };
        if tokio::time::timeout(serving, answered).await.is_err() {
            tracing::debug!(sockets = self.sockets.len(), "http requests that go on without the cluster");
        }
        self.stop.cancel();
        self.background.close();
        if tokio::time::timeout(background, self.background.wait()).await.is_err() {
            tracing::warn!(tasks = self.background.len(), "background tasks did not end in time");
        }
        self.stop_reading.cancel();
        if tokio::time::timeout(serving.min(SERVING), self.sockets.wait()).await.is_err() {
            tracing::debug!(sockets = self.sockets.len(), "http requests cut short");
        }
        tracing::info!("stopped");
    }

    /// Each has one socket.
    fn readers_of_events(&self) -> usize {
        READERS.saturating_sub(self.service.event_readers.available_permits())
    }
}

fn left(until: Instant) -> Duration {
    until.saturating_duration_since(Instant::now())
}
