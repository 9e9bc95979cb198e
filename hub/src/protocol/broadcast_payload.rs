//! The payload of a broadcast that leaves some users out.
//!
//! Layout, little endian: `count u16`, then per user `length u8, user id`, then the frame.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::envelope::{MalformedEnvelope, take_short_text, text};
use crate::identity::UserId;

/// The payload of a broadcast for everyone but `excluded`, of which there are at most 65,535.
#[must_use]
pub fn encode(excluded: &[UserId], frame: &Bytes) -> Bytes {
    let names: usize = excluded.iter().map(|user| 1 + user.as_str().len()).sum();
    let mut out = BytesMut::with_capacity(2 + names + frame.len());
    let count = u16::try_from(excluded.len()).unwrap_or(u16::MAX);
    out.put_u16_le(count);
    for user in excluded.iter().take(usize::from(count)) {
        // The grammar bounds a user id to 128 bytes.
        out.put_u8(u8::try_from(user.as_str().len()).unwrap_or(u8::MAX));
        out.put_slice(user.as_str().as_bytes());
    }
    out.put_slice(frame);
    out.freeze()
}

/// The users to leave out, as they were encoded, and the frame, which shares the payload's memory.
///
/// # Errors
/// [`MalformedEnvelope`] when the layout is broken.
pub fn decode(mut payload: Bytes) -> Result<(Vec<UserId>, Bytes), MalformedEnvelope> {
    let count = payload.try_get_u16_le().map_err(|_| MalformedEnvelope::Truncated)?;
    let mut excluded = Vec::new();
    for _ in 0..count {
        excluded.push(UserId::new(text(&take_short_text(&mut payload)?)?)?);
    }
    Ok((excluded, payload))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_survives_the_wire_and_every_cut_of_the_names_is_an_error() {
        let users: Vec<_> = ["alice", "bob"].map(|name| UserId::new(name).unwrap()).into();
        let frame = Bytes::from_static(b"{}");
        for excluded in [&users[..], &[]] {
            let payload = encode(excluded, &frame);
            let (read, rest) = decode(payload.clone()).unwrap();
            assert_eq!((read.as_slice(), &rest), (excluded, &frame));
            for end in 0..payload.len() - frame.len() {
                assert!(decode(payload.slice(..end)).is_err(), "cut at {end}");
            }
        }
    }
}
