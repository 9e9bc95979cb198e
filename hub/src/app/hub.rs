//! A running node: the library's face.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{HubBuilder, error::EventsError};
use crate::{
    http::{health::Health, routes, service::Service},
    identity::{GroupName, NodeId, UserId},
    protocol::{
        drain_request::{DrainRequest, RebalanceRequest},
        event::EventPosition,
        group_answer::{GroupListing, MembershipResult},
        group_payload::MembershipChange,
        message::{KickRequest, Message, SendOptions, Wait},
        message_batch::BatchEntry,
        send_result::{BroadcastResult, KickResult, RevokeResult, SendResult, UserLocation},
    },
    routing::{
        event_tail::{EventGap, EventTail},
        idempotency::Principal,
        ports::{Directory, DirectoryError, NodeRecord},
    },
    session::{
        drain::control::{DrainProgress, DrainRefused},
        edge::Edge,
    },
    settings::Settings,
};

/// A running node. The HTTP API is a thin skin over these calls.
///
/// Dropping a hub leaves it running; end it with [`Hub::shutdown`].
pub struct Hub {
    pub(super) service: Arc<Service>,
    pub(super) directory: Arc<dyn Directory>,
    pub(super) addresses: Option<(SocketAddr, SocketAddr)>,
    /// Everything but sessions and sockets.
    pub(super) background: TaskTracker,
    pub(super) stop: CancellationToken,
    /// Listeners, and sockets that are not upgraded.
    pub(super) sockets: TaskTracker,
    pub(super) stop_serving: CancellationToken,
    /// Answers without an end: readers of events, who are to hear what is told last.
    pub(super) stop_reading: CancellationToken,
}

impl Hub {
    /// Begins to build a hub.
    #[must_use]
    pub fn builder(settings: Settings) -> HubBuilder {
        HubBuilder::new(settings)
    }

    /// Sends a message to every connection of a user, on all nodes, with retries; the result says what happened. A
    /// message with a `message_id` is sent to a user once in a minute; a repeat gets the first result.
    pub async fn send_to_user_with_retry(
        &self,
        user: &UserId,
        message: &Message,
        options: &SendOptions,
    ) -> SendResult {
        self.service.edge.send_to_user(Principal::Library, user, message, options).await
    }

    /// The same, and waits until a client of the user says that it has the message: `acked`, or what was known when
    /// `timeout` was over.
    pub async fn send_to_user_with_ack(
        &self,
        user: &UserId,
        message: &Message,
        timeout: Duration,
    ) -> SendResult {
        let options = SendOptions { wait: Wait::Acked, timeout, ..SendOptions::default() };
        self.send_to_user_with_retry(user, message, &options).await
    }

    /// Sends many messages at once; the results are in their order, and messages for one user arrive in their order.
    pub async fn send_many(&self, messages: Vec<BatchEntry>) -> Vec<SendResult> {
        self.service.edge.send_batch(Principal::Library, messages).await
    }

    /// Sends a message to every connection of every node, each at most once.
    pub async fn broadcast(&self, message: &Message, options: &SendOptions) -> BroadcastResult {
        self.service.edge.broadcast(message, options, &[]).await
    }

    /// Sends a message to the members of a group on all nodes, each at most once.
    pub async fn send_to_group(
        &self,
        group: &GroupName,
        message: &Message,
        options: &SendOptions,
    ) -> BroadcastResult {
        self.service.edge.send_to_group(group, message, options).await
    }

    /// Makes a user's connections on all nodes members of a group. The membership lasts for the connection.
    pub async fn join_group(&self, group: &GroupName, user: &UserId) -> MembershipResult {
        let change = MembershipChange { joins: true, group: group.clone() };
        self.service.edge.router.change_membership(user, &change).await
    }

    /// Ends the memberships of a user's connections on all nodes.
    pub async fn leave_group(&self, group: &GroupName, user: &UserId) -> MembershipResult {
        let change = MembershipChange { joins: false, group: group.clone() };
        self.service.edge.router.change_membership(user, &change).await
    }

    /// Who is in a group: users behind `after`, sorted, at most 1,000.
    ///
    /// # Errors
    /// [`DirectoryError`] when the registry cannot be asked.
    pub async fn group_members(
        &self,
        group: &GroupName,
        after: Option<&UserId>,
    ) -> Result<GroupListing, DirectoryError> {
        self.service.edge.router.group_listing(group, after).await
    }

    /// Closes a user's connections on all nodes, with a ban first if one is wanted, and counts them.
    ///
    /// # Errors
    /// [`DirectoryError`] when the ban cannot be written: then nothing was done.
    pub async fn kick_user(
        &self,
        user: &UserId,
        request: &KickRequest,
    ) -> Result<KickResult, DirectoryError> {
        self.service.edge.kick(user, request).await
    }

