//! A part of a user's inbox as it is read for one device.

use crate::protocol::{
    inbox_offset::{EntryId, InboxEpoch, Offset},
    wire_frame::WireFrame,
};

/// What a device wants to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageWish {
    /// Behind this; a device that has not read yet also names its own last offset here.
    pub after: Option<Offset>,
    /// Not before the cursor that is kept for the device, or else what any device acknowledged.
    pub from_cursor: bool,
    /// Most entries.
    pub entries: usize,
    /// Most bytes; one entry is read even when it has more.
    pub bytes: usize,
}

/// What was read, at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Life of the inbox; none when the user has no inbox.
    pub epoch: Option<InboxEpoch>,
    /// The newest offset that was given out.
    pub last: EntryId,
    /// Behind this the page begins.
    pub start: EntryId,
    /// In their order.
    pub entries: Vec<PageEntry>,
    /// Whether there are entries behind these.
    pub more: bool,
}

/// A stored message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageEntry {
    /// Where it stands.
    pub id: EntryId,
    /// Where the one before it stood.
    pub prev: EntryId,
    /// What to send; none when its time is over.
    pub frame: Option<WireFrame>,
}

impl Page {
    /// Of a user who has no inbox.
    #[must_use]
    pub fn of_nobody() -> Self {
        Self { epoch: None, last: EntryId::START, start: EntryId::START, entries: Vec::new(), more: false }
    }
}
