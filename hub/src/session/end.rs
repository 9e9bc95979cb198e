//! How a connection ended.

use tokio_tungstenite::tungstenite::{
    Error,
    error::{CapacityError, ProtocolError},
};

use crate::protocol::close_reason::CloseReason;

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The hub closes it, and why.
    ByHub(CloseReason),
    /// The client closed it with this code; 1005 when it gave none (RFC 6455 section 7.1.5).
    ByClient(u16),
    /// The socket is gone, with no close frame.
    Lost,
}

impl End {
    /// What an error of the socket means for the connection. `limit`: the largest message in bytes.
    #[must_use]
    pub fn from_error(error: &Error, limit: usize) -> Self {
        match error {
            Error::Capacity(CapacityError::MessageTooLong { .. }) => {
                Self::ByHub(CloseReason::TooBig { limit })
            }
            Error::Utf8(_) => Self::ByHub(CloseReason::InvalidUtf8),
            Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)
            | Error::ConnectionClosed
            | Error::AlreadyClosed
            | Error::Io(_) => Self::Lost,
            _ => Self::ByHub(CloseReason::Framing),
        }
    }

    /// Why frames that were queued are not written, for metrics.
    #[must_use]
    pub fn drop_cause(&self) -> &'static str {
        match self {
            Self::ByHub(CloseReason::TooSlow) => "slow",
            Self::ByHub(CloseReason::QueueMemory) => "budget",
            Self::ByHub(_) | Self::ByClient(_) | Self::Lost => "closed",
        }
    }

    /// The close code, and a reason of bounded cardinality, for metrics and logs.
    #[must_use]
    pub fn label(&self) -> (u16, &'static str) {
        match self {
            Self::ByHub(reason) => (reason.code(), reason.label()),
            // Clients may choose any code from 3000 on; a label must not follow them.
            Self::ByClient(code @ 1000..=1015) => (*code, "client"),
            Self::ByClient(_) => (4000, "client"),
            Self::Lost => (1006, "lost"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_become_the_codes_of_the_protocol() {
        let too_long = CapacityError::MessageTooLong { size: 2, max_size: 1 };
        let cases = [
            (Error::Capacity(too_long), 1009),
            (Error::Utf8("bad".into()), 1007),
            (Error::Protocol(ProtocolError::UnmaskedFrameFromClient), 1002),
            (Error::Protocol(ProtocolError::NonZeroReservedBits), 1002),
            (Error::Protocol(ProtocolError::ResetWithoutClosingHandshake), 1006),
            (Error::Io(std::io::ErrorKind::ConnectionReset.into()), 1006),
        ];
        for (error, code) in cases {
            assert_eq!(End::from_error(&error, 1).label().0, code, "{error}");
        }
        assert_eq!(End::ByClient(4711).label(), (4000, "client"));
        assert_eq!(End::ByHub(CloseReason::QueueMemory).drop_cause(), "budget");
    }
}
