//! What one connection has been given of its user's inbox. Replay, live messages and lost notices are one rule: a message is
//! sent when the one before it was; otherwise the inbox is read from there. Nothing is held back in memory.

use parking_lot::Mutex;

use super::{
    delivery_tally::Receipt,
    inbox_page::{Page, PageEntry, PageWish},
    outbound_queue::{Offered, OutboundQueue, Refused},
};
use crate::protocol::{
    inbox_offset::{EntryId, InboxEpoch, Offset},
    server_frame,
    stored_notice::StoredNotice,
    wire_frame::WireFrame,
};

/// Senders that wait for a message which the replay has not reached yet; more are told that it is stored.
const RECEIPTS: usize = 64;
/// Share of the queue that one page fills at most: one in so many.
const PAGE_SHARE: usize = 4;
/// Entries of one page.
const PAGE_ENTRIES: usize = 256;

/// What became of the news of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Noticed {
    /// Its frame is queued.
    Queued,
    /// The device was given it before.
    Old,
    /// The replay that runs will come to it.
    Later,
    /// There is a hole before it, or no room: a replay has to begin now.
    Replay,
    /// The connection ends, because its queue is full if true.
    Closed(bool),
}

/// How far a page brought a replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// There is more to be read.
    More,
    /// The queue has no room; read again from there.
    NoRoom,
    /// The device has everything. True when this ended the replay of its connect.
    CaughtUp(bool),
    /// The connection ends.
    Closed,
}

/// What a page brought to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Replayed {
    /// Messages.
    pub messages: u64,
    /// Losses that it was told of.
    pub gaps: u64,
}

/// Why an acknowledgement is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WrongAck {
    /// Nothing is stored here.
    #[error("this node keeps no stored messages, there is nothing to acknowledge")]
    Off,
    /// Offsets of a former life mean nothing.
    #[error("the offset is of an inbox that is gone")]
    ForeignEpoch,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Stored messages are sent as others are.
    Off,
    /// Before the first page; a connection without a device, before the first message.
    Waiting,
    /// A replay runs, or is about to.
    Replaying,
    /// Everything that is known of was given.
    Live,
}

#[derive(Debug)]
struct Feed {
    phase: Phase,
    /// Whether a cursor is kept.
    device: bool,
    /// Life of the inbox that `given` is of; none before anything was seen of it.
    epoch: Option<InboxEpoch>,
    /// Last one that was put into the queue, or passed.
    given: EntryId,
    /// The newest that was heard of since the last page was asked for.
    heard: Option<Offset>,
    /// Where the client says that it is, until the first page.
    asked: Option<Offset>,
    opened: bool,
    said_done: bool,
    /// Acknowledged and not written yet.
    ack: Option<Offset>,
    /// Written.
    acked: Option<Offset>,
    receipts: Vec<(Offset, Receipt)>,
}

/// What one connection has been given of its user's inbox. Locks are taken in the order feed, queue.
#[derive(Debug)]
pub struct InboxFeed(Mutex<Feed>);

impl Default for InboxFeed {
    fn default() -> Self {
        Self::new(Phase::Off, false, None)
    }
}

impl InboxFeed {
    fn new(phase: Phase, device: bool, asked: Option<Offset>) -> Self {
        Self(Mutex::new(Feed {
            phase,
            device,
            epoch: None,
            given: EntryId::START,
            heard: None,
            asked,
            opened: false,
            said_done: false,
            ack: None,
            acked: None,
            receipts: Vec::new(),
        }))
    }

    /// Of a device, which gets what it missed. `asked`: where it says that it is.
    #[must_use]
    pub fn of_device(asked: Option<Offset>) -> Self {
        Self::new(Phase::Waiting, true, asked)
    }

    /// Of a connection that gets what is stored from now on, and for which nothing is kept.
    #[must_use]
    pub fn passing() -> Self {
        Self::new(Phase::Waiting, false, None)
    }

    /// Whether a cursor is kept for the device.
    #[must_use]
    pub fn keeps_cursor(&self) -> bool {
        self.0.lock().device
    }

    /// The connection can be written to from now on. True: a replay has to begin now.
    #[must_use]
    pub fn open(&self) -> bool {
        let mut feed = self.0.lock();
        feed.phase == Phase::Waiting && feed.device && feed.replay()
    }

