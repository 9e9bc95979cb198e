//! Why the registry cannot be used, in words for whoever has to repair it.

use std::{error::Error, io, sync::Arc};

use redis::{ErrorKind, RedisError, ServerErrorKind};

/// The first word of each text is stable: `/admin/status` and the operator's conditions are built on it. The
/// sentence says what to change and holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum RegistryError {
    /// Credentials are wrong, missing, unreadable, or allow too little.
    #[error("auth_failed: {0}")]
    AuthFailed(String),
    /// No connection, or no answer on it.
    #[error("unreachable: {0}")]
    Unreachable(String),
    /// Certificates are wrong or unreadable, or the server does not speak TLS.
    #[error("tls: {0}")]
    Tls(String),
    /// Another live owner has the key prefix.
    #[error("prefix_in_use: {0}")]
    PrefixInUse(String),
    /// Another live process has the node id.
    #[error("node_id_in_use: {0}")]
    NodeIdInUse(String),
    /// Redis has no memory left for what was to be written.
    #[error("other: {0}")]
    OutOfMemory(String),
    /// Anything else Redis answered.
    #[error("other: {0}")]
    Other(String),
}

impl RegistryError {
    /// Puts an error of the client library into its class. `address` is `host:port`.
    pub(super) fn classify(error: &RedisError, address: &str) -> Self {
        if is_tls(error) {
            return Self::Tls(format!(
                "tls with redis at {address} failed: {}; check the CA, the certificate and that the port speaks tls",
                root_cause(error)
            ));
        }
        let code = error.code().unwrap_or_default();
        match (error.kind(), code) {
            (ErrorKind::AuthenticationFailed, _) | (_, "WRONGPASS") => Self::AuthFailed(format!(
                "redis at {address} refused the user name or the password; correct the credentials"
            )),
            (_, "NOAUTH") => Self::AuthFailed(format!(
                "redis at {address} asks for a password and none was given; set the password file"
            )),
            (_, "NOPERM") => Self::AuthFailed(format!(
                "the acl user at redis {address} is not allowed enough: {}",
                error.detail().unwrap_or("no detail")
            )),
            (ErrorKind::Server(ServerErrorKind::BusyLoading), _) => {
                Self::Other(format!("redis at {address} is loading its data; wait"))
            }
            (ErrorKind::Server(ServerErrorKind::ReadOnly), _) => Self::Other(format!(
                "redis at {address} is a read-only replica; point the url at the primary"
            )),
            (_, "OOM") => Self::OutOfMemory(format!(
                "redis at {address} is out of memory; raise its maxmemory or free some"
            )),
            (ErrorKind::InvalidClientConfig, _) => {
                Self::Other(format!("the redis url is not usable: {}", root_cause(error)))
            }
            (ErrorKind::Io, _) if error.is_timeout() => Self::Unreachable(format!(
                "redis at {address} did not answer in time; check that it runs and can be reached from here"
            )),
            (ErrorKind::Io, _) => Self::Unreachable(format!(
                "no connection to redis at {address}: {}; check the url and that redis runs",
                root_cause(error)
            )),
            _ => Self::Other(format!("redis at {address} answered: {}", root_cause(error))),
        }
    }
}

/// Whether the connection that gave this error is to be replaced by one with fresh credentials and address.
pub(super) fn ends_connection(error: &RedisError) -> bool {
    error.is_unrecoverable_error()
        || error.is_timeout()
        || matches!(error.code(), Some("NOAUTH" | "NOPERM" | "WRONGPASS" | "READONLY"))
}

/// Whether Redis itself answered, so that nothing of the command can have happened.
pub(super) fn is_refusal(error: &RedisError) -> bool {
    matches!(error.kind(), ErrorKind::Server(_) | ErrorKind::Extension)
}

fn is_tls(error: &RedisError) -> bool {
    let mut source: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(mut at) = source {
        // The client library wraps what it got in an `Arc`, which as an error hides the type inside.
        if let Some(shared) = at.downcast_ref::<Arc<dyn Error + Send + Sync>>() {
            at = &**shared;
        }
        if at.is::<rustls::Error>() || at.is::<rustls::pki_types::InvalidDnsNameError>() {
            return true;
        }
        // `io::Error::source` skips the error it wraps, so it is asked for separately.
        if let Some(inner) = at.downcast_ref::<io::Error>().and_then(io::Error::get_ref)
            && inner.is::<rustls::Error>()
        {
            return true;
        }
        source = at.source();
    }
    false
}

/// Redis never repeats a password in an error, and the client library has only the address.
fn root_cause(error: &RedisError) -> String {
    let text = error.to_string();
    text.strip_suffix('.').unwrap_or(&text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(error: &RedisError) -> String {
        let text = RegistryError::classify(error, "redis:6379").to_string();
        text.split(':').next().unwrap().to_owned()
    }

    fn answered(line: &str) -> RedisError {
        redis::parse_redis_value(line.as_bytes()).unwrap().extract_error().unwrap_err()
    }

    #[test]
    fn errors_are_classified_by_what_has_to_be_repaired() {
        let io = |kind: io::ErrorKind| RedisError::from(io::Error::from(kind));
        for (error, expected) in [
            (answered("-WRONGPASS invalid username-password pair\r\n"), "auth_failed"),
            (answered("-NOAUTH Authentication required.\r\n"), "auth_failed"),
            (answered("-NOPERM this user has no permissions\r\n"), "auth_failed"),
            (RedisError::from((ErrorKind::AuthenticationFailed, "x")), "auth_failed"),
            (io(io::ErrorKind::ConnectionRefused), "unreachable"),
            (io(io::ErrorKind::TimedOut), "unreachable"),
            (io(io::ErrorKind::UnexpectedEof), "unreachable"),
            (RedisError::from(io::Error::other(rustls::Error::DecryptError)), "tls"),
            (answered("-LOADING Redis is loading the dataset in memory\r\n"), "other"),
            (answered("-READONLY You can't write against a read only replica.\r\n"), "other"),
            (answered("-OOM command not allowed\r\n"), "other"),
            (answered("-ERR unknown\r\n"), "other"),
        ] {
            assert_eq!(word(&error), expected, "{error}");
        }
    }

    #[test]
    fn a_connection_ends_when_credentials_or_address_may_be_old() {
        assert!(ends_connection(&answered("-NOPERM no\r\n")));
        assert!(ends_connection(&answered("-READONLY no\r\n")));
        assert!(ends_connection(&RedisError::from(io::Error::from(io::ErrorKind::TimedOut))));
        assert!(ends_connection(&RedisError::from(io::Error::from(io::ErrorKind::BrokenPipe))));
        assert!(!ends_connection(&answered("-ERR unknown\r\n")));
        assert!(is_refusal(&answered("-NOPERM no\r\n")));
        assert!(!is_refusal(&RedisError::from(io::Error::from(io::ErrorKind::TimedOut))));
    }
}
