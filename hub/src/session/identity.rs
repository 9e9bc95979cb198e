//! Who a client is: by its token, by a trusted proxy's word, or by its own.

use std::time::SystemTime;

use super::{
    client_address::ClientAddress,
    edge::Edge,
    handshake::{ConnectInputs, Refusal},
};
use crate::{
    auth::Grants,
    identity::{ClientId, GroupName, UserId},
    protocol::error_code::ErrorCode,
    settings::AuthMode,
};

/// Who a client is and what it may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) user: UserId,
    pub(super) client_id: Option<ClientId>,
    pub(super) grants: Grants,
    /// When the token ends; none without a token.
    pub(super) expires: Option<SystemTime>,
    /// When the token was issued, if it says so.
    pub(super) issued_at: Option<SystemTime>,
    /// Groups that the token names.
    pub(super) groups: Vec<GroupName>,
}

impl Edge {
    pub(super) fn identify(
        &self,
        inputs: &ConnectInputs,
        address: Option<&ClientAddress>,
    ) -> Result<Identity, Refusal> {
        match self.settings.auth.mode {
            AuthMode::Trusted => by_own_word(inputs),
            AuthMode::Proxy => by_proxy(inputs, address),
            AuthMode::Token => self.by_token(inputs),
        }
    }

    fn by_token(&self, inputs: &ConnectInputs) -> Result<Identity, Refusal> {
        let given_user = inputs.user.as_deref().map(user_id).transpose()?;
        let given_client = inputs.client_id.as_deref().map(client_id).transpose()?;
        let authenticator = self.authenticator.as_ref().ok_or_else(|| {
            Refusal::new(ErrorCode::Internal, "this node has no keys to verify tokens with")
        })?;
        let token = inputs.token.as_deref().ok_or_else(|| {
            let how = "in the query as token, as Authorization: Bearer, or as subprotocol bearer.<jwt>";
            Refusal::new(ErrorCode::InvalidToken, format!("a token is needed, {how}"))
        })?;
        let claims =
            authenticator.verify(token).map_err(|error| Refusal::new(error.code(), error.to_string()))?;
        if given_user.is_some_and(|user| user != claims.user) {
            return Err(Refusal::new(ErrorCode::BadRequest, "user_id differs from the token's sub"));
        }
        let client_id = match (given_client, claims.client_id) {
            (Some(given), Some(claimed)) if given != claimed => {
                let detail = "client_id differs from the token's client_id";
                return Err(Refusal::new(ErrorCode::BadRequest, detail));
            }
            (given, claimed) => claimed.or(given),
        };
        Ok(Identity {
            user: claims.user,
            client_id,
            grants: claims.grants,
            expires: Some(claims.expires),
            issued_at: claims.issued_at,
            groups: claims.groups,
        })
    }
}

fn by_own_word(inputs: &ConnectInputs) -> Result<Identity, Refusal> {
    let missing = "user_id is missing: give it in the query or as X-User-ID";
    let user = inputs.user.as_deref().ok_or_else(|| Refusal::new(ErrorCode::InvalidUserId, missing))?;
    Ok(Identity { grants: Grants::everything(), ..granted_nothing(user, inputs)? })
}

/// The proxy's word counts only from the proxy itself: whoever else reaches the port could write its header too.
fn by_proxy(inputs: &ConnectInputs, address: Option<&ClientAddress>) -> Result<Identity, Refusal> {
    if !address.is_some_and(ClientAddress::from_trusted_proxy) {
        let detail = "clients connect through a trusted proxy here, this one did not";
        return Err(Refusal::new(ErrorCode::NotPermitted, detail));
    }
    let user = inputs.proxy_user.as_deref().filter(|user| !user.is_empty()).ok_or_else(|| {
        Refusal::new(ErrorCode::InvalidToken, "the proxy named no user: it has to authenticate the client")
    })?;
    if inputs.user.as_deref().is_some_and(|given| given != user) {
        return Err(Refusal::new(
            ErrorCode::BadRequest,
            "X-User-ID differs from the user that the proxy names",
        ));
    }
    granted_nothing(user, inputs)
}

fn granted_nothing(user: &str, inputs: &ConnectInputs) -> Result<Identity, Refusal> {
    Ok(Identity {
        user: user_id(user)?,
        client_id: inputs.client_id.as_deref().map(client_id).transpose()?,
        grants: Grants::nothing(),
        expires: None,
        issued_at: None,
        groups: Vec::new(),
    })
}

fn user_id(text: &str) -> Result<UserId, Refusal> {
    UserId::new(text).map_err(|error| Refusal::new(ErrorCode::InvalidUserId, error.to_string()))
}

pub(super) fn client_id(text: &str) -> Result<ClientId, Refusal> {
    ClientId::new(text).map_err(|error| Refusal::new(ErrorCode::BadRequest, error.to_string()))
}
