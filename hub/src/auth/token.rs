//! Tokens that say who connects: JWT (RFC 7519) signed by HMAC (RFC 7518 section 3.2).

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use jsonwebtoken::{Algorithm, DecodingKey, Validation, errors::ErrorKind};
use parking_lot::RwLock;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use super::{
    grants::{Grants, WscClaim},
    key_dir::{self, AuthError, POLL},
};
use crate::{
    identity::{ClientId, GroupName, UserId},
    protocol::error_code::ErrorCode,
};

/// Shortest secret, in bytes: the hash's size of HS256 (RFC 7518 section 3.2).
const SHORTEST_SECRET: usize = 32;
/// Clocks may differ by this much, in seconds.
const LEEWAY_S: u64 = 5;
/// Longest token that is looked at, in bytes.
const LONGEST_TOKEN: usize = 8 * 1024;

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

/// Secrets by `kid`.
type Secrets = HashMap<String, Vec<u8>>;

/// Verifies tokens with the keys of a directory.
pub struct Authenticator {
    dir: PathBuf,
    validation: Validation,
    secrets: RwLock<Arc<Secrets>>,
}

#[derive(Deserialize)]
struct RawClaims {
    // The library reads the claims before it checks which are there, and its checks name what is missing.
    sub: Option<String>,
    exp: Option<f64>,
    iat: Option<f64>,
    #[serde(default)]
    wsc: WscClaim,
}

impl Authenticator {
    /// Reads `<kid>.key` files of a directory.
    ///
    /// # Errors
    /// [`AuthError`] naming the file.
    pub fn load(dir: &Path, issuer: Option<&str>, audience: Option<&str>) -> Result<Self, AuthError> {
        // The algorithm comes from the kind of key: a token cannot choose another family, nor none.
        let mut validation = Validation::new(Algorithm::HS256);
        validation.algorithms = vec![Algorithm::HS256, Algorithm::HS384, Algorithm::HS512];
        validation.leeway = LEEWAY_S;
        validation.validate_nbf = true;
        let mut required = vec!["exp", "sub"];
        if let Some(issuer) = issuer {
            validation.set_issuer(&[issuer]);
            required.push("iss");
        }
        match audience {
            Some(audience) => {
                validation.set_audience(&[audience]);
                required.push("aud");
            }
            None => validation.validate_aud = false,
        }
        validation.set_required_spec_claims(&required);
        let secrets = read(dir)?;
        Ok(Self { dir: dir.to_path_buf(), validation, secrets: RwLock::new(Arc::new(secrets)) })
    }

    /// Checks a token's signature, times and claims.
    ///
    /// # Errors
    /// [`TokenError`] with a sentence for the client.
    pub fn verify(&self, token: &str) -> Result<Claims, TokenError> {
        let invalid = |text: &str| TokenError::Invalid(text.to_owned());
        if token.len() > LONGEST_TOKEN {
            return Err(TokenError::Invalid(format!("the token has more than {LONGEST_TOKEN} bytes")));
        }
        let header = jsonwebtoken::decode_header(token).map_err(|e| explain(e.kind()))?;
        // RFC 7515 section 4.1.11: who does not understand what is critical must not accept the token.
        if header.crit.is_some() {
            return Err(invalid("the token's header names critical extensions (crit), none is supported"));
        }
        let secrets = Arc::clone(&self.secrets.read());
        let secret = match &header.kid {
            Some(kid) => {
                secrets.get(kid).ok_or_else(|| invalid("the token names a key (kid) that is not loaded"))?
            }
            None if secrets.len() == 1 => {
                secrets.values().next().ok_or_else(|| invalid("no key is loaded"))?
            }
            None if secrets.is_empty() => return Err(invalid("no key is loaded")),
            None => return Err(invalid("several keys are loaded, so the token must name one (kid)")),
        };
        let key = DecodingKey::from_secret(secret);
        let raw = jsonwebtoken::decode::<RawClaims>(token, &key, &self.validation)
            .map_err(|e| explain(e.kind()))?;
        claims(raw.claims)
    }

