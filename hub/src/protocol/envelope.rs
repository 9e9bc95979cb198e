//! One message between nodes.
//!
//! Layout, little endian: `kind u8, flags u8, number u64, subject length u8, subject, payload`.
//! The payload runs to the envelope's end and is opaque to the bus; what it holds depends on the kind.
//! Flags: bit 0 asks for a report, bit 1 is not used, bits 2 to 7 say how long the sender waits for it. A release that
//! does not know those bits passes over them.

use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::identity::UserId;

/// Asks the receiver for a [`Report`].
const FLAG_REPORT: u8 = 1;
/// Place of the patience among the flags.
const PATIENCE_SHIFT: u32 = 2;
/// Largest patience code: 49,152 ms.
const PATIENCE_MAX: u32 = 63;
/// Bytes before the subject.
pub(super) const FIXED: usize = 1 + 1 + 8 + 1;

/// What an envelope is for. The numbers are the wire format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A frame for the connections of one user; subject = user, payload = frame.
    Deliver = 1,
    /// An answer; payload = [`Report`].
    Report = 2,
    /// A frame for everyone; no subject, payload = frame.
    Broadcast = 3,
    /// Close a user's connections; subject = user, payload = [`Kick`].
    Kick = 4,
    /// The nodes of a user changed; subject = user, number = `ver`.
    PresenceChanged = 5,
    /// Proof that a channel is alive; number = the sender's broadcast sequence.
    Hello = 6,
    /// A frame for the members of a group; no subject, payload = [`super::group_payload::GroupFrame`].
    Group = 7,
    /// A user's connections join or leave a group; subject = user, payload =
    /// [`super::group_payload::MembershipChange`].
    Membership = 8,
    /// Who is in a group there? No subject, payload = [`super::group_payload::MembersQuestion`].
    MembersQuestion = 9,
    /// The answer to the question of that number; payload = [`super::group_payload::MembersPage`].
    MembersPage = 10,
    /// A client has a message; subject = user, number = the send, payload = the start id of the sending process.
    Ack = 11,
    /// A frame for everyone but some; no subject, payload = [`super::broadcast_payload`].
    BroadcastExcept = 20,
    /// A user was banned or a ban lifted; subject = user, payload = [`super::user_verdict::BanNews`].
    Ban = 24,
    /// A user's older tokens were revoked; subject = user, payload: see [`super::user_verdict`].
    Revoke = 25,
    /// Newer connections replace these; subject = user, payload: see [`super::user_verdict`].
    Replace = 26,
    /// News of a message in a user's inbox; subject = user, payload = [`super::stored_notice::StoredNotice`].
    Stored = 30,
}

impl Kind {
    fn from_wire(byte: u8) -> Option<Self> {
        [
            Self::Deliver,
            Self::Report,
            Self::Broadcast,
            Self::Kick,
            Self::PresenceChanged,
            Self::Hello,
            Self::Group,
            Self::Membership,
            Self::MembersQuestion,
            Self::MembersPage,
            Self::Ack,
            Self::BroadcastExcept,
            Self::Ban,
            Self::Revoke,
            Self::Replace,
            Self::Stored,
        ]
        .into_iter()
        .find(|kind| *kind as u8 == byte)
    }
}

/// One message between nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// What it is for.
    pub kind: Kind,
    /// Whether the receiver is to answer with a [`Report`].
    pub wants_report: bool,
    /// How long the sender waits for the report, from when it sent; none when it does not say. On the wire rounded
    /// down to four steps per power of two, from 1 ms to 49 s.
    pub patience: Option<Duration>,
    /// Unique per source incarnation for kinds that act; a repeat of one carries the same number.
    pub number: u64,
    /// The user it is about.
    pub subject: Option<UserId>,
    /// Opaque to the bus.
    pub payload: Bytes,
}

/// Why bytes are not an envelope, a batch or a payload.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MalformedEnvelope {
    /// Fewer bytes than the layout asks for.
    #[error("truncated")]
    Truncated,
    /// A format version this release does not know.
    #[error("unknown batch version {0}")]
    Version(u8),
    /// An identifier that breaks its grammar.
    #[error("bad identifier: {0}")]
    Identity(#[from] crate::identity::IdentityError),
    /// An identifier or text that is not UTF-8.
    #[error("text is not utf-8")]
    Utf8,
    /// A report with a status this release does not know.
    #[error("unknown report status {0}")]
    Status(u8),
}

