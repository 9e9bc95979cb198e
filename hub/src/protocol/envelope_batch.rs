//! What one PUBLISH carries: a header that names the source, then envelopes.
//!
//! Layout, little endian: `version u8, node id length u8, node id, incarnation length u8, incarnation,
//! batch sequence u64`, then per envelope `length u32, envelope` until the end.
//!
//! Where envelopes belong to traces, what comes last has the form of an envelope of a kind of its own, whose payload is
//! `place u32, trace context` for each of them. A release that does not know it passes over it as over any unknown
//! kind, and no place changes by it.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::{
    envelope::{Envelope, FIXED, MalformedEnvelope, take_short_text, text},
    trace_context::TraceContext,
};
use crate::identity::{NodeId, NodeInstance};

/// The format's version. A release reads its own and the one before.
pub const VERSION: u8 = 1;

/// The kind of what says which envelopes belong to traces; far from those of envelopes.
const TRACES: u8 = 250;
/// Bytes of one entry in it.
const TRACE_ENTRY: usize = 4 + TraceContext::ENCODED;

/// Who sent a batch, and which one of its batches on that channel it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchHeader {
    /// The sending node in its life at that time.
    pub source: NodeInstance,
    /// Rises by one per batch from one source to one channel, from 1.
    pub sequence: u64,
}

impl BatchHeader {
    /// Begins a batch in `out`.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_u8(VERSION);
        for part in [self.source.node.to_string(), self.source.incarnation.to_string()] {
            // A node id has at most 63 bytes, an incarnation at most 43.
            out.put_u8(u8::try_from(part.len()).unwrap_or(u8::MAX));
            out.put_slice(part.as_bytes());
        }
        out.put_u64_le(self.sequence);
    }
}

/// Bytes that an envelope of `encoded_len` bytes takes in a batch.
#[must_use]
pub fn framed_len(encoded_len: usize) -> usize {
    4 + encoded_len
}

/// Appends one envelope to a batch begun by [`BatchHeader::encode`].
pub fn append(envelope: &Envelope, out: &mut BytesMut) {
    out.put_u32_le(u32::try_from(envelope.encoded_len()).unwrap_or(u32::MAX));
    envelope.encode(out);
}

/// Ends a batch with the traces that envelopes in it belong to, by their places, rising; nothing where there are none.
pub fn append_traces(traces: &[(u32, TraceContext)], out: &mut BytesMut) {
    if traces.is_empty() {
        return;
    }
    out.put_u32_le(u32::try_from(FIXED + traces.len() * TRACE_ENTRY).unwrap_or(u32::MAX));
    out.put_u8(TRACES);
    // Flags, number and subject, which it does not have.
    out.put_bytes(0, FIXED - 1);
    for (place, trace) in traces {
        out.put_u32_le(*place);
        trace.encode(out);
    }
}

/// Entries that cannot be read are passed over: a batch is worth more than its traces.
fn read_traces(envelope: &[u8]) -> Vec<(u32, TraceContext)> {
    let entries = envelope.get(FIXED..).unwrap_or_default().chunks_exact(TRACE_ENTRY);
    entries.filter_map(|mut entry| Some((entry.get_u32_le(), TraceContext::decode(entry)?))).collect()
}

/// A batch as read from the wire. `envelopes` keeps the places: `None` is a kind of a newer release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Who sent it.
    pub header: BatchHeader,
    /// The envelopes in order; the index is the place that a report names.
    pub envelopes: Vec<Option<Envelope>>,
    /// The traces that some of them belong to, by their places.
    pub traces: Vec<(u32, TraceContext)>,
}