    /// Takes the news of a message. A receipt is settled when the frame is written, now or by the replay.
    #[must_use]
    pub fn notice(&self, notice: &StoredNotice, receipt: Option<Receipt>, queue: &OutboundQueue) -> Noticed {
        let mut feed = self.0.lock();
        let (offset, prev) = (notice.offset, notice.prev);
        if feed.phase == Phase::Waiting && !feed.device {
            if notice.frame.is_none() {
                return Noticed::Old;
            }
            (feed.phase, feed.epoch, feed.given) = (Phase::Live, Some(offset.epoch), prev);
        }
        match (feed.phase, &notice.frame) {
            (Phase::Off, None) => Noticed::Old,
            (Phase::Off, Some(frame)) => match queue.push(frame.clone(), receipt) {
                Ok(()) => Noticed::Queued,
                Err(refused) => Noticed::Closed(refused == Refused::Full),
            },
            (Phase::Waiting | Phase::Replaying, _) => {
                feed.hear(offset, receipt);
                Noticed::Later
            }
            (Phase::Live, _) if feed.epoch == Some(offset.epoch) && offset.id <= feed.given => Noticed::Old,
            (Phase::Live, Some(frame)) if feed.follows(offset, prev) => {
                match queue.offer(frame.clone(), receipt) {
                    Offered::Taken => {
                        (feed.epoch, feed.given) = (Some(offset.epoch), offset.id);
                        Noticed::Queued
                    }
                    Offered::Closed => Noticed::Closed(false),
                    Offered::NoRoom(receipt) => {
                        feed.replay();
                        feed.hear(offset, receipt);
                        Noticed::Replay
                    }
                }
            }
            (Phase::Live, _) => {
                feed.replay();
                feed.hear(offset, receipt);
                Noticed::Replay
            }
        }
    }

    /// The inbox's newest offset, read after the connection stood in the directory. True: a replay has to begin now.
    #[must_use]
    pub fn look(&self, last: Offset) -> bool {
        let mut feed = self.0.lock();
        match feed.phase {
            Phase::Off | Phase::Replaying => false,
            Phase::Waiting if feed.device => false,
            Phase::Waiting => {
                (feed.phase, feed.epoch, feed.given) = (Phase::Live, Some(last.epoch), last.id);
                false
            }
            Phase::Live if feed.epoch == Some(last.epoch) && last.id <= feed.given => false,
            Phase::Live => feed.replay(),
        }
    }

    /// What to read next. Whatever is heard from now on may be missing in the answer.
    #[must_use]
    pub fn wish(&self, queue: &OutboundQueue) -> PageWish {
        let mut feed = self.0.lock();
        feed.heard = None;
        let limits = queue.limits();
        let given = feed.given;
        PageWish {
            after: feed.epoch.map(|epoch| Offset { epoch, id: given }).or(feed.asked),
            from_cursor: feed.device && (!feed.opened || feed.epoch.is_none()),
            entries: (limits.messages / PAGE_SHARE).clamp(1, PAGE_ENTRIES),
            bytes: (limits.bytes / PAGE_SHARE).max(1),
        }
    }

    /// Queues what was read; `replayed` counts what was queued.
    #[must_use]
    pub fn take(&self, page: &Page, queue: &OutboundQueue, replayed: &mut Replayed) -> Progress {
        let mut feed = self.0.lock();
        match feed.take(page, queue, replayed) {
            Ok(progress) | Err(progress) => progress,
        }
    }

    /// A client acknowledges everything up to an offset. True: nothing was waiting to be written until now.
    ///
    /// # Errors
    /// [`WrongAck`]: it is not taken.
    pub fn acknowledge(&self, offset: Offset) -> Result<bool, WrongAck> {
        let mut feed = self.0.lock();
        if feed.phase == Phase::Off {
            return Err(WrongAck::Off);
        }
        if feed.epoch.is_some_and(|epoch| epoch != offset.epoch) {
            return Err(WrongAck::ForeignEpoch);
        }
        if is_behind(feed.acked, offset) || is_behind(feed.ack, offset) {
            return Ok(false);
        }
        Ok(feed.ack.replace(offset).is_none())
    }

    /// The acknowledgement to be written, if there is one.
    #[must_use]
    pub fn ack_to_write(&self) -> Option<Offset> {
        self.0.lock().ack
    }

    /// An acknowledgement was written. True: a newer one waits.
    #[must_use]
    pub fn ack_written(&self, offset: Offset) -> bool {
        let mut feed = self.0.lock();
        feed.acked = Some(offset);
        if feed.ack == Some(offset) {
            feed.ack = None;
        }
        feed.ack.is_some()
    }

    /// The connection has ended: nobody will be given anything.
    pub fn end(&self) {
        let receipts = {
            let mut feed = self.0.lock();
            feed.phase = Phase::Off;
            std::mem::take(&mut feed.receipts)
        };
        drop(receipts);
    }
}

