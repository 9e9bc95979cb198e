//! A new token for an open connection.

use std::time::SystemTime;

use super::{admission::Admitted, handshake::Refusal};
use crate::protocol::{error_code::ErrorCode, millis::millis_since_epoch};

impl Admitted {
    /// Puts a new token in force, at once and as a whole: what comes next is judged by it alone, and groups that it
    /// does not grant are left. Gives its `exp`.
    ///
    /// # Errors
    /// [`Refusal`], which leaves the old token in force: this mode knows no tokens, the new one does not hold, is
    /// another user's or device's, or was issued before the old one.
    pub fn renew(&mut self, token: &str) -> Result<SystemTime, Refusal> {
        let authenticator = self.edge.authenticator.as_ref().ok_or_else(|| {
            Refusal::new(ErrorCode::NotPermitted, "clients have no tokens here, so there is none to renew")
        })?;
        let claims =
            authenticator.verify(token).map_err(|error| Refusal::new(error.code(), error.to_string()))?;
        if claims.user != self.connection.user {
            let detail = "the token is another user's, a connection keeps its user";
            return Err(Refusal::new(ErrorCode::BadRequest, detail));
        }
        if claims.client_id.is_some_and(|client| client != self.connection.client) {
            let detail = "the token is another client_id's, a connection keeps its own";
            return Err(Refusal::new(ErrorCode::BadRequest, detail));
        }
        // Whose older tokens were revoked must not come back to one of them through a connection that stayed.
        let issued = claims.issued_at.map_or(0, millis_since_epoch);
        if self.connection.token_issued_at().is_some_and(|in_force| issued < in_force) {
            let detail = "the token was issued before the one that is in force (iat)";
            return Err(Refusal::new(ErrorCode::InvalidToken, detail));
        }
        let before = self.connection.token_issued_at();
        self.connection.set_token(claims.issued_at);
        // A revocation that this node has not heard of is the registry's to tell.
        if self.connection.token_issued_at() != before {
            self.edge.router.registry().settle_again(&self.connection);
        }
        self.edge.renew_groups(&self.connection, &claims.grants, &claims.groups);
        self.send_right.replace_grants(claims.grants);
        self.edge.heartbeat.renew(self.watched().pulse(), claims.expires);
        Ok(claims.expires)
    }
}
