//! Deciding about a client before its upgrade is answered.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::{
    address_seats::AddressSeat,
    client_address::ClientAddress,
    connect_groups,
    edge::Edge,
    handshake::{ConnectInputs, Refusal},
    heartbeat::Watched,
    identity::{self, Identity},
    lifecycle::Phase,
    resumption,
    seats::Seat,
};
use crate::{
    auth::{Grants, origin_allowed},
    identity::{ClientId, GroupName, SessionId, UserId},
    local::{connection::Connection, inbox_feed::InboxFeed},
    protocol::{close_reason::CloseReason, error_code::ErrorCode, inbox_offset::Offset},
    routing::{registry::ConnectRefusal, router::rfc3339, session_state::SessionState},
    settings::{ClientSend, Hot, OnRegistryDown},
};

/// To whom a client may send.
#[derive(Debug, Clone)]
pub struct SendRight {
    hot: Arc<Hot>,
    grants: Grants,
}

impl SendRight {
    /// Whether sending to this user is allowed.
    #[must_use]
    pub fn covers_user(&self, user: &UserId) -> bool {
        match self.hot.now().client_send {
            ClientSend::None | ClientSend::Groups => false,
            ClientSend::Users | ClientSend::All => true,
            ClientSend::Granted => self.grants.may_send_to_user(user),
        }
    }

    /// Whether sending to this group is allowed.
    #[must_use]
    pub fn covers_group(&self, group: &GroupName) -> bool {
        match self.hot.now().client_send {
            ClientSend::None | ClientSend::Users => false,
            ClientSend::Groups | ClientSend::All => true,
            ClientSend::Granted => self.grants.may_send_to_group(group),
        }
    }

    /// Whether sending to the backend is allowed.
    #[must_use]
    pub fn covers_backend(&self) -> bool {
        match self.hot.now().client_send {
            ClientSend::None | ClientSend::Users | ClientSend::Groups => false,
            ClientSend::All => true,
            ClientSend::Granted => self.grants.may_send_to_backend(),
        }
    }

    pub(super) fn replace_grants(&mut self, grants: Grants) {
        self.grants = grants;
    }

    /// What the client's token, or its mode, grants. Joining groups depends on nothing else.
    #[must_use]
    pub fn grants(&self) -> &Grants {
        &self.grants
    }
}

/// A client that was taken: it has a seat, stands in the table and the directory, and is watched. Dropping it,
/// at whatever moment, undoes all of that.
pub struct Admitted {
    /// The connection.
    pub connection: Arc<Connection>,
    /// To whom it may send.
    pub send_right: SendRight,
    /// What it shares with the others.
    pub edge: Arc<Edge>,
    /// Whether the client took up its session.
    pub resumed: bool,
    watched: Watched,
    registered: bool,
    _seats: (Seat, Option<AddressSeat>),
}

impl Admitted {
    /// The connection's place in the sweep.
    #[must_use]
    pub fn watched(&self) -> &Watched {
        &self.watched
    }

    /// Takes the connection out of table and directory now. Dropping does the same on a task of its own.
    pub async fn leave(&mut self) {
        if std::mem::take(&mut self.registered) {
            self.edge.router.disconnect(&self.connection).await;
        }
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        if self.registered {
            let (edge, connection) = (Arc::clone(&self.edge), Arc::clone(&self.connection));
            self.edge.tasks.spawn(async move { edge.router.disconnect(&connection).await });
        }
    }
}

impl Edge {
    /// Decides about a client and registers it. `address`: none when the server does not know its peers. `Err` leaves nothing behind.
    ///
    /// # Errors
    /// [`Refusal`], to be answered instead of the upgrade.
    pub async fn admit(
        self: &Arc<Self>,
        inputs: &ConnectInputs,
        address: Option<ClientAddress>,
    ) -> Result<Admitted, Refusal> {
        match self.phase() {
            Phase::Starting => {
                return Err(Refusal::new(
                    ErrorCode::Starting,
                    "the node is not registered yet, try again soon",
                ));
            }
            Phase::Draining | Phase::Closed if !self.takes_clients() => return Err(going_away()),
            Phase::Active | Phase::Draining | Phase::Closed => {}
        }
        let origin = inputs.origin.as_deref();
        if !origin_allowed(origin, inputs.host.as_deref(), &self.hot.now().allowed_origins) {
            let detail = format!("origin {:?} is neither this host nor allowed", origin.unwrap_or_default());
            return Err(Refusal::new(ErrorCode::OriginNotAllowed, detail));
        }
        let identity = self.identify(inputs, address.as_ref())?;
        let session = resumption::session_id(inputs.session.as_deref())?;
        let most = self.hot.now().max_connections;
        let Some(seat) = self.seats.take(most) else {
            let detail = format!("the node has its {most} connections");
            return Err(Refusal::new(ErrorCode::NodeFull, detail));
        };
        // A drain counts seats: whoever took one after the last count finds the node closed here.
        if !self.takes_clients() {
            return Err(going_away());
        }
        let most = self.hot.now().limits.max_connections_per_address;
        let address_seat = match address.map(|address| self.address_seats.take(address.ip(), most)) {
            Some(None) => {
                let detail = format!("this address has its {most} connections");
                return Err(Refusal::new(ErrorCode::TooManyConnections, detail));
            }
            Some(taken) => taken,
            None => None,
        };
        let most = self.settings.max_groups;
        let groups = connect_groups::to_join(
            inputs.groups.as_deref(),
            identity.groups.clone(),
            &identity.grants,
            most,
        )?;
        let taken_up = self.take_up(&identity, session).await;
        let device = identity.client_id.as_ref().or(taken_up.as_ref().map(|state| &state.client_id));
        let inbox = self.inbox_of(inputs, device)?;
        self.register(identity, (groups, inbox, taken_up), (seat, address_seat), address).await
    }