impl Envelope {
    /// Bytes that [`Envelope::encode`] will write.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        FIXED + self.subject.as_ref().map_or(0, |s| s.as_str().len()) + self.payload.len()
    }

    /// Appends the envelope to `out`.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_u8(self.kind as u8);
        let report = if self.wants_report { FLAG_REPORT } else { 0 };
        out.put_u8(report | (patience_code(self.patience) << PATIENCE_SHIFT));
        out.put_u64_le(self.number);
        let subject = self.subject.as_ref().map_or("", UserId::as_str);
        // The grammar bounds a user id to 128 bytes.
        out.put_u8(u8::try_from(subject.len()).unwrap_or(u8::MAX));
        out.put_slice(subject.as_bytes());
        out.put_slice(&self.payload);
    }

    /// Reads one envelope that fills `bytes`; the payload shares their memory. `None` is a kind from
    /// a newer release, to be counted and passed over.
    ///
    /// # Errors
    /// [`MalformedEnvelope`] when the layout is broken.
    pub fn decode(mut bytes: Bytes) -> Result<Option<Self>, MalformedEnvelope> {
        if bytes.len() < FIXED {
            return Err(MalformedEnvelope::Truncated);
        }
        let kind = Kind::from_wire(bytes.get_u8());
        let flags = bytes.get_u8();
        let number = bytes.get_u64_le();
        let length = usize::from(bytes.get_u8());
        // Read where it is: a slice of its own would cost four atomic operations, for every message.
        let subject = bytes.get(..length).ok_or(MalformedEnvelope::Truncated)?;
        let Some(kind) = kind else { return Ok(None) };
        let subject = match subject {
            [] => None,
            subject => Some(UserId::new(str::from_utf8(subject).map_err(|_| MalformedEnvelope::Utf8)?)?),
        };
        bytes.advance(length);
        Ok(Some(Self {
            kind,
            wants_report: flags & FLAG_REPORT != 0,
            patience: patience_of(flags >> PATIENCE_SHIFT),
            number,
            subject,
            payload: bytes,
        }))
    }
}

/// Six bits: 0 for none, else one more than four times the octave plus the quarter in it.
fn patience_code(patience: Option<Duration>) -> u8 {
    let Some(patience) = patience else { return 0 };
    let ms = u32::try_from(patience.as_millis()).unwrap_or(u32::MAX).clamp(1, 1 << 16);
    let octave = ms.ilog2();
    let quarter = ((ms << 2) >> octave) - 4;
    // At most PATIENCE_MAX, which fits.
    u8::try_from((octave * 4 + quarter + 1).min(PATIENCE_MAX)).unwrap_or(0)
}

fn patience_of(code: u8) -> Option<Duration> {
    let place = u64::from(code.checked_sub(1)?);
    Some(Duration::from_millis(((4 + place % 4) << (place / 4)) >> 2))
}

/// Takes a text with a one-byte length.
pub(super) fn take_short_text(bytes: &mut Bytes) -> Result<Bytes, MalformedEnvelope> {
    let length = usize::from(bytes.try_get_u8().map_err(|_| MalformedEnvelope::Truncated)?);
    if bytes.len() < length {
        return Err(MalformedEnvelope::Truncated);
    }
    Ok(bytes.split_to(length))
}

pub(super) fn text(bytes: &Bytes) -> Result<&str, MalformedEnvelope> {
    std::str::from_utf8(bytes).map_err(|_| MalformedEnvelope::Utf8)
}

/// What the receiver of an envelope did with it. The numbers are the wire format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ReportStatus {
    /// Done; `count` connections got the frame, or were closed.
    Done = 0,
    /// The user has no connection on that node.
    NotHere = 1,
    /// The node's queues are full.
    Overloaded = 2,
}

/// The answer to one envelope, addressed by its place: the batch's sequence and the index in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// Sequence of the batch the envelope came in.
    pub batch: u64,
    /// Place in that batch, from 0.
    pub index: u32,
    /// What was done.
    pub status: ReportStatus,
    /// Connections that got the frame or were closed.
    pub count: u32,
}

impl Report {
    /// The payload of a report envelope.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(17);
        out.put_u64_le(self.batch);
        out.put_u32_le(self.index);
        out.put_u8(self.status as u8);
        out.put_u32_le(self.count);
        out.freeze()
    }

    /// Reads a report's payload; bytes beyond the known ones are a newer release's and ignored.
    ///
    /// # Errors
    /// [`MalformedEnvelope`] for too few bytes or an unknown status.
    pub fn decode(mut payload: &[u8]) -> Result<Self, MalformedEnvelope> {
        if payload.len() < 17 {
            return Err(MalformedEnvelope::Truncated);
        }
        let batch = payload.get_u64_le();
        let index = payload.get_u32_le();
        let status = match payload.get_u8() {
            0 => ReportStatus::Done,
            1 => ReportStatus::NotHere,
            2 => ReportStatus::Overloaded,
            other => return Err(MalformedEnvelope::Status(other)),
        };
        Ok(Self { batch, index, status, count: payload.get_u32_le() })
    }
}

