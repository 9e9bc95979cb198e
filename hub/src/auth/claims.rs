//! What a token says (RFC 7519), once its signature holds.

use std::time::{Duration, SystemTime};

use serde::Deserialize;

use super::{
    grants::{Grants, WscClaim},
    token::TokenError,
};
use crate::identity::{ClientId, GroupName, UserId};

/// Clocks may differ by this much; a connection lives as long beyond `exp`.
pub const TOKEN_LEEWAY: Duration = Duration::from_secs(5);

/// The last second of the year 9999, since the epoch. A time beyond it, such as one given in milliseconds, counts as
/// this one: it is as far away, and every clock and calendar can still reckon with it.
const LAST_TIME: Duration = Duration::from_secs(253_402_300_799);

/// What a valid token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// `sub`.
    pub user: UserId,
    /// `wsc.client_id`.
    pub client_id: Option<ClientId>,
    /// `wsc.groups`.
    pub groups: Vec<GroupName>,
    /// What the holder may do.
    pub grants: Grants,
    /// `exp`, without leeway.
    pub expires: SystemTime,
    /// `iat`.
    pub issued_at: Option<SystemTime>,
}

/// The claims as they stand in the token; others are ignored.
#[derive(Deserialize)]
pub(super) struct RawClaims {
    sub: Option<String>,
    exp: Option<f64>,
    nbf: Option<f64>,
    iat: Option<f64>,
    #[serde(default)]
    wsc: WscClaim,
}

impl RawClaims {
    /// Checks what is there and whether it holds at `now`.
    pub(super) fn check(self, now: SystemTime) -> Result<Claims, TokenError> {
        let invalid = |what: String| TokenError::Invalid(format!("the token's {what}"));
        let missing = |claim: &str| TokenError::Invalid(format!("the token has no {claim}"));
        let time = |claim: &str, seconds: f64| match Duration::try_from_secs_f64(seconds) {
            Ok(since) => Ok(SystemTime::UNIX_EPOCH + since.min(LAST_TIME)),
            Err(_) => Err(invalid(format!("{claim} is malformed"))),
        };
        let expires = time("exp", self.exp.ok_or_else(|| missing("exp"))?)?;
        if now >= expires + TOKEN_LEEWAY {
            return Err(TokenError::Expired);
        }
        let begins = self.nbf.map(|nbf| time("nbf", nbf)).transpose()?;
        if begins.is_some_and(|begins| now + TOKEN_LEEWAY < begins) {
            return Err(TokenError::Invalid("the token is not valid yet (nbf)".to_owned()));
        }
        let issued_at = self.iat.map(|iat| time("iat", iat)).transpose()?;
        let user = UserId::new(&self.sub.ok_or_else(|| missing("sub"))?);
        let user = user.map_err(|error| invalid(format!("sub: {error}")))?;
        let client_id = self.wsc.client_id.map(ClientId::new).transpose();
        let client_id = client_id.map_err(|error| invalid(format!("wsc.{error}")))?;
        let groups: Result<Vec<_>, _> = self.wsc.groups.iter().map(GroupName::new).collect();
        let groups = groups.map_err(|error| invalid(format!("wsc.groups: {error}")))?;
        // A group that the token names is granted by that: the client may leave it and come back.
        let join = [&self.wsc.join[..], &self.wsc.groups].concat();
        let grants = Grants::from_patterns(&self.wsc.send, &join).map_err(invalid)?;
        Ok(Claims { user, client_id, groups, grants, expires, issued_at })
    }
}
