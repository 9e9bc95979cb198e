//! Identifiers that callers choose: users, devices, groups, messages, message types.

use std::{
    borrow::Borrow,
    fmt,
    sync::{Arc, LazyLock},
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::{IdentityError, check, schema::text_schema};

const NAME_CHARACTERS: &str = "A-Z a-z 0-9 . _ @ : + = ~ -";

fn is_name_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"._@:+=~-".contains(&b)
}

fn check_name(what: &'static str, text: &str) -> Result<(), IdentityError> {
    check(what, text, 128, NAME_CHARACTERS, is_name_byte)
}

fn check_user(what: &'static str, text: &str) -> Result<(), IdentityError> {
    if text.starts_with('@') {
        return Err(IdentityError::Reserved { what });
    }
    check_name(what, text)
}

fn check_message_id(what: &'static str, text: &str) -> Result<(), IdentityError> {
    check(what, text, 64, "A-Z a-z 0-9 . _ : -", |b| b.is_ascii_alphanumeric() || b"._:-".contains(&b))
}

fn check_message_type(what: &'static str, text: &str) -> Result<(), IdentityError> {
    check(what, text, 32, "a-z 0-9 _ . -", |b| {
        b.is_ascii_lowercase() || b.is_ascii_digit() || b"_.-".contains(&b)
    })
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $check:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Validates `text`.
            ///
            /// # Errors
            /// [`IdentityError`] naming the first rule broken.
            pub fn new(text: impl AsRef<str>) -> Result<Self, IdentityError> {
                let text = text.as_ref();
                $check($what, text)?;
                Ok(Self(Arc::from(text)))
            }

            /// The identifier as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = IdentityError;
            fn from_str(text: &str) -> Result<Self, IdentityError> {
                Self::new(text)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                Self::new(&text).map_err(D::Error::custom)
            }
        }
    };
}

text_id!(
    /// A user: `[A-Za-z0-9._@:+=~-]{1,128}`, not beginning with `@`.
    UserId, "user id", check_user
);
text_id!(
    /// A device of a user: `[A-Za-z0-9._@:+=~-]{1,128}`.
    ClientId, "client_id", check_name
);
text_id!(
    /// A group: `[A-Za-z0-9._@:+=~-]{1,128}`.
    GroupName, "group", check_name
);
text_id!(
    /// The caller's name for a message: `[A-Za-z0-9._:-]{1,64}`.
    MessageId, "message_id", check_message_id
);
text_id!(
    /// The word that says what a message is: `[a-z0-9_.-]{1,32}`.
    MessageType, "message_type", check_message_type
);

impl MessageType {
    /// Words the hub itself uses; clients and the API may not send them.
    pub const RESERVED: [&str; 14] = [
        "welcome",
        "auth",
        "auth_expiring",
        "ping",
        "pong",
        "ack",
        "result",
        "error",
        "join",
        "leave",
        "going_away",
        "kick_out",
        "resume_gap",
        "resume_done",
    ];

    /// Whether only the hub may use this word.
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        Self::RESERVED.contains(&self.as_str())
    }
}

impl Default for MessageType {
    /// `text`.
    fn default() -> Self {
        // One for all: most messages have it.
        static TEXT: LazyLock<Arc<str>> = LazyLock::new(|| Arc::from("text"));
        Self(Arc::clone(&TEXT))
    }
}

text_schema!(UserId, "A user.", "^[A-Za-z0-9._:+=~-][A-Za-z0-9._@:+=~-]{0,127}$", "alice");
text_schema!(ClientId, "A device of a user.", "^[A-Za-z0-9._@:+=~-]{1,128}$", "phone");
text_schema!(GroupName, "A group.", "^[A-Za-z0-9._@:+=~-]{1,128}$", "room-1");
text_schema!(MessageId, "The caller's name for a message.", "^[A-Za-z0-9._:-]{1,64}$", "m7");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grammar_is_that_of_the_protocol() {
        for good in ["alice", "a", "A.b_c@d:e+f=g~h-i", &"x".repeat(128)] {
            assert_eq!(UserId::new(good).unwrap().as_str(), good);
        }
        let cases: [(&str, &str); 7] = [
            ("", "user id must not be empty"),
            ("@backend", "user id must not begin with '@', which is reserved"),
            ("a b", "user id contains ' ' at position 1; allowed are A-Z a-z 0-9 . _ @ : + = ~ -"),
            ("a}b", "user id contains '}' at position 1; allowed are A-Z a-z 0-9 . _ @ : + = ~ -"),
            ("zoë", "user id contains 'ë' at position 2; allowed are A-Z a-z 0-9 . _ @ : + = ~ -"),
            ("a\0", "user id contains '\\0' at position 1; allowed are A-Z a-z 0-9 . _ @ : + = ~ -"),
            (&"x".repeat(129), "user id is 129 characters long, at most 128 are allowed"),
        ];
        for (bad, why) in cases {
            assert_eq!(UserId::new(bad).unwrap_err().to_string(), why);
        }
        assert!(MessageId::new("a@b").is_err());
        assert!(MessageType::new("Text").is_err());
        assert!(ClientId::new("@phone").is_ok());
    }

    #[test]
    fn identifiers_read_from_json_are_checked() {
        assert!(serde_json::from_str::<UserId>("\"al ice\"").is_err());
        assert_eq!(serde_json::from_str::<UserId>("\"\\u0061lice\"").unwrap().as_str(), "alice");
    }
}
