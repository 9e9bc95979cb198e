//! What envelopes about groups carry. The frame of a group is not copied on decode.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::envelope::{MalformedEnvelope, take_short_text, text};
use crate::identity::{GroupName, UserId};

/// Longest payload of a [`MembersPage`], in bytes: a page is one batch on the bus.
const PAGE_BYTES: usize = 60 * 1024;
/// Bytes of a page before its users.
const PAGE_HEAD: usize = 8 + 1 + 2;

/// The grammar bounds names to 128 bytes.
fn put_name(name: &str, out: &mut BytesMut) {
    out.put_u8(u8::try_from(name.len()).unwrap_or(u8::MAX));
    out.put_slice(name.as_bytes());
}

fn take_group(payload: &mut Bytes) -> Result<GroupName, MalformedEnvelope> {
    Ok(GroupName::new(text(&take_short_text(payload)?)?)?)
}

/// A frame for a group's members: `group length u8, group, frame`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupFrame {
    /// For whom.
    pub group: GroupName,
    /// What.
    pub frame: Bytes,
}

impl GroupFrame {
    /// The payload of a group envelope.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(1 + self.group.as_str().len() + self.frame.len());
        put_name(self.group.as_str(), &mut out);
        out.put_slice(&self.frame);
        out.freeze()
    }

    /// Reads a payload; the frame shares its memory.
    ///
    /// # Errors
    /// [`MalformedEnvelope`] when it is cut short or the name breaks its grammar.
    pub fn decode(mut payload: Bytes) -> Result<Self, MalformedEnvelope> {
        Ok(Self { group: take_group(&mut payload)?, frame: payload })
    }
}

/// A user's connections become members of a group, or cease to be: `joins u8, group length u8, group`. The user is
/// the envelope's subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MembershipChange {
    /// Whether they join; else they leave.
    pub joins: bool,
    /// Which group.
    pub group: GroupName,
}

impl MembershipChange {
    /// The payload of a membership envelope.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        out.put_u8(u8::from(self.joins));
        put_name(self.group.as_str(), &mut out);
        out.freeze()
    }

    /// Reads a payload; bytes behind the known ones are a newer release's and ignored.
    ///
    /// # Errors
    /// [`MalformedEnvelope`] when it is cut short or the name breaks its grammar.
    pub fn decode(mut payload: Bytes) -> Result<Self, MalformedEnvelope> {
        let joins = payload.try_get_u8().map_err(|_| MalformedEnvelope::Truncated)? != 0;
        Ok(Self { joins, group: take_group(&mut payload)? })
    }
}

/// Asks a node who of its users is in a group: `most u16, group length u8, group, after length u8, after`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MembersQuestion {
    /// Which group.
    pub group: GroupName,
    /// Only users behind this one.
    pub after: Option<UserId>,
    /// At most so many users.
    pub most: u16,
}

impl MembersQuestion {
    /// The payload of a question.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        out.put_u16_le(self.most);
        put_name(self.group.as_str(), &mut out);
        put_name(self.after.as_ref().map_or("", UserId::as_str), &mut out);
        out.freeze()
    }

    /// Reads a payload; bytes behind the known ones are a newer release's and ignored.
    ///
    /// # Errors
    /// [`MalformedEnvelope`] when it is cut short or a name breaks its grammar.
    pub fn decode(mut payload: Bytes) -> Result<Self, MalformedEnvelope> {
        let most = payload.try_get_u16_le().map_err(|_| MalformedEnvelope::Truncated)?;
        let group = take_group(&mut payload)?;
        let after = take_short_text(&mut payload)?;
        let after = if after.is_empty() { None } else { Some(UserId::new(text(&after)?)?) };
        Ok(Self { group, after, most })
    }
}

/// The answer to a [`MembersQuestion`]:
/// `question u64, more u8, count u16, (user length u8, user, connections u32)*`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MembersPage {
    /// The number of the question's envelope.
    pub question: u64,
    /// Users and their connections in the group on that node, sorted by user.
    pub users: Vec<(UserId, u32)>,
    /// Whether that node has more users behind the last one.
    pub more: bool,
}

