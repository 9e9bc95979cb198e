//! The name of a client's session, by which it takes up where it was.

use std::{fmt, str::FromStr};

use serde::{Serialize, Serializer};

use super::IdentityError;

/// A session, 128 random bits written as 32 hexadecimal digits. It proves nothing: whoever resumes it must be allowed
/// to connect as its user all the same.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionId(u128);

impl SessionId {
    /// A new one.
    #[must_use]
    pub fn random() -> Self {
        Self(rand::random())
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for SessionId {
    /// Names no session: logs are read by more people than clients.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionId")
    }
}

impl FromStr for SessionId {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        let digits =
            text.len() == 32 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        let bits = digits.then(|| u128::from_str_radix(text, 16).ok()).flatten();
        bits.map(Self).ok_or_else(|| IdentityError::Malformed {
            what: "session",
            text: text.chars().take(40).collect(),
        })
    }
}

impl Serialize for SessionId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_read_as_it_was_written_and_nothing_else_is_one() {
        let session = SessionId::random();
        assert_eq!(session.to_string().parse(), Ok(session));
        assert_eq!(SessionId(7).to_string(), "00000000000000000000000000000007");
        assert_ne!(SessionId::random(), session);
        for text in ["", "7", "0000000000000000000000000000000G", "+0000000000000000000000000000007"] {
            assert!(text.parse::<SessionId>().is_err(), "{text}");
        }
        assert!("0000000000000000000000000000000A".parse::<SessionId>().is_err(), "one way to write it");
    }
}
