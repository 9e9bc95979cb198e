//! One life of a node.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::{IdentityError, NodeId, schema::text_schema};

/// One life of a node: `<start-id>.<n>`. The start id is random per process; `n` rises by one
/// whenever the node's lease was found missing or lapsed. A lapsed incarnation never comes back.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Incarnation {
    start_id: Arc<str>,
    n: u32,
}

impl Incarnation {
    /// The first life of a process. `start_id`: 1 to 32 characters of `[a-z0-9]`.
    ///
    /// # Errors
    /// [`IdentityError::Malformed`] for anything else.
    pub fn first(start_id: &str) -> Result<Self, IdentityError> {
        let good = (1..=32).contains(&start_id.len())
            && start_id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        if !good {
            return Err(IdentityError::Malformed { what: "start id", text: start_id.to_owned() });
        }
        Ok(Self { start_id: Arc::from(start_id), n: 1 })
    }

    /// The next life of the same process.
    #[must_use]
    pub fn next(&self) -> Self {
        Self { start_id: Arc::clone(&self.start_id), n: self.n.saturating_add(1) }
    }

    /// Which life of its process, from 1.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.n
    }

    /// The part that is random per process.
    #[must_use]
    pub fn start_id(&self) -> &str {
        &self.start_id
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.start_id, self.n)
    }
}

impl fmt::Debug for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for Incarnation {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        let malformed = || IdentityError::Malformed { what: "incarnation", text: text.to_owned() };
        let (start_id, n) = text.split_once('.').ok_or_else(malformed)?;
        let n = n.parse().map_err(|_| malformed())?;
        Ok(Self { n, ..Self::first(start_id).map_err(|_| malformed())? })
    }
}

impl Serialize for Incarnation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Incarnation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        std::borrow::Cow::<'de, str>::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// A node in one of its lives, written `<id>#<incarnation>`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeInstance {
    /// The node.
    pub node: NodeId,
    /// Which life of it.
    pub incarnation: Incarnation,
}

impl NodeInstance {
    /// Whether both are lives of one process.
    #[must_use]
    pub fn is_same_process(&self, other: &Self) -> bool {
        self.node == other.node && self.incarnation.start_id() == other.incarnation.start_id()
    }
}

impl fmt::Display for NodeInstance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.node, self.incarnation)
    }
}

impl fmt::Debug for NodeInstance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for NodeInstance {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        let (node, incarnation) = text
            .split_once('#')
            .ok_or_else(|| IdentityError::Malformed { what: "node instance", text: text.to_owned() })?;
        Ok(Self { node: NodeId::new(node)?, incarnation: incarnation.parse()? })
    }
}

text_schema!(Incarnation, "One life of a node.", "^[a-z0-9]{1,32}[.][0-9]{1,10}$", "k3x9.2");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_survives_its_text_form() {
        let first = Incarnation::first("k3x9").unwrap();
        let instance = NodeInstance { node: NodeId::new("chat-0").unwrap(), incarnation: first.next() };
        assert_eq!(instance.to_string(), "chat-0#k3x9.2");
        assert_eq!("chat-0#k3x9.2".parse::<NodeInstance>().unwrap(), instance);
    }

    #[test]
    fn malformed_texts_are_refused() {
        for bad in ["", "chat-0", "chat-0#", "chat-0#a", "chat-0#a.b", "chat-0#.1", "#a.1", "Chat#a.1"] {
            assert!(bad.parse::<NodeInstance>().is_err(), "{bad}");
        }
    }
}