impl MembersPage {
    /// The payload of an answer. Users that do not fit into 60 KiB are left for the next question.
    #[must_use]
    pub fn encode(mut self) -> Bytes {
        let length = |(user, _): &(UserId, u32)| 1 + user.as_str().len() + 4;
        let mut bytes = 0;
        let fitting = self.users.iter().take(usize::from(u16::MAX)).take_while(|entry| {
            bytes += length(entry);
            bytes <= PAGE_BYTES
        });
        let fitting = fitting.count();
        self.more |= fitting < self.users.len();
        self.users.truncate(fitting);
        let mut out = BytesMut::with_capacity(PAGE_HEAD + self.users.iter().map(length).sum::<usize>());
        out.put_u64_le(self.question);
        out.put_u8(u8::from(self.more));
        out.put_u16_le(u16::try_from(self.users.len()).unwrap_or(u16::MAX));
        for (user, connections) in &self.users {
            put_name(user.as_str(), &mut out);
            out.put_u32_le(*connections);
        }
        out.freeze()
    }

    /// Reads a payload; bytes behind the known ones are a newer release's and ignored.
    ///
    /// # Errors
    /// [`MalformedEnvelope`] when it is cut short or a name breaks its grammar.
    pub fn decode(mut payload: Bytes) -> Result<Self, MalformedEnvelope> {
        let cut = |_| MalformedEnvelope::Truncated;
        let question = payload.try_get_u64_le().map_err(cut)?;
        let more = payload.try_get_u8().map_err(cut)? != 0;
        let count = payload.try_get_u16_le().map_err(cut)?;
        let mut users = Vec::new();
        for _ in 0..count {
            let user = UserId::new(text(&take_short_text(&mut payload)?)?)?;
            users.push((user, payload.try_get_u32_le().map_err(cut)?));
        }
        Ok(Self { question, users, more })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str) -> UserId {
        UserId::new(name).unwrap()
    }

    fn group() -> GroupName {
        GroupName::new("@room:1").unwrap()
    }

    #[test]
    fn payloads_survive_the_wire_and_every_cut_is_an_error() {
        let frame = GroupFrame { group: group(), frame: Bytes::from_static(b"{}") };
        let bytes = frame.encode();
        let read = GroupFrame::decode(bytes.clone()).unwrap();
        assert_eq!(read, frame);
        assert_eq!(read.frame.as_ptr(), bytes[bytes.len() - 2..].as_ptr(), "the frame is not copied");
        for joins in [true, false] {
            let change = MembershipChange { joins, group: group() };
            assert_eq!(MembershipChange::decode(change.encode()), Ok(change));
        }
        for after in [None, Some(user("alice"))] {
            let question = MembersQuestion { group: group(), after, most: 1000 };
            let bytes = question.encode();
            assert_eq!(MembersQuestion::decode(bytes.clone()), Ok(question));
            for end in 0..bytes.len() {
                assert!(MembersQuestion::decode(bytes.slice(..end)).is_err(), "cut at {end}");
            }
        }
        let page = MembersPage { question: 9, users: vec![(user("alice"), 2), (user("bob"), 1)], more: true };
        let bytes = page.clone().encode();
        assert_eq!(MembersPage::decode(bytes.clone()), Ok(page));
        for end in 0..bytes.len() {
            assert!(MembersPage::decode(bytes.slice(..end)).is_err(), "cut at {end}");
        }
        for end in 0..8 {
            let whole = GroupFrame { group: group(), frame: Bytes::new() }.encode();
            assert!(GroupFrame::decode(whole.slice(..end)).is_err(), "cut at {end}");
        }
    }

    #[test]
    fn a_page_that_is_too_long_says_that_there_is_more() {
        let users: Vec<_> = (0..1000).map(|n| (user(&format!("{n:0>128}")), 1)).collect();
        let page = MembersPage { question: 9, users: users.clone(), more: false };
        let bytes = page.encode();
        assert!(bytes.len() <= PAGE_BYTES + PAGE_HEAD, "{}", bytes.len());
        let read = MembersPage::decode(bytes).unwrap();
        assert!(read.more && read.users.len() > 400);
        assert_eq!(read.users[..], users[..read.users.len()]);
    }
}