/// The payload of a kick: `reason length u16, reason, frame`; the frame is empty when the user is not told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kick {
    /// Why, as given by the kicker; ends up in the close frame.
    pub reason: String,
    /// The `kick_out` frame to send before closing.
    pub notice: Option<Bytes>,
}

impl Kick {
    /// The payload of a kick envelope. A reason over 65,535 bytes is cut.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut length = self.reason.len().min(usize::from(u16::MAX));
        while !self.reason.is_char_boundary(length) {
            length -= 1;
        }
        let notice = self.notice.as_deref().unwrap_or_default();
        let mut out = BytesMut::with_capacity(2 + length + notice.len());
        out.put_u16_le(u16::try_from(length).unwrap_or(u16::MAX));
        out.put_slice(&self.reason.as_bytes()[..length]);
        out.put_slice(notice);
        out.freeze()
    }

    /// Reads a kick's payload.
    ///
    /// # Errors
    /// [`MalformedEnvelope`] when it is cut short or not UTF-8.
    pub fn decode(mut payload: Bytes) -> Result<Self, MalformedEnvelope> {
        let length = usize::from(payload.try_get_u16_le().map_err(|_| MalformedEnvelope::Truncated)?);
        if payload.len() < length {
            return Err(MalformedEnvelope::Truncated);
        }
        let reason = text(&payload.split_to(length))?.to_owned();
        Ok(Self { reason, notice: (!payload.is_empty()).then_some(payload) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Envelope {
        Envelope {
            kind: Kind::Deliver,
            wants_report: true,
            patience: None,
            number: 7,
            subject: Some(UserId::new("alice").unwrap()),
            payload: Bytes::from_static(b"{}"),
        }
    }

    #[test]
    fn an_envelope_survives_the_wire_and_its_payload_is_not_copied() {
        let mut out = BytesMut::new();
        sample().encode(&mut out);
        assert_eq!(out.len(), sample().encoded_len());
        let bytes = out.freeze();
        let read = Envelope::decode(bytes.clone()).unwrap().unwrap();
        assert_eq!(read, sample());
        assert_eq!(read.payload.as_ptr(), bytes[bytes.len() - 2..].as_ptr());
    }

    #[test]
    fn every_cut_is_an_error_or_an_envelope_but_never_a_panic() {
        let mut out = BytesMut::new();
        sample().encode(&mut out);
        let bytes = out.freeze();
        for end in 0..bytes.len() {
            let read = Envelope::decode(bytes.slice(..end));
            assert_eq!(read.is_err(), end < FIXED + 5, "cut at {end}: {read:?}");
        }
    }

    #[test]
    fn the_senders_patience_arrives_a_little_shorter_and_older_releases_pass_over_it() {
        let arrives = |ms| {
            let mut out = BytesMut::new();
            Envelope { patience: Some(Duration::from_millis(ms)), ..sample() }.encode(&mut out);
            assert_eq!(out[1] & 3, FLAG_REPORT, "the bits that older releases read");
            Envelope::decode(out.freeze()).unwrap().unwrap().patience.unwrap().as_millis()
        };
        for (sent, read) in [(0, 1), (1, 1), (4, 4), (300, 256), (1000, 896), (5000, 4096), (60_000, 49_152)]
        {
            assert_eq!(arrives(sent), read, "{sent}");
        }
        for sent in 1..5000 {
            let read = arrives(sent);
            assert!(read <= u128::from(sent) && read * 5 >= u128::from(sent) * 4 - 4, "{sent} {read}");
        }
    }

    #[test]
    fn a_kind_of_a_newer_release_is_passed_over() {
        let mut out = BytesMut::new();
        sample().encode(&mut out);
        out[0] = 200;
        assert_eq!(Envelope::decode(out.freeze()), Ok(None));
    }

    #[test]
    fn payloads_survive_the_wire() {
        let report = Report { batch: 9, index: 3, status: ReportStatus::NotHere, count: 0 };
        assert_eq!(Report::decode(&report.encode()), Ok(report));
        for notice in [None, Some(Bytes::from_static(b"{\"a\":1}"))] {
            let kick = Kick { reason: "späm".into(), notice };
            assert_eq!(Kick::decode(kick.encode()), Ok(kick));
        }
        assert!(Kick::decode(Bytes::from_static(&[9, 0, 1])).is_err());
        assert!(Report::decode(&[0; 16]).is_err());
    }
}
