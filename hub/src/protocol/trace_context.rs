//! Which trace a call belongs to: the header `traceparent` of W3C Trace Context, and its form between nodes.

use std::{fmt, str::FromStr};

use bytes::{Buf, BufMut, BytesMut};

/// The name of the header.
pub const TRACEPARENT: &str = "traceparent";
/// Length of a `traceparent` of version 00; later versions may be longer (W3C Trace Context section 3.2.2).
const LENGTH: usize = 55;
/// The one flag that version 00 has: the caller may have recorded the trace.
const SAMPLED: u8 = 1;

/// The place of a call, or of one hop of it, in a trace. Neither id is zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    trace_id: u128,
    span_id: u64,
    sampled: bool,
}

/// A `traceparent` that is to be passed over, as if it were not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a traceparent")]
pub struct NoTraceContext;

impl TraceContext {
    /// Bytes on the bus: `trace id u128, span id u64, flags u8`, the ids in network order as in the header.
    pub const ENCODED: usize = 16 + 8 + 1;

    /// The trace, as 32 lower-case hexadecimal digits.
    #[must_use]
    pub fn trace_id(&self) -> impl fmt::Display + use<> {
        Hex::<32>(self.trace_id)
    }

    /// The hop, as 16 lower-case hexadecimal digits.
    #[must_use]
    pub fn span_id(&self) -> impl fmt::Display + use<> {
        Hex::<16>(u128::from(self.span_id))
    }

    /// The next hop of the same trace. `chance`: a random number; 0, which no span may have, is taken for 1.
    #[must_use]
    pub fn child(&self, chance: u64) -> Self {
        Self { span_id: chance.max(1), ..*self }
    }

    /// Appends the form between nodes.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_u128(self.trace_id);
        out.put_u64(self.span_id);
        out.put_u8(u8::from(self.sampled));
    }

    /// Reads the form between nodes; none for too few bytes, or ids that are zero.
    #[must_use]
    pub fn decode(mut bytes: &[u8]) -> Option<Self> {
        let trace_id = bytes.try_get_u128().ok()?;
        let span_id = bytes.try_get_u64().ok()?;
        let sampled = bytes.try_get_u8().ok()? & SAMPLED != 0;
        (trace_id != 0 && span_id != 0).then_some(Self { trace_id, span_id, sampled })
    }
}

impl FromStr for TraceContext {
    type Err = NoTraceContext;

    /// Reads a header as section 3.2 says: a later version's first four fields are those of version 00, and what
    /// follows them is passed over.
    fn from_str(text: &str) -> Result<Self, NoTraceContext> {
        let bytes = text.as_bytes();
        let known = bytes.get(..LENGTH).ok_or(NoTraceContext)?;
        let dashes = known[2] == b'-' && known[35] == b'-' && known[52] == b'-';
        let version = hex(&known[..2])?;
        let ends = match (version, bytes.get(LENGTH)) {
            // Invalid by definition, so that nothing has it by chance.
            (0xff, _) => false,
            (_, None) => true,
            (0, Some(_)) => false,
            (_, Some(next)) => *next == b'-',
        };
        let trace_id = hex(&known[3..35])?;
        let span_id = u64::try_from(hex(&known[36..52])?).map_err(|_| NoTraceContext)?;
        let flags = hex(&known[53..])?;
        if !dashes || !ends || trace_id == 0 || span_id == 0 {
            return Err(NoTraceContext);
        }
        Ok(Self { trace_id, span_id, sampled: flags & u128::from(SAMPLED) != 0 })
    }
}

impl fmt::Display for TraceContext {
    /// The header, version 00.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-{:02x}", self.trace_id(), self.span_id(), u8::from(self.sampled))
    }
}

struct Hex<const DIGITS: usize>(u128);

impl<const DIGITS: usize> fmt::Display for Hex<DIGITS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:0DIGITS$x}", self.0)
    }
}

