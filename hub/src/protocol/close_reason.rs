//! Why the hub closes a connection, with the code that says so (RFC 6455 section 7.4).

/// Why the hub closes a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CloseReason {
    /// A binary frame: this protocol is text only.
    Binary,
    /// A frame that is not valid UTF-8.
    InvalidUtf8,
    /// A frame that breaks RFC 6455.
    Framing,
    /// Ten bad frames in a row.
    TooManyBadFrames,
    /// A frame over the limit, in bytes.
    TooBig {
        /// The limit.
        limit: usize,
    },
    /// The node is going away.
    Restart,
    /// The node cannot keep this connection now.
    Overloaded,
    /// A kick; the text is the kicker's reason.
    Kicked(String),
    /// A newer connection took this one's place.
    Replaced,
    /// The token's time is over.
    TokenExpired,
    /// The user's tokens of before a time were revoked.
    TokenRevoked,
    /// The outbound queue passed its limit.
    TooSlow,
    /// The node's outbound queues passed their common limit, and this one was the largest.
    QueueMemory,
    /// Two protocol pings went unanswered.
    NoHeartbeat,
}

/// A close frame's payload is at most 125 bytes, two of them the code (RFC 6455 section 5.5.1).
const MAX_REASON_BYTES: usize = 123;

impl CloseReason {
    /// The close code.
    #[must_use]
    pub fn code(&self) -> u16 {
        match self {
            Self::Framing => 1002,
            Self::Binary => 1003,
            Self::InvalidUtf8 => 1007,
            Self::TooManyBadFrames => 1008,
            Self::TooBig { .. } => 1009,
            Self::Restart => 1012,
            Self::Overloaded => 1013,
            Self::Kicked(_) => 4001,
            Self::Replaced => 4002,
            Self::TokenExpired | Self::TokenRevoked => 4003,
            Self::TooSlow | Self::QueueMemory => 4004,
            Self::NoHeartbeat => 4005,
        }
    }

    /// Whether the client did not read what was sent to it, so that nothing more can be.
    #[must_use]
    pub fn is_slowness(&self) -> bool {
        matches!(self, Self::TooSlow | Self::QueueMemory)
    }

    /// A label of bounded cardinality for metrics.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Framing => "framing",
            Self::Binary => "binary",
            Self::InvalidUtf8 => "invalid_utf8",
            Self::TooManyBadFrames => "bad_frames",
            Self::TooBig { .. } => "too_big",
            Self::Restart => "restart",
            Self::Overloaded => "overloaded",
            Self::Kicked(_) => "kicked",
            Self::Replaced => "replaced",
            Self::TokenExpired => "token_expired",
            Self::TokenRevoked => "token_revoked",
            Self::TooSlow => "too_slow",
            Self::QueueMemory => "queue_memory",
            Self::NoHeartbeat => "no_heartbeat",
        }
    }

    /// The text of the close frame, at most 123 bytes of UTF-8.
    #[must_use]
    pub fn text(&self) -> String {
        let text = match self {
            Self::Framing => "websocket protocol error".to_owned(),
            Self::Binary => "binary frames are not accepted, send text".to_owned(),
            Self::InvalidUtf8 => "text frames must be utf-8".to_owned(),
            Self::TooManyBadFrames => "ten bad frames in a row".to_owned(),
            Self::TooBig { limit } => format!("a message may have at most {limit} bytes"),
            Self::Restart => "the node is going away, reconnect".to_owned(),
            Self::Overloaded => "overloaded, reconnect later".to_owned(),
            Self::Kicked(reason) if reason.is_empty() => "kicked".to_owned(),
            Self::Kicked(reason) => format!("kicked: {reason}"),
            Self::Replaced => "replaced by a newer connection".to_owned(),
            Self::TokenExpired => "token expired".to_owned(),
            Self::TokenRevoked => "token revoked".to_owned(),
            Self::TooSlow => "reading too slowly".to_owned(),
            Self::QueueMemory => "reading too slowly while the node is short of memory for queues".to_owned(),
            Self::NoHeartbeat => "no answer to two pings".to_owned(),
        };
        let mut end = text.len().min(MAX_REASON_BYTES);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text[..end].to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_reason_is_cut_at_a_character() {
        let text = CloseReason::Kicked("ü".repeat(100)).text();
        assert!(text.len() <= 123 && text.len() >= 121, "{}", text.len());
        assert_eq!(CloseReason::Kicked(String::new()).text(), "kicked");
    }
}
