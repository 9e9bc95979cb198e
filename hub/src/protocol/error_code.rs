//! The stable words that say what is wrong, in frames and in HTTP answers.

use serde::{Serialize, Serializer};

/// What is wrong. The words are part of the API and never change their meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, utoipa::ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum ErrorCode {
    /// Input that breaks the documented form.
    BadRequest,
    /// A user id that breaks its grammar.
    InvalidUserId,
    /// No credential, or one that cannot be verified.
    InvalidToken,
    /// A credential whose time is over.
    TokenExpired,
    /// Known who asks, but it is not granted.
    NotPermitted,
    /// A browser page of a foreign origin.
    OriginNotAllowed,
    /// The user is banned.
    Banned,
    /// No such path.
    NotFound,
    /// A body or frame over the limit.
    PayloadTooLarge,
    /// The user or address has as many connections as it may.
    TooManyConnections,
    /// Too much in too short a time.
    RateLimited,
    /// The node sends its clients elsewhere.
    Draining,
    /// The node is not registered yet.
    Starting,
    /// The node has as many connections as it takes.
    NodeFull,
    /// A queue is full.
    Overloaded,
    /// Redis cannot be reached.
    RegistryUnavailable,
    /// A defect of the hub.
    Internal,
}

impl ErrorCode {
    /// The word on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::InvalidUserId => "invalid_user_id",
            Self::InvalidToken => "invalid_token",
            Self::TokenExpired => "token_expired",
            Self::NotPermitted => "not_permitted",
            Self::OriginNotAllowed => "origin_not_allowed",
            Self::Banned => "banned",
            Self::NotFound => "not_found",
            Self::PayloadTooLarge => "payload_too_large",
            Self::TooManyConnections => "too_many_connections",
            Self::RateLimited => "rate_limited",
            Self::Draining => "draining",
            Self::Starting => "starting",
            Self::NodeFull => "node_full",
            Self::Overloaded => "overloaded",
            Self::RegistryUnavailable => "registry_unavailable",
            Self::Internal => "internal",
        }
    }

    /// The HTTP status that goes with it.
    #[must_use]
    pub fn http_status(self) -> u16 {
        match self {
            Self::BadRequest | Self::InvalidUserId => 400,
            Self::InvalidToken | Self::TokenExpired => 401,
            Self::NotPermitted | Self::OriginNotAllowed | Self::Banned => 403,
            Self::NotFound => 404,
            Self::PayloadTooLarge => 413,
            Self::TooManyConnections | Self::RateLimited => 429,
            Self::Internal => 500,
            Self::Draining
            | Self::Starting
            | Self::NodeFull
            | Self::Overloaded
            | Self::RegistryUnavailable => 503,
        }
    }

    /// A short title for people (RFC 9457 section 3.1.4); the same for every occurrence of the code.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::BadRequest => "The request is malformed",
            Self::InvalidUserId => "The user id is malformed",
            Self::InvalidToken => "The credential is missing or not valid",
            Self::TokenExpired => "The token has expired",
            Self::NotPermitted => "This is not permitted",
            Self::OriginNotAllowed => "The page's origin is not allowed",
            Self::Banned => "The user is banned",
            Self::NotFound => "There is nothing here",
            Self::PayloadTooLarge => "The payload is too large",
            Self::TooManyConnections => "Too many connections",
            Self::RateLimited => "Too many requests",
            Self::Draining => "The node is draining",
            Self::Starting => "The node is starting",
            Self::NodeFull => "The node is full",
            Self::Overloaded => "The node is overloaded",
            Self::RegistryUnavailable => "The registry cannot be reached",
            Self::Internal => "Internal error",
        }
    }
}

impl Serialize for ErrorCode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}