/// At most 32 digits, lower case only: `HEXDIGLC` of the specification.
fn hex(digits: &[u8]) -> Result<u128, NoTraceContext> {
    digits.iter().try_fold(0, |value, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return Err(NoTraceContext),
        };
        Ok((value << 4) | u128::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    #[test]
    fn headers_are_read_as_the_specification_says() {
        let good = [
            (format!("00-{TRACE}-{SPAN}-01"), "01"),
            (format!("00-{TRACE}-{SPAN}-00"), "00"),
            // Flags that version 00 does not have are not passed on (section 3.2.2.5.2).
            (format!("00-{TRACE}-{SPAN}-ff"), "01"),
            (format!("00-{TRACE}-{SPAN}-02"), "00"),
            // A later version is read as version 00 as far as that goes (section 4.3).
            (format!("01-{TRACE}-{SPAN}-01"), "01"),
            (format!("cc-{TRACE}-{SPAN}-01-what-the-future-will-be-like"), "01"),
            (format!("fe-{TRACE}-{SPAN}-00-"), "00"),
        ];
        for (text, flags) in good {
            let read: TraceContext = text.parse().unwrap();
            assert_eq!(read.to_string(), format!("00-{TRACE}-{SPAN}-{flags}"), "{text}");
            assert_eq!(
                (read.trace_id().to_string(), read.span_id().to_string()),
                (TRACE.to_owned(), SPAN.to_owned())
            );
        }
        let zero = "0".repeat(32);
        let bad = [
            String::new(),
            "00".to_owned(),
            // The version that is invalid, and texts that are none.
            format!("ff-{TRACE}-{SPAN}-01"),
            format!("0-{TRACE}-{SPAN}-01"),
            format!(".0-{TRACE}-{SPAN}-01"),
            format!("0x-{TRACE}-{SPAN}-01"),
            // Ids of zeros.
            format!("00-{zero}-{SPAN}-01"),
            format!("00-{TRACE}-{}-01", &zero[..16]),
            // Upper case.
            format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
            format!("00-{TRACE}-{}-01", SPAN.to_uppercase()),
            format!("00-{TRACE}-{SPAN}-0A"),
            // Version 00 has nothing behind its flags; a later one begins it with a dash.
            format!("00-{TRACE}-{SPAN}-01-"),
            format!("00-{TRACE}-{SPAN}-01-more"),
            format!("01-{TRACE}-{SPAN}-01more"),
            format!("01-{TRACE}-{SPAN}-010"),
            // Too short, other separators, other characters.
            format!("00-{TRACE}-{SPAN}-1"),
            format!("00-{TRACE}-{SPAN}"),
            format!("00_{TRACE}_{SPAN}_01"),
            format!("00-{TRACE}-{SPAN} 01"),
            format!("00-g{}-{SPAN}-01", &TRACE[1..]),
            format!("00-{}-{SPAN}-01", &TRACE[1..]),
            format!(" 00-{TRACE}-{SPAN}-01"),
            format!("00-{TRACE}-{SPAN}-é"),
        ];
        for text in bad {
            assert_eq!(text.parse::<TraceContext>(), Err(NoTraceContext), "{text}");
        }
    }

    #[test]
    fn a_hop_has_an_id_of_its_own_in_the_same_trace() {
        let parent: TraceContext = format!("00-{TRACE}-{SPAN}-01").parse().unwrap();
        assert_eq!(parent.child(10).to_string(), format!("00-{TRACE}-000000000000000a-01"));
        assert_eq!(parent.child(0).to_string(), format!("00-{TRACE}-0000000000000001-01"));
    }

    #[test]
    fn the_form_between_nodes_says_the_same() {
        for flags in ["00", "01"] {
            let context: TraceContext = format!("00-{TRACE}-{SPAN}-{flags}").parse().unwrap();
            let mut out = BytesMut::new();
            context.encode(&mut out);
            assert_eq!(out.len(), TraceContext::ENCODED);
            assert_eq!(TraceContext::decode(&out), Some(context));
            assert_eq!(TraceContext::decode(&out[1..]), None);
        }
        assert_eq!(TraceContext::decode(&[0; TraceContext::ENCODED]), None);
    }
}
