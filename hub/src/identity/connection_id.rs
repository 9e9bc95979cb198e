//! The name the hub gives to a connection.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use ulid::Ulid;

use super::{IdentityError, schema::text_schema};

/// A connection, named by the hub: a ULID, so that ids sort by the time they were made.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(Ulid);

impl ConnectionId {
    /// Wraps a ULID that the caller made.
    #[must_use]
    pub fn new(ulid: Ulid) -> Self {
        Self(ulid)
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for ConnectionId {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        Ulid::from_str(text)
            .map(Self)
            .map_err(|_| IdentityError::Malformed { what: "connection id", text: text.to_owned() })
    }
}

impl Serialize for ConnectionId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ConnectionId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        std::borrow::Cow::<'de, str>::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

text_schema!(
    ConnectionId,
    "A connection: a ULID.",
    "^[0-7][0-9A-HJKMNP-TV-Z]{25}$",
    "01KB2Y6Q4T8Z3M5N7P9R1S0VWX"
);
