//! The news of a stored message: what one node tells another, and the frame that a client gets.
//!
//! Layout of the payload, little endian: `epoch u64, id (ms u64, seq u64), prev (ms u64, seq u64), frame`. The frame has its
//! offset already; an empty one says only that there is something to be read.

use std::fmt::Write as _;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::{
    envelope::MalformedEnvelope,
    inbox_offset::{EntryId, InboxEpoch, Offset},
    wire_frame::WireFrame,
};

/// Bytes before the frame.
const FIXED: usize = 5 * 8;
/// Most bytes that an offset adds to a frame: its name, an epoch of 16 digits, two numbers of at most 20.
const OFFSET_FIELD: usize = 72;

/// The news of a message in an inbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredNotice {
    /// Where it stands.
    pub offset: Offset,
    /// Where the one before it stood, at the time.
    pub prev: EntryId,
    /// The frame with its offset; none when it has to be read from the inbox.
    pub frame: Option<WireFrame>,
}

impl StoredNotice {
    /// The payload of an envelope.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let frame = self.frame.as_ref().map(WireFrame::bytes).map(Bytes::as_ref).unwrap_or_default();
        let mut out = BytesMut::with_capacity(FIXED + frame.len());
        out.put_u64_le(self.offset.epoch.number());
        for id in [self.offset.id, self.prev] {
            out.put_u64_le(id.ms);
            out.put_u64_le(id.seq);
        }
        out.put_slice(frame);
        out.freeze()
    }

    /// Reads a payload; the frame shares its memory.
    ///
    /// # Errors
    /// [`MalformedEnvelope`] when it is cut short or its frame is not UTF-8.
    pub fn decode(mut payload: Bytes) -> Result<Self, MalformedEnvelope> {
        if payload.len() < FIXED {
            return Err(MalformedEnvelope::Truncated);
        }
        let epoch = InboxEpoch::new(payload.get_u64_le()).ok_or(MalformedEnvelope::Truncated)?;
        let mut id = || EntryId { ms: payload.get_u64_le(), seq: payload.get_u64_le() };
        let (id, prev) = (id(), id());
        let frame = match payload.is_empty() {
            true => None,
            false => Some(WireFrame::from_bytes(payload).map_err(|_| MalformedEnvelope::Utf8)?),
        };
        Ok(Self { offset: Offset { epoch, id }, prev, frame })
    }
}

/// The frame of a stored message for clients: the JSON object as it is kept, and its offset. None when what is kept is no
/// JSON object in UTF-8, which nothing of this product writes.
#[must_use]
pub fn with_offset(kept: &[u8], offset: Offset) -> Option<WireFrame> {
    let text = std::str::from_utf8(kept).ok()?;
    let fields = text.strip_suffix('}').filter(|fields| fields.starts_with('{') && fields.len() > 1)?;
    // The offset is asked for once for each message of a replay: one text, made in one go.
    let mut frame = String::with_capacity(fields.len() + OFFSET_FIELD);
    frame.push_str(fields);
    // Writing to a string cannot fail.
    let _ = write!(frame, ",\"offset\":\"{offset}\"}}");
    Some(WireFrame::new(frame))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offset() -> Offset {
        "e1:1732356000000-7".parse().unwrap()
    }

    #[test]
    fn a_notice_is_read_as_it_was_written() {
        let prev = EntryId { ms: 1_732_355_999_999, seq: 3 };
        for frame in [None, Some(WireFrame::new("{\"a\":1}".to_owned()))] {
            let notice = StoredNotice { offset: offset(), prev, frame };
            assert_eq!(StoredNotice::decode(notice.encode()), Ok(notice));
        }
        let whole = StoredNotice { offset: offset(), prev, frame: None }.encode();
        for length in 0..whole.len() {
            assert!(StoredNotice::decode(whole.slice(..length)).is_err(), "{length}");
        }
        assert!(StoredNotice::decode(Bytes::from_static(&[0; FIXED])).is_err());
        let bad = [whole.as_ref(), &[0xff]].concat();
        assert_eq!(StoredNotice::decode(Bytes::from(bad)), Err(MalformedEnvelope::Utf8));
    }

    #[test]
    fn the_offset_is_a_field_of_the_frame() {
        let frame = with_offset(br#"{"message_type":"text","data":{"a":"}"}}"#, offset()).unwrap();
        let text = std::str::from_utf8(frame.bytes()).unwrap();
        assert_eq!(text, r#"{"message_type":"text","data":{"a":"}"},"offset":"e1:1732356000000-7"}"#);
        for bad in [&b""[..], b"{", b"{}", b"[1]", b"{\"a\":1} ", b"\xff}"] {
            assert_eq!(with_offset(bad, offset()), None, "{bad:?}");
        }
    }
}
