//! The end of a node: clients are told, the registry is told, then everything stops.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::Hub;
use crate::{
    protocol::{close_reason::CloseReason, server_frame},
    routing::ports::NodeStatus,
    session::edge::Edge,
};

/// Longest wait for the registry to note the node's status.
const NOTE: Duration = Duration::from_secs(1);
/// Kept of the grace for leaving the cluster and for the last HTTP answers.
const RESERVE: Duration = Duration::from_secs(4);
/// Longest wait for tasks after the connections: leaving the cluster takes at most 2 s.
const BACKGROUND: Duration = Duration::from_secs(3);
/// Longest wait for HTTP requests that are being answered.
const SERVING: Duration = Duration::from_secs(1);
/// Between two looks at the connections that are left; also finds those that were being admitted.
const LOOK: Duration = Duration::from_millis(20);
/// Connections closed before other tasks get their turn.
const CLOSED_PER_TURN: usize = 256;

impl Hub {
    /// Ends the node within `grace`: from now on `/health` answers 503 and upgrades are refused; every client
    /// gets `going_away` and close 1012; the node gives up its place in the cluster; listeners close.
    pub async fn shutdown(&self, grace: Duration) {
        let edge = &self.service.edge;
        let end = Instant::now() + grace;
        let deadline = end - RESERVE.min(grace / 2);
        let left = |until: Instant| until.saturating_duration_since(Instant::now());
        edge.lifecycle.begin_draining();
        let connections = edge.seats.taken();
        tracing::info!(connections, grace = ?grace, "shutting down");
        let noted = tokio::time::timeout(NOTE, self.directory.set_status(NodeStatus::Draining));
        let (noted, ()) = tokio::join!(noted, self.close_connections(deadline));
        if !matches!(noted, Ok(Ok(()))) {
            tracing::warn!("the registry could not be told that this node drains");
        }
        edge.tasks.close();
        if tokio::time::timeout(left(deadline), edge.tasks.wait()).await.is_err() {
            tracing::warn!(tasks = edge.tasks.len(), "connections or sends did not end in time");
        }
        edge.lifecycle.close();

        self.stop.cancel();
        self.background.close();
        if tokio::time::timeout(BACKGROUND.min(left(end)), self.background.wait()).await.is_err() {
            tracing::warn!(tasks = self.background.len(), "background tasks did not end in time");
        }
        self.stop_serving.cancel();
        self.sockets.close();
        if tokio::time::timeout(SERVING.min(left(end)), self.sockets.wait()).await.is_err() {
            tracing::debug!(sockets = self.sockets.len(), "http requests cut short");
        }
        tracing::info!("stopped");
    }

    /// Closes all connections and waits until their sockets are gone, at most until `deadline`.
    async fn close_connections(&self, deadline: Instant) {
        let edge = &self.service.edge;
        loop {
            send_away(edge).await;
            if edge.seats.taken() == 0 || Instant::now() >= deadline {
                return;
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// Asks every connection to end after what is queued for it, with a hint of its own when to connect again.
async fn send_away(edge: &Arc<Edge>) {
    for (n, connection) in edge.router.local().all().iter().enumerate() {
        if connection.queue.closing().is_none() {
            let notice = server_frame::going_away("restart", edge.retry_after());
            connection.queue.close_with(Some(notice), CloseReason::Restart);
        }
        if n % CLOSED_PER_TURN == CLOSED_PER_TURN - 1 {
            tokio::task::yield_now().await;
        }
    }
}
