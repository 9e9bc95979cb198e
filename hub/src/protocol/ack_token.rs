//! What a client returns to say that it has a message: where the send waits for it, and which one it is. Pure.

use std::{fmt, str::FromStr};

use crate::identity::NodeInstance;

/// Names one send that waits for a client's word, written `<number in hexadecimal>@<node>#<incarnation>`. It is no
/// secret: only the receiver's own word counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AckToken {
    /// Unique among the waiting sends of one process.
    pub number: u64,
    /// Where the send waits. Of the incarnation only the process counts: a later life of it waits on.
    pub source: NodeInstance,
}

/// Text that no hub gave out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("ack is not a token that came with a message")]
pub struct ForeignToken;

impl fmt::Display for AckToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}@{}", self.number, self.source)
    }
}

impl FromStr for AckToken {
    type Err = ForeignToken;

    fn from_str(text: &str) -> Result<Self, ForeignToken> {
        let (number, source) = text.split_once('@').ok_or(ForeignToken)?;
        // The parser takes a sign, which no hub writes.
        if number.starts_with('+') {
            return Err(ForeignToken);
        }
        Ok(Self {
            number: u64::from_str_radix(number, 16).map_err(|_| ForeignToken)?,
            source: source.parse().map_err(|_| ForeignToken)?,
        })
    }
}

impl serde::Serialize for AckToken {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_as_it_was_written() {
        for (number, text) in [(0, "0@chat-0#k3x9.1"), (u64::MAX, "ffffffffffffffff@n#a.7")] {
            let token = AckToken { number, source: text.split_once('@').unwrap().1.parse().unwrap() };
            assert_eq!(token.to_string(), text);
            assert_eq!(text.parse(), Ok(token));
        }
    }

    #[test]
    fn nothing_else_is_a_token() {
        let long = format!("1@{}#a.1", "n".repeat(300));
        for text in [
            "",
            "t9",
            "@",
            "1@",
            "@n#a.1",
            "+1@n#a.1",
            "-1@n#a.1",
            "g@n#a.1",
            "10000000000000000@n#a.1",
            "1@n",
            "1@n#a",
            "1@N#a.1",
            "1@n}#a.1",
            "1@n#a.1 ",
            long.as_str(),
        ] {
            assert_eq!(text.parse::<AckToken>(), Err(ForeignToken), "{text:?}");
        }
    }
}