    async fn register(
        self: &Arc<Self>,
        identity: Identity,
        (groups, inbox, taken_up): (Vec<GroupName>, InboxFeed, Option<SessionState>),
        seats: (Seat, Option<AddressSeat>),
        address: Option<ClientAddress>,
    ) -> Result<Admitted, Refusal> {
        let id = self.router.next_connection_id();
        let known = taken_up.as_ref().map(|state| state.client_id.clone());
        let client = match identity.client_id.or(known) {
            Some(client) => client,
            None => identity::client_id(&id.to_string())?,
        };
        let connection = Arc::new(
            Connection::new(
                id,
                identity.user,
                client,
                address.map_or_else(String::new, |address| address.to_string()),
                SystemTime::now(),
                self.hot.now().limits.queue,
            )
            .within(Arc::clone(&self.queue_budget))
            .reading(inbox)
            .with_session((!self.settings.resume_window.is_zero()).then(SessionId::random)),
        );
        let mut admitted = Admitted {
            watched: self.heartbeat.watch(Arc::clone(&connection), identity.expires),
            send_right: SendRight { hot: Arc::clone(&self.hot), grants: identity.grants },
            edge: Arc::clone(self),
            resumed: taken_up.is_some(),
            registered: true,
            connection,
            _seats: seats,
        };
        if identity.expires.is_some() {
            admitted.connection.set_token(identity.issued_at);
        }
        let needs_registry = self.settings.on_registry_down == OnRegistryDown::Refuse;
        if let Err(refusal) = self.router.registry().connect(&admitted.connection, needs_registry).await {
            admitted.registered = false;
            self.router.departures().end(&admitted.connection);
            return Err(refused(&refusal));
        }
        if let Err(refusal) = self.join_at_connect(&admitted.connection, &groups).await {
            admitted.leave().await;
            return Err(refusal);
        }
        if let Some(state) = &taken_up {
            self.join_again(&admitted.connection, admitted.send_right.grants(), state).await;
        }
        if !admitted.connection.groups.is_empty() {
            self.router.registry().note_session(&admitted.connection);
        }
        // A drain or a kick that came meanwhile has seen the connection in the table and closed it.
        if let Some(reason) = admitted.connection.queue.closing() {
            admitted.leave().await;
            let code = match self.phase() {
                _ if reason == CloseReason::Restart => ErrorCode::Draining,
                Phase::Active | Phase::Starting if reason == CloseReason::Replaced => {
                    ErrorCode::TooManyConnections
                }
                Phase::Active | Phase::Starting if reason == CloseReason::TokenRevoked => {
                    ErrorCode::InvalidToken
                }
                Phase::Active | Phase::Starting => ErrorCode::NotPermitted,
                Phase::Draining | Phase::Closed => ErrorCode::Draining,
            };
            return Err(Refusal::new(code, format!("closed while connecting: {}", reason.text())));
        }
        // It stands in the directory, so whatever is stored from now on is told to this node.
        self.router.inboxes().open(&admitted.connection);
        Ok(admitted)
    }

    /// The place in its user's inbox of a client that connects.
    fn inbox_of(&self, inputs: &ConnectInputs, device: Option<&ClientId>) -> Result<InboxFeed, Refusal> {
        let bad = |detail: String| Refusal::new(ErrorCode::BadRequest, detail);
        let asked = inputs
            .offset
            .as_deref()
            .map(|text| text.parse::<Offset>().map_err(|error| bad(format!("offset: {error}"))));
        let asked = asked.transpose()?;
        match (device, asked) {
            _ if self.settings.inbox.messages == 0 => Ok(InboxFeed::default()),
            (Some(_), asked) => Ok(InboxFeed::of_device(asked)),
            (None, None) => Ok(InboxFeed::passing()),
            // The device was the session's, which has lapsed.
            (None, Some(_)) if inputs.session.is_some() => Ok(InboxFeed::passing()),
            (None, Some(_)) => Err(bad("offset needs a client_id: nothing is kept without one".to_owned())),
        }
    }

    /// How long a refused client should wait before it tries again; spread, so that not all come at once.
    #[must_use]
    pub fn retry_after(&self) -> Duration {
        self.hot.now().drain.retry_after_max.mul_f64(rand::random())
    }
}

fn going_away() -> Refusal {
    Refusal::new(ErrorCode::Draining, "the node is going away, connect again")
}

/// The answer that a refusal of the directory becomes.
fn refused(refusal: &ConnectRefusal) -> Refusal {
    let code = match refusal {
        ConnectRefusal::Banned { until, .. } => {
            return Refusal::new(ErrorCode::Banned, format!("{refusal} (until {})", rfc3339(*until)));
        }
        ConnectRefusal::Revoked => ErrorCode::InvalidToken,
        ConnectRefusal::TooMany(_) => ErrorCode::TooManyConnections,
        ConnectRefusal::RegistryAway(_) => ErrorCode::RegistryUnavailable,
    };
    Refusal::new(code, refusal.to_string())
}