/// Whether an acknowledgement says nothing beyond `known`.
fn is_behind(known: Option<Offset>, offset: Offset) -> bool {
    known.is_some_and(|known| known.epoch == offset.epoch && offset.id <= known.id)
}

impl Feed {
    fn replay(&mut self) -> bool {
        self.phase = Phase::Replaying;
        true
    }

    /// Whether a message comes right behind what was given.
    fn follows(&self, offset: Offset, prev: EntryId) -> bool {
        match self.epoch {
            Some(epoch) => epoch == offset.epoch && prev == self.given,
            // There was no inbox, and this is its first message.
            None => prev == EntryId::START,
        }
    }

    fn hear(&mut self, offset: Offset, receipt: Option<Receipt>) {
        let newer = self.heard.is_none_or(|heard| heard.epoch != offset.epoch || heard.id < offset.id);
        if newer {
            self.heard = Some(offset);
        }
        if let Some(receipt) = receipt
            && self.receipts.len() < RECEIPTS
        {
            self.receipts.push((offset, receipt));
        }
    }

    /// `Err` when it ends early.
    fn take(
        &mut self,
        page: &Page,
        queue: &OutboundQueue,
        replayed: &mut Replayed,
    ) -> Result<Progress, Progress> {
        if self.phase != Phase::Replaying {
            return Err(Progress::Closed);
        }
        match page.epoch {
            None => (self.epoch, self.given) = (None, EntryId::START),
            Some(epoch) => {
                if self.epoch != Some(epoch) {
                    let before = match self.epoch {
                        Some(former) => Some(Offset { epoch: former, id: self.given }),
                        None => self.asked.filter(|asked| asked.epoch != epoch),
                    };
                    if let Some(before) = before {
                        let now = Offset { epoch, id: page.start };
                        offer(queue, server_frame::resume_gap(before, now))?;
                        replayed.gaps += 1;
                    }
                }
                (self.epoch, self.given) = (Some(epoch), page.start);
            }
        }
        (self.asked, self.opened) = (None, true);
        if let Some(epoch) = page.epoch {
            self.take_entries(epoch, page, queue, replayed)?;
        }
        let caught_up =
            self.heard.is_none_or(|heard| Some(heard.epoch) == self.epoch && heard.id <= self.given);
        if page.more || !caught_up {
            return Ok(Progress::More);
        }
        let first = self.device && !self.said_done;
        if first {
            offer(queue, server_frame::resume_done())?;
            self.said_done = true;
        }
        self.phase = Phase::Live;
        self.receipts = Vec::new();
        Ok(Progress::CaughtUp(first))
    }

    fn take_entries(
        &mut self,
        epoch: InboxEpoch,
        page: &Page,
        queue: &OutboundQueue,
        replayed: &mut Replayed,
    ) -> Result<(), Progress> {
        // Up to where it is decided; `given` follows once the client is told.
        let mut at = self.given;
        for PageEntry { id, prev, frame } in &page.entries {
            if *id <= at {
                continue;
            }
            at = at.max(*prev);
            let Some(frame) = frame else {
                at = *id;
                continue;
            };
            self.pass(epoch, at, queue, replayed)?;
            let offset = Offset { epoch, id: *id };
            let waiting = self.receipts.iter().position(|(waiting, _)| *waiting == offset);
            let receipt = waiting.map(|place| self.receipts.swap_remove(place).1);
            match queue.offer(frame.clone(), receipt) {
                Offered::Taken => {}
                Offered::NoRoom(receipt) => {
                    self.receipts.extend(receipt.map(|receipt| (offset, receipt)));
                    return Err(Progress::NoRoom);
                }
                Offered::Closed => return Err(Progress::Closed),
            }
            replayed.messages += 1;
            at = *id;
            self.given = at;
        }
        if !page.more {
            at = at.max(page.last);
        }
        self.pass(epoch, at, queue, replayed)
    }

    /// Tells the client that what is between what it was given and `to` is lost, if there is anything.
    fn pass(
        &mut self,
        epoch: InboxEpoch,
        to: EntryId,
        queue: &OutboundQueue,
        replayed: &mut Replayed,
    ) -> Result<(), Progress> {
        if to > self.given {
            let from = Offset { epoch, id: self.given };
            offer(queue, server_frame::resume_gap(from, Offset { epoch, id: to }))?;
            replayed.gaps += 1;
            self.given = to;
        }
        Ok(())
    }
}

fn offer(queue: &OutboundQueue, frame: WireFrame) -> Result<(), Progress> {
    match queue.offer(frame, None) {
        Offered::Taken => Ok(()),
        Offered::NoRoom(_) => Err(Progress::NoRoom),
        Offered::Closed => Err(Progress::Closed),
    }
}
