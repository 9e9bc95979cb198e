//! Tokens that say who connects: JWT (RFC 7519), signed by one of the loaded keys.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use jsonwebtoken::{Algorithm, Validation, errors::ErrorKind};
use parking_lot::RwLock;
use tokio_util::sync::CancellationToken;

use super::{
    claims::{Claims, RawClaims},
    key_dir::{self, AuthError},
    key_set::KeySet,
};
use crate::protocol::error_code::ErrorCode;

/// Longest token that is looked at, in bytes.
const LONGEST_TOKEN: usize = 8 * 1024;

/// Why a token is refused. The sentence never contains the token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Its time is over.
    #[error("the token has expired")]
    Expired,
    /// Anything else.
    #[error("{0}")]
    Invalid(String),
}

impl TokenError {
    /// The stable word.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Expired => ErrorCode::TokenExpired,
            Self::Invalid(_) => ErrorCode::InvalidToken,
        }
    }
}

/// Verifies tokens with keys of a directory, or with keys held in memory.
pub struct Authenticator {
    /// Where the keys come from and what was read there.
    source: Option<(PathBuf, [u8; 32])>,
    /// What is checked besides the signature; the algorithms are those of the key that a token names.
    checks: Validation,
    keys: RwLock<Arc<KeySet>>,
}

impl Authenticator {
    /// Reads the keys of a directory; see [`KeySet::from_files`].
    ///
    /// # Errors
    /// [`AuthError`] with a sentence for each file or key that cannot be used.
    pub fn load(dir: &Path, issuer: Option<&str>, audience: Option<&str>) -> Result<Self, AuthError> {
        let files = key_dir::read(dir)?;
        let keys = KeySet::from_dir(dir, &files)?;
        warn_skipped(dir, &keys);
        let source = Some((dir.to_owned(), key_dir::digest(&files)));
        Ok(Self { source, ..Self::with_keys(keys, issuer, audience) })
    }

    /// With keys that do not change. `issuer`, `audience`: wanted in `iss` and `aud`, when given.
    #[must_use]
    pub fn with_keys(keys: KeySet, issuer: Option<&str>, audience: Option<&str>) -> Self {
        Self { source: None, checks: checks(issuer, audience), keys: RwLock::new(Arc::new(keys)) }
    }

    /// Checks a token's signature, times and claims. Never panics, whatever the token is.
    ///
    /// # Errors
    /// [`TokenError`] with a sentence for the client.
    pub fn verify(&self, token: &str) -> Result<Claims, TokenError> {
        self.verify_at(token, SystemTime::now())
    }

    pub(super) fn verify_at(&self, token: &str, now: SystemTime) -> Result<Claims, TokenError> {
        if token.len() > LONGEST_TOKEN {
            return Err(TokenError::Invalid(format!("the token has more than {LONGEST_TOKEN} bytes")));
        }
        let header = jsonwebtoken::decode_header(token).map_err(|e| explain(e.kind()))?;
        // RFC 7515 section 4.1.11: who does not understand what is critical must not accept the token.
        if header.crit.is_some() {
            let why = "the token's header names critical extensions (crit), none is supported";
            return Err(TokenError::Invalid(why.to_owned()));
        }
        let keys = Arc::clone(&self.keys.read());
        let key =
            keys.select(header.kid.as_deref()).map_err(|error| TokenError::Invalid(error.to_string()))?;
        // The algorithm comes from the kind of key: a token cannot choose another, nor none.
        let mut checks = self.checks.clone();
        checks.algorithms = key.algorithms.to_vec();
        let raw = jsonwebtoken::decode::<RawClaims>(token, &key.decoding, &checks)
            .map_err(|error| explain(error.kind()))?;
        raw.claims.check(now)
    }

    /// Reads the directory again whenever it changes; keys that cannot be used leave the old ones in force, which is
    /// said once. Connections that were taken stay. Runs until `shutdown`, or not at all with keys held in memory.
    pub async fn run(self: Arc<Self>, shutdown: CancellationToken) {
        let Some((dir, known)) = &self.source else { return };
        let take = |files: &key_dir::Files| {
            let keys = KeySet::from_dir(dir, files)?;
            warn_skipped(dir, &keys);
            let count = keys.len();
            *self.keys.write() = Arc::new(keys);
            Ok(count)
        };
        key_dir::watch("token keys", dir, *known, shutdown, take).await;
    }
}

fn warn_skipped(dir: &Path, keys: &KeySet) {
    for what in keys.skipped() {
        tracing::warn!(dir = %dir.display(), "jwks.json: {what}, not used");
    }
}

/// Times are checked by [`RawClaims::check`], which knows fractions of seconds.
fn checks(issuer: Option<&str>, audience: Option<&str>) -> Validation {
    let mut checks = Validation::new(Algorithm::HS256);
    (checks.validate_exp, checks.validate_nbf) = (false, false);
    let mut required = Vec::new();
    if let Some(issuer) = issuer {
        checks.set_issuer(&[issuer]);
        required.push("iss");
    }
    match audience {
        Some(audience) => {
            checks.set_audience(&[audience]);
            required.push("aud");
        }
        None => checks.validate_aud = false,
    }
    checks.set_required_spec_claims(&required);
    checks
}

fn explain(kind: &ErrorKind) -> TokenError {
    TokenError::Invalid(match kind {
        ErrorKind::InvalidSignature => "the token's signature does not match".to_owned(),
        ErrorKind::InvalidIssuer => "the token's issuer (iss) is not the wanted one".to_owned(),
        ErrorKind::InvalidAudience => "the token's audience (aud) is not the wanted one".to_owned(),
        ErrorKind::MissingRequiredClaim(claim) => format!("the token has no {claim}"),
        ErrorKind::InvalidClaimFormat(claim) => format!("the token's {claim} is malformed"),
        ErrorKind::InvalidAlgorithm
        | ErrorKind::InvalidAlgorithmName
        | ErrorKind::UnsupportedAlgorithm
        | ErrorKind::MissingAlgorithm => "the token's algorithm (alg) is not that of the key".to_owned(),
        ErrorKind::Json(_) => {
            "the token's header or claims are malformed, or its algorithm (alg) is not known".to_owned()
        }
        _ => "the token is not a JWT of three parts".to_owned(),
    })
}
