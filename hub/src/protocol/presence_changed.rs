//! The payload of an envelope that says where a user is now.
//!
//! Layout: per node instance `length u8, text`, until the end. The version is the envelope's number.

use bytes::{BufMut, Bytes, BytesMut};

use super::envelope::{MalformedEnvelope, take_short_text, text};
use crate::identity::NodeInstance;

/// The payload that names these nodes.
#[must_use]
pub fn encode(instances: &[NodeInstance]) -> Bytes {
    let mut out = BytesMut::with_capacity(instances.len() * 32);
    for instance in instances {
        let name = instance.to_string();
        // A node id has at most 63 bytes, an incarnation at most 43, and `#` is between them.
        out.put_u8(u8::try_from(name.len()).unwrap_or(u8::MAX));
        out.put_slice(name.as_bytes());
    }
    out.freeze()
}

/// Reads the nodes.
///
/// # Errors
/// [`MalformedEnvelope`] when the payload is cut short or a name breaks its grammar.
pub fn decode(mut payload: Bytes) -> Result<Vec<NodeInstance>, MalformedEnvelope> {
    let mut instances = Vec::new();
    while !payload.is_empty() {
        instances.push(text(&take_short_text(&mut payload)?)?.parse()?);
    }
    Ok(instances)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_survive_the_wire_and_cut_bytes_are_errors() {
        let nodes: Vec<NodeInstance> = vec!["chat-0#k3x9.2".parse().unwrap(), "b#a.1".parse().unwrap()];
        let bytes = encode(&nodes);
        assert_eq!(decode(bytes.clone()), Ok(nodes));
        assert_eq!(decode(encode(&[])), Ok(Vec::new()));
        for end in 1..bytes.len() {
            // A cut between two names is a shorter list.
            assert_eq!(decode(bytes.slice(..end)).is_ok(), end == 14, "cut at {end}");
        }
    }
}
