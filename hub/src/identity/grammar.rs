//! What identifiers are made of, and what is wrong with a string that is none.

/// Why a string is not an identifier of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// The string has no characters.
    #[error("{what} must not be empty")]
    Empty {
        /// The kind of identifier, as users know it.
        what: &'static str,
    },
    /// The string has more characters than the grammar allows.
    #[error("{what} is {length} characters long, at most {max} are allowed")]
    TooLong {
        /// The kind of identifier, as users know it.
        what: &'static str,
        /// Length found, in bytes.
        length: usize,
        /// Largest length allowed, in bytes.
        max: usize,
    },
    /// A character outside the grammar.
    #[error("{what} contains {found:?} at position {position}; allowed are {allowed}")]
    BadCharacter {
        /// The kind of identifier, as users know it.
        what: &'static str,
        /// The character.
        found: char,
        /// Byte offset of the character, from 0.
        position: usize,
        /// The allowed characters in words.
        allowed: &'static str,
    },
    /// A user identifier that begins with `@`, which is kept for receivers such as `@backend`.
    #[error("{what} must not begin with '@', which is reserved")]
    Reserved {
        /// The kind of identifier, as users know it.
        what: &'static str,
    },
    /// Not of the form `<start-id>.<n>` or `<node>#<incarnation>`.
    #[error("{what} {text:?} is malformed")]
    Malformed {
        /// The kind of identifier, as users know it.
        what: &'static str,
        /// The text found.
        text: String,
    },
}

/// Checks length and characters; `allowed_bytes` decides about one byte.
pub(super) fn check(
    what: &'static str,
    text: &str,
    max: usize,
    allowed: &'static str,
    allowed_byte: impl Fn(u8) -> bool,
) -> Result<(), IdentityError> {
    if text.is_empty() {
        return Err(IdentityError::Empty { what });
    }
    if text.len() > max {
        return Err(IdentityError::TooLong { what, length: text.len(), max });
    }
    match text.char_indices().find(|(_, c)| !u8::try_from(*c).is_ok_and(|b| b.is_ascii() && allowed_byte(b)))
    {
        Some((position, found)) => Err(IdentityError::BadCharacter { what, found, position, allowed }),
        None => Ok(()),
    }
}