    /// Reads the directory again whenever its keys change; keys that cannot be read leave the old ones in force.
    /// Runs until `shutdown`.
    pub async fn run(self: Arc<Self>, shutdown: CancellationToken) {
        let mut complained = false;
        while shutdown.run_until_cancelled(tokio::time::sleep(POLL)).await.is_some() {
            match read(&self.dir) {
                Ok(secrets) => {
                    complained = false;
                    if **self.secrets.read() != secrets {
                        tracing::info!(keys = secrets.len(), "token keys changed");
                        *self.secrets.write() = Arc::new(secrets);
                    }
                }
                Err(error) if !complained => {
                    complained = true;
                    tracing::error!(%error, "token keys not reread, the old ones stay in force");
                }
                Err(_) => {}
            }
        }
    }
}

fn read(dir: &Path) -> Result<Secrets, AuthError> {
    let mut secrets = Secrets::new();
    for (name, secret) in key_dir::read(dir)? {
        let bad = |what: String| AuthError::BadKey { path: dir.join(&name).display().to_string(), what };
        if name == "jwks.json" || Path::new(&name).extension().is_some_and(|extension| extension == "pem") {
            return Err(bad("keys of this kind are not built yet in this release, use <kid>.key".to_owned()));
        }
        let Some(kid) = name.strip_suffix(".key") else { continue };
        if secret.len() < SHORTEST_SECRET {
            return Err(bad(format!(
                "a secret has at least {SHORTEST_SECRET} bytes, this one has {}",
                secret.len()
            )));
        }
        secrets.insert(kid.to_owned(), secret);
    }
    if secrets.is_empty() {
        let what = "holds no <kid>.key file".to_owned();
        return Err(AuthError::BadKey { path: dir.display().to_string(), what });
    }
    Ok(secrets)
}

fn explain(kind: &ErrorKind) -> TokenError {
    TokenError::Invalid(match kind {
        ErrorKind::ExpiredSignature => return TokenError::Expired,
        ErrorKind::ImmatureSignature => "the token is not valid yet (nbf)".to_owned(),
        ErrorKind::InvalidSignature => "the token's signature does not match".to_owned(),
        ErrorKind::InvalidIssuer => "the token's issuer (iss) is not the wanted one".to_owned(),
        ErrorKind::InvalidAudience => "the token's audience (aud) is not the wanted one".to_owned(),
        ErrorKind::MissingRequiredClaim(claim) => format!("the token has no {claim}"),
        ErrorKind::InvalidClaimFormat(claim) => format!("the token's {claim} is malformed"),
        ErrorKind::InvalidAlgorithm
        | ErrorKind::InvalidAlgorithmName
        | ErrorKind::UnsupportedAlgorithm
        | ErrorKind::MissingAlgorithm => {
            "the token's algorithm is not that of the key: use HS256, HS384 or HS512".to_owned()
        }
        ErrorKind::Json(_) => {
            "the token's header or claims are malformed, or its algorithm is none of HS256, HS384, HS512"
                .to_owned()
        }
        _ => "the token is not a JWT of three parts".to_owned(),
    })
}

fn claims(raw: RawClaims) -> Result<Claims, TokenError> {
    let invalid = |what: String| TokenError::Invalid(format!("the token's {what}"));
    let missing = |claim: &str| TokenError::Invalid(format!("the token has no {claim}"));
    let (sub, exp) = (raw.sub.ok_or_else(|| missing("sub"))?, raw.exp.ok_or_else(|| missing("exp"))?);
    let user = UserId::new(&sub).map_err(|e| invalid(format!("sub: {e}")))?;
    let client_id =
        raw.wsc.client_id.map(ClientId::new).transpose().map_err(|e| invalid(format!("wsc.{e}")))?;
    let groups: Result<Vec<_>, _> = raw.wsc.groups.iter().map(GroupName::new).collect();
    let groups = groups.map_err(|e| invalid(format!("wsc.groups: {e}")))?;
    let grants = Grants::from_patterns(&raw.wsc.send, &raw.wsc.join).map_err(invalid)?;
    let time = |claim: &str, seconds: f64| {
        let since = Duration::try_from_secs_f64(seconds).ok();
        let time = since.and_then(|since| SystemTime::UNIX_EPOCH.checked_add(since));
        time.ok_or_else(|| invalid(format!("{claim} is malformed")))
    };
    let issued_at = raw.iat.map(|iat| time("iat", iat)).transpose()?;
    Ok(Claims { user, client_id, groups, grants, expires: time("exp", exp)?, issued_at })
}
