//! Payloads of envelopes that say who has to go or is kept out. Bytes beyond the known ones are a newer release's.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::envelope::{MalformedEnvelope, take_short_text, text};
use crate::identity::ConnectionId;

/// A user's ban: `until u64, reason`. Only to be remembered: a kick closes the connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BanNews {
    /// End of the ban in ms since the epoch; 0 when it was lifted.
    pub until: u64,
    /// Why.
    pub reason: String,
}

impl BanNews {
    /// The payload.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(8 + self.reason.len());
        out.put_u64_le(self.until);
        out.put_slice(self.reason.as_bytes());
        out.freeze()
    }

    /// Reads the payload.
    ///
    /// # Errors
    /// [`MalformedEnvelope`] when it is cut short or not UTF-8.
    pub fn decode(mut payload: Bytes) -> Result<Self, MalformedEnvelope> {
        let until = payload.try_get_u64_le().map_err(|_| MalformedEnvelope::Truncated)?;
        Ok(Self { until, reason: text(&payload)?.to_owned() })
    }
}

/// The payload of a revocation: connections whose token was issued before this, in ms since the epoch, are closed.
#[must_use]
pub fn encode_revocation(before: u64) -> Bytes {
    Bytes::copy_from_slice(&before.to_le_bytes())
}

/// Reads a revocation.
///
/// # Errors
/// [`MalformedEnvelope`] when it is cut short.
pub fn decode_revocation(mut payload: Bytes) -> Result<u64, MalformedEnvelope> {
    payload.try_get_u64_le().map_err(|_| MalformedEnvelope::Truncated)
}

/// The payload that names connections which a newer one replaces.
#[must_use]
pub fn encode_replaced(connections: &[ConnectionId]) -> Bytes {
    let mut out = BytesMut::with_capacity(connections.len() * 27);
    for connection in connections {
        let name = connection.to_string();
        // A ULID has 26 characters.
        out.put_u8(u8::try_from(name.len()).unwrap_or(u8::MAX));
        out.put_slice(name.as_bytes());
    }
    out.freeze()
}

/// Reads the replaced connections.
///
/// # Errors
/// [`MalformedEnvelope`] when a name is cut short or none.
pub fn decode_replaced(mut payload: Bytes) -> Result<Vec<ConnectionId>, MalformedEnvelope> {
    let mut connections = Vec::new();
    while !payload.is_empty() {
        connections.push(text(&take_short_text(&mut payload)?)?.parse()?);
    }
    Ok(connections)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_survive_the_wire_and_cut_ones_are_errors() {
        let ban = BanNews { until: 7, reason: "späm".to_owned() };
        assert_eq!(BanNews::decode(ban.encode()), Ok(ban));
        assert!(BanNews::decode(Bytes::from_static(&[0; 7])).is_err());
        assert_eq!(decode_revocation(encode_revocation(9)), Ok(9));
        assert!(decode_revocation(Bytes::new()).is_err());
        let gone: Vec<ConnectionId> = vec!["01ARZ3NDEKTSV4RRFFQ69G5FAV".parse().unwrap(); 2];
        let bytes = encode_replaced(&gone);
        assert_eq!(decode_replaced(bytes.clone()), Ok(gone));
        assert!(decode_replaced(bytes.slice(..bytes.len() - 1)).is_err());
    }
}