    /// Lifts a user's ban.
    ///
    /// # Errors
    /// [`DirectoryError`] when the registry cannot be asked.
    pub async fn lift_ban(&self, user: &UserId) -> Result<(), DirectoryError> {
        self.service.edge.router.lift_ban(user).await
    }

    /// Refuses tokens of a user that were issued before `before` (ms since the epoch; none for now) and closes the
    /// connections that have such a token.
    ///
    /// # Errors
    /// [`DirectoryError`] when it cannot be written: then nothing was done.
    pub async fn revoke_tokens(
        &self,
        user: &UserId,
        before: Option<u64>,
    ) -> Result<RevokeResult, DirectoryError> {
        self.service.edge.router.revoke(user, before).await
    }

    /// Where a user is.
    ///
    /// # Errors
    /// [`DirectoryError`] when the registry cannot be asked.
    pub async fn user_location(&self, user: &UserId) -> Result<UserLocation, DirectoryError> {
        self.service.edge.router.locate(user).await
    }

    /// The nodes where a user has a connection, sorted.
    ///
    /// # Errors
    /// [`DirectoryError`] when the registry cannot be asked.
    pub async fn user_nodes(&self, user: &UserId) -> Result<Vec<NodeId>, DirectoryError> {
        Ok(self.user_location(user).await?.nodes)
    }

    /// The nodes that live, sorted by id, this one included.
    ///
    /// # Errors
    /// [`DirectoryError`] when the registry cannot be asked.
    pub async fn discover_nodes(&self) -> Result<Vec<NodeRecord>, DirectoryError> {
        self.service.edge.router.nodes().await
    }

    /// Follows what happens in the cluster, after a place in the log or from now on.
    ///
    /// # Errors
    /// [`EventsError`] when events are off or the log cannot be read.
    pub async fn events(
        &self,
        after: Option<EventPosition>,
    ) -> Result<(EventTail, Option<EventGap>), EventsError> {
        let writer = self.service.edge.router.events().ok_or(EventsError::Off)?;
        Ok(EventTail::open(Arc::clone(writer.log()), after).await?)
    }

    /// What these calls are a thin skin over: for measurements, and no part of what stays as it is.
    #[doc(hidden)]
    #[must_use]
    pub fn edge(&self) -> &Arc<Edge> {
        &self.service.edge
    }

    /// Begins to send all clients to other nodes, as `POST /admin/drain` does. The hub keeps running: see
    /// [`Hub::drain_progress`], and end it with [`Hub::shutdown`] or take the drain back.
    ///
    /// # Errors
    /// [`DrainRefused`]: nothing was changed.
    pub async fn drain(&self, request: &DrainRequest) -> Result<DrainProgress, DrainRefused> {
        self.service.edge.begin_drain(request).await
    }

    /// What has become of the drain, if there is one.
    #[must_use]
    pub fn drain_progress(&self) -> Option<DrainProgress> {
        self.service.edge.drain_progress()
    }

    /// Takes a drain back, as `DELETE /admin/drain` does.
    ///
    /// # Errors
    /// [`DrainRefused`] when the last connection is gone or the hub is shutting down.
    pub async fn cancel_drain(&self) -> Result<(), DrainRefused> {
        self.service.edge.cancel_drain().await
    }

    /// Sends the most idle clients to other nodes, as `POST /admin/rebalance` does; says how many there will be.
    ///
    /// # Errors
    /// [`DrainRefused`] when the node is not active.
    pub fn rebalance(&self, request: &RebalanceRequest) -> Result<usize, DrainRefused> {
        self.service.edge.rebalance(request)
    }

    /// The node's health now, as in `GET /health`.
    #[must_use]
    pub fn health(&self) -> Health {
        Health::of(&self.service.edge)
    }

    /// The routes for clients (`/ws`, `/health`, `/livez`), for a server of one's own. Serve them with
    /// `into_make_service_with_connect_info::<SocketAddr>()`, so that clients' addresses are known.
    pub fn router(&self) -> axum::Router {
        routes::for_clients(&self.service)
    }

    /// Where clients connect; none without listeners.
    #[must_use]
    pub fn client_addr(&self) -> Option<SocketAddr> {
        self.addresses.map(|(client, _)| client)
    }

    /// Where the API is; none without listeners.
    #[must_use]
    pub fn api_addr(&self) -> Option<SocketAddr> {
        self.addresses.map(|(_, api)| api)
    }

    /// Waits until the node was registered for the first time and takes clients.
    pub async fn registered(&self) {
        let mut registration = self.directory.registration();
        // A directory that is gone ends with the process.
        let _ = registration.wait_for(|now| now.ever_registered).await;
    }

    /// Waits until another process took this node's identity: end this one then.
    pub async fn superseded(&self) {
        let mut registration = self.directory.registration();
        if registration.wait_for(|now| now.superseded).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
