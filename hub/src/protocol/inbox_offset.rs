//! Places in a user's inbox, as Redis and as clients write them.

use std::{fmt, str::FromStr};

/// A place in a stream of Redis: `<ms>-<seq>`. Two of them compare as two numbers, never as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct EntryId {
    /// When it was written, in ms since the epoch, by the clock of Redis.
    pub ms: u64,
    /// Place among those of that millisecond.
    pub seq: u64,
}

impl EntryId {
    /// Before every entry.
    pub const START: Self = Self { ms: 0, seq: 0 };
}

/// One life of an inbox: a new one begins whenever Redis has lost the one before. Never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct InboxEpoch(std::num::NonZeroU64);

impl InboxEpoch {
    /// The epoch of a random number; none for 0.
    #[must_use]
    pub fn new(number: u64) -> Option<Self> {
        std::num::NonZeroU64::new(number).map(Self)
    }

    /// The epoch of a number that is not 0.
    #[must_use]
    pub fn of(number: std::num::NonZeroU64) -> Self {
        Self(number)
    }

    /// The number, never 0.
    #[must_use]
    pub fn number(self) -> u64 {
        self.0.get()
    }
}

/// A place in an inbox as clients see it: `<epoch>:<ms>-<seq>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Offset {
    /// Of which life.
    pub epoch: InboxEpoch,
    /// Where.
    pub id: EntryId,
}

/// Why a text is no offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an offset looks like 1f:1732356000000-0, as the hub gave it")]
pub struct BadOffset;

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

impl FromStr for EntryId {
    type Err = BadOffset;

    fn from_str(text: &str) -> Result<Self, BadOffset> {
        let (ms, seq) = text.split_once('-').ok_or(BadOffset)?;
        Ok(Self { ms: number(ms, 10)?, seq: number(seq, 10)? })
    }
}

impl fmt::Display for InboxEpoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

impl FromStr for InboxEpoch {
    type Err = BadOffset;

    fn from_str(text: &str) -> Result<Self, BadOffset> {
        if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(BadOffset);
        }
        Self::new(number(text, 16)?).ok_or(BadOffset)
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.epoch, self.id)
    }
}

impl FromStr for Offset {
    type Err = BadOffset;

    fn from_str(text: &str) -> Result<Self, BadOffset> {
        let (epoch, id) = text.split_once(':').ok_or(BadOffset)?;
        Ok(Self { epoch: epoch.parse()?, id: id.parse()? })
    }
}

/// Digits only: Rust would take a sign.
fn number(text: &str, radix: u32) -> Result<u64, BadOffset> {
    if !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(BadOffset);
    }
    u64::from_str_radix(text, radix).map_err(|_| BadOffset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_read_as_they_are_written() {
        for text in ["e1:1732356000000-0", "1:0-0", "ffffffffffffffff:18446744073709551615-7"] {
            assert_eq!(text.parse::<Offset>().unwrap().to_string(), text);
        }
        let bad = [
            "",
            ":",
            "e1",
            "e1:",
            "e1:5",
            ":1-1",
            "0:1-1",
            "e1:1-",
            "e1:-1",
            "e1:1-1-1",
            "E1:1-1",
            "g:1-1",
            "+1:1-1",
            "e1:+1-1",
            "e1:1-f",
            " e1:1-1",
            "10000000000000000:1-1",
            "e1:18446744073709551616-0",
        ];
        for text in bad {
            assert_eq!(text.parse::<Offset>(), Err(BadOffset), "{text}");
        }
    }

    #[test]
    fn ids_compare_as_two_numbers() {
        let id = |text: &str| text.parse::<EntryId>().unwrap();
        assert!(id("9-0") < id("10-0") && id("10-9") < id("10-10") && id("9-99") < id("10-0"));
    }
}