impl Batch {
    /// Reads a whole batch; payloads share the memory of `bytes`.
    ///
    /// # Errors
    /// [`MalformedEnvelope`] when any part breaks the layout: then nothing of the batch is used.
    pub fn decode(mut bytes: Bytes) -> Result<Self, MalformedEnvelope> {
        let version = bytes.try_get_u8().map_err(|_| MalformedEnvelope::Truncated)?;
        if version != VERSION {
            return Err(MalformedEnvelope::Version(version));
        }
        let node = NodeId::new(text(&take_short_text(&mut bytes)?)?)?;
        let incarnation = text(&take_short_text(&mut bytes)?)?.parse()?;
        let sequence = bytes.try_get_u64_le().map_err(|_| MalformedEnvelope::Truncated)?;
        let (mut envelopes, mut traces) = (Vec::new(), Vec::new());
        while !bytes.is_empty() {
            let length = bytes.try_get_u32_le().map_err(|_| MalformedEnvelope::Truncated)?;
            let length = usize::try_from(length).map_err(|_| MalformedEnvelope::Truncated)?;
            if bytes.len() < length {
                return Err(MalformedEnvelope::Truncated);
            }
            let envelope = bytes.split_to(length);
            if bytes.is_empty() && envelope.first() == Some(&TRACES) {
                traces = read_traces(&envelope);
            } else {
                envelopes.push(Envelope::decode(envelope)?);
            }
        }
        let header = BatchHeader { source: NodeInstance { node, incarnation }, sequence };
        Ok(Self { header, envelopes, traces })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{identity::UserId, protocol::envelope::Kind};

    fn batch(count: u64) -> (BatchHeader, Vec<Envelope>, Bytes) {
        let header = BatchHeader { source: "chat-0#k3x9.2".parse().unwrap(), sequence: 41 };
        let envelopes: Vec<_> = (0..count)
            .map(|number| Envelope {
                kind: Kind::Deliver,
                wants_report: number % 2 == 0,
                patience: None,
                number,
                subject: Some(UserId::new(format!("user-{number}")).unwrap()),
                payload: Bytes::from(vec![b'x'; usize::try_from(number).unwrap()]),
            })
            .collect();
        let mut out = BytesMut::new();
        header.encode(&mut out);
        for envelope in &envelopes {
            append(envelope, &mut out);
        }
        (header, envelopes, out.freeze())
    }

    #[test]
    fn a_batch_survives_the_wire() {
        for count in [0, 1, 300] {
            let (header, envelopes, bytes) = batch(count);
            let read = Batch::decode(bytes).unwrap();
            assert_eq!(read.header, header);
            assert_eq!(read.envelopes.into_iter().map(Option::unwrap).collect::<Vec<_>>(), envelopes);
        }
    }

    #[test]
    fn traces_come_last_and_a_release_that_does_not_know_them_passes_over_them() {
        let trace: TraceContext = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".parse().unwrap();
        let (_, envelopes, bytes) = batch(5);
        let mut out = BytesMut::from(bytes.clone());
        append_traces(&[], &mut out);
        assert_eq!(out, bytes, "no byte where there is no trace");
        let given = [(1, trace), (4, trace.child(7))];
        append_traces(&given, &mut out);
        assert_eq!(out.len() - bytes.len(), 4 + FIXED + 2 * TRACE_ENTRY);
        let read = Batch::decode(out.clone().freeze()).unwrap();
        assert_eq!(read.envelopes.len(), envelopes.len());
        assert_eq!(read.traces, given);
        // As that release reads it: an envelope of a kind that it does not have.
        let last = out.split_off(bytes.len() + 4).freeze();
        assert_eq!(Envelope::decode(last.clone()), Ok(None));
        // Cut, or with zeros for a trace, it says nothing; the envelopes stand.
        assert_eq!(read_traces(&last[..last.len() - 1]), given[..1]);
        assert!(read_traces(&[TRACES]).is_empty());
        assert!(read_traces(&[0; FIXED + TRACE_ENTRY]).is_empty());
        // Anywhere else it is what it looks like, so that no place is lost.
        let mut first = BytesMut::from(&bytes[..bytes.len() - framed_len(envelopes[4].encoded_len())]);
        append_traces(&given, &mut first);
        append(&envelopes[4], &mut first);
        let read = Batch::decode(first.freeze()).unwrap();
        assert_eq!((read.envelopes.len(), &read.envelopes[4], read.traces), (6, &None, Vec::new()));
    }

    #[test]
    fn broken_bytes_are_errors_and_never_panics() {
        let (_, _, bytes) = batch(3);
        for end in 0..bytes.len() {
            let _ = Batch::decode(bytes.slice(..end));
        }
        for position in 0..bytes.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut broken = bytes.to_vec();
                broken[position] = value;
                let _ = Batch::decode(Bytes::from(broken));
            }
        }
        assert_eq!(Batch::decode(Bytes::from_static(&[9])), Err(MalformedEnvelope::Version(9)));
        assert_eq!(Batch::decode(Bytes::new()), Err(MalformedEnvelope::Truncated));
    }
}
