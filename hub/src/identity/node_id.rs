//! The name of a hub node.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::{IdentityError, check, schema::text_schema};

/// A node: a DNS label (RFC 1123), lower case, 1 to 63 characters. On Kubernetes the pod's name.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(Arc<str>);

impl NodeId {
    /// Validates `text`.
    ///
    /// # Errors
    /// [`IdentityError`] naming the first rule broken.
    pub fn new(text: impl AsRef<str>) -> Result<Self, IdentityError> {
        let text = text.as_ref();
        let allowed = "a-z 0-9 and - between them";
        check("node id", text, 63, allowed, |b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')?;
        for position in [0, text.len() - 1] {
            if text.as_bytes()[position] == b'-' {
                return Err(IdentityError::BadCharacter { what: "node id", found: '-', position, allowed });
            }
        }
        Ok(Self(Arc::from(text)))
    }

    /// The identifier as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

impl Serialize for NodeId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for NodeId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::new(&text).map_err(D::Error::custom)
    }
}

text_schema!(NodeId, "A node: a DNS label.", "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", "chat-0");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_ids_are_dns_labels() {
        for good in ["chat-0", "a", "0", &"a".repeat(63)] {
            assert!(NodeId::new(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "Chat", "a.b", "a_b", &"a".repeat(64)] {
            assert!(NodeId::new(bad).is_err(), "{bad}");
        }
    }
}
