//! The rule of the feed, case by case, and under any order of stores, news, pages and ends of room.

use std::{collections::VecDeque, task::Context};

use futures::task::noop_waker_ref;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::Value;

use super::{
    delivery_tally::DeliveryTally,
    inbox_feed::{InboxFeed, Noticed, Progress, Replayed, WrongAck},
    inbox_page::{Page, PageEntry, PageWish},
    outbound_queue::{Offered, OutboundQueue, QueueLimits},
};
use crate::protocol::{
    close_reason::CloseReason,
    inbox_offset::{EntryId, InboxEpoch, Offset},
    stored_notice::{StoredNotice, with_offset},
    wire_frame::WireFrame,
};

/// An inbox as Redis keeps it.
struct Inbox {
    epoch: InboxEpoch,
    last: EntryId,
    cursor: EntryId,
    /// With whether its time is over.
    entries: Vec<(EntryId, EntryId, bool)>,
}

impl Inbox {
    fn new(epoch: u64) -> Self {
        let epoch = InboxEpoch::new(epoch).unwrap();
        Self { epoch, last: EntryId::START, cursor: EntryId::START, entries: Vec::new() }
    }

    fn store(&mut self) -> StoredNotice {
        let (prev, id) = (self.last, EntryId { ms: self.last.ms + 1, seq: 0 });
        self.last = id;
        self.entries.push((id, prev, false));
        let offset = Offset { epoch: self.epoch, id };
        StoredNotice { offset, prev, frame: with_offset(br#"{"n":1}"#, offset) }
    }

    fn page(&self, wish: PageWish) -> Page {
        let mut start = if wish.from_cursor { self.cursor } else { EntryId::START };
        if let Some(after) = wish.after.filter(|after| after.epoch == self.epoch) {
            start = start.max(after.id);
        }
        let start = start.min(self.last);
        let rest: Vec<_> = self.entries.iter().filter(|(id, ..)| *id > start).collect();
        let entry = |(id, prev, over): &&(EntryId, EntryId, bool)| {
            let offset = Offset { epoch: self.epoch, id: *id };
            let frame = if *over { None } else { with_offset(br#"{"n":1}"#, offset) };
            PageEntry { id: *id, prev: *prev, frame }
        };
        Page {
            epoch: Some(self.epoch),
            last: self.last,
            start,
            entries: rest.iter().take(wish.entries).map(entry).collect(),
            more: rest.len() > wish.entries,
        }
    }
}

fn queue(messages: usize) -> OutboundQueue {
    OutboundQueue::new(QueueLimits { bytes: 1 << 20, messages })
}

/// What the client sees: `+<ms>` for a message, `<from>..<to>` for a gap, `done`.
fn seen(queue: &OutboundQueue) -> Vec<String> {
    let mut taken = VecDeque::new();
    let mut cx = Context::from_waker(noop_waker_ref());
    let mut all = Vec::new();
    while queue.poll_take(&mut cx, &mut taken).is_ready() && !taken.is_empty() {
        for outbound in taken.drain(..) {
            let frame: Value = serde_json::from_slice(outbound.frame.bytes()).unwrap();
            if let Some(receipt) = outbound.receipt {
                receipt.written();
            }
            let short = |offset: &Value| {
                let offset: Offset = offset.as_str().unwrap().parse().unwrap();
                format!("{}:{}", offset.epoch, offset.id.ms)
            };
            all.push(match frame["message_type"].as_str() {
                Some("resume_gap") => {
                    format!("{}..{}", short(&frame["data"]["from"]), short(&frame["data"]["to"]))
                }
                Some("resume_done") => "done".to_owned(),
                _ => format!("+{}", short(&frame["offset"])),
            });
        }
    }
    all
}

/// One replay to its end, or to where there is no room.
fn replay(feed: &InboxFeed, inbox: &Inbox, queue: &OutboundQueue) -> Progress {
    loop {
        let page = inbox.page(feed.wish(queue));
        match feed.take(&page, queue, &mut Replayed::default()) {
            Progress::More => {}
            end => return end,
        }
    }
}

#[test]
fn a_device_gets_what_it_missed_then_what_comes() {
    let (mut inbox, queue) = (Inbox::new(1), queue(100));
    for _ in 0..3 {
        inbox.store();
    }
    inbox.cursor.ms = 1;
    let feed = InboxFeed::of_device(None);
    let early = inbox.store();
    assert_eq!(feed.notice(&early, None, &queue), Noticed::Later, "before the welcome nothing is sent");
    assert!(feed.open() && !feed.open());
    assert_eq!(replay(&feed, &inbox, &queue), Progress::CaughtUp(true));
    assert_eq!(seen(&queue), ["+1:2", "+1:3", "+1:4", "done"]);
    let next = inbox.store();
    assert_eq!(feed.notice(&next, None, &queue), Noticed::Queued);
    assert_eq!(feed.notice(&next, None, &queue), Noticed::Old);
    let _lost = inbox.store();
    assert_eq!(feed.notice(&inbox.store(), None, &queue), Noticed::Replay);
    assert_eq!(feed.notice(&inbox.store(), None, &queue), Noticed::Later);
    assert_eq!(replay(&feed, &inbox, &queue), Progress::CaughtUp(false));
    assert_eq!(seen(&queue), ["+1:5", "+1:6", "+1:7", "+1:8"]);
}

#[test]
fn the_first_message_of_an_inbox_needs_no_page() {
    let (mut inbox, queue) = (Inbox::new(1), queue(100));
    let feed = InboxFeed::of_device(None);
    assert!(feed.open());
    let progress = feed.take(&Page::of_nobody(), &queue, &mut Replayed::default());
    assert_eq!(progress, Progress::CaughtUp(true));
    assert_eq!(feed.notice(&inbox.store(), None, &queue), Noticed::Queued);
    assert_eq!(seen(&queue), ["done", "+1:1"]);
}

/// Where the client says that it is, up to where entries were trimmed, entries whose time is over, what it sees.
type Loss<'a> = (Option<Offset>, u64, &'a [u64], &'a [&'a str]);

#[test]
fn every_loss_is_told_once() {
    let offset = |text: &str| Some(text.parse::<Offset>().unwrap());
    let cases: [Loss<'_>; 7] = [
        (offset("1:2-0"), 0, &[], &["+1:3", "+1:4", "+1:5", "done"]),
        (offset("1:2-0"), 3, &[], &["1:2..1:3", "+1:4", "+1:5", "done"]),
        (offset("1:2-0"), 5, &[], &["1:2..1:5", "done"]),
        (offset("1:2-0"), 0, &[3, 4], &["1:2..1:4", "+1:5", "done"]),
        (offset("1:2-0"), 3, &[4, 5], &["1:2..1:5", "done"]),
        (offset("9:7-0"), 0, &[2], &["9:7..1:0", "+1:1", "1:1..1:2", "+1:3", "+1:4", "+1:5", "done"]),
        (offset("1:99-0"), 0, &[], &["done"]),
    ];
    for (asked, trimmed, over, expected) in cases {
        let (mut inbox, queue) = (Inbox::new(1), queue(100));
        for _ in 0..5 {
            inbox.store();
        }
        inbox.entries.retain(|(id, ..)| id.ms > trimmed);
        for (id, _, is_over) in &mut inbox.entries {
            *is_over = over.contains(&id.ms);
        }
        let feed = InboxFeed::of_device(asked);
        assert!(feed.open());
        assert_eq!(replay(&feed, &inbox, &queue), Progress::CaughtUp(true));
        assert_eq!(seen(&queue), expected, "{asked:?} {trimmed} {over:?}");
    }
}

#[test]
fn a_new_life_of_the_inbox_is_told_and_read_from_its_beginning() {
    let (mut inbox, queue) = (Inbox::new(1), queue(100));
    let feed = InboxFeed::of_device(None);
    inbox.store();
    assert!(feed.open());
    assert_eq!(replay(&feed, &inbox, &queue), Progress::CaughtUp(true));
    let mut inbox = Inbox::new(2);
    let first = inbox.store();
    assert_eq!(feed.notice(&first, None, &queue), Noticed::Replay);
    assert_eq!(replay(&feed, &inbox, &queue), Progress::CaughtUp(false));
    assert_eq!(seen(&queue), ["+1:1", "done", "1:1..2:0", "+2:1"]);
    assert!(!feed.look(first.offset) && feed.look(inbox.store().offset));
    assert_eq!(replay(&feed, &inbox, &queue), Progress::CaughtUp(false));
    assert_eq!(seen(&queue), ["+2:2"]);
}

#[test]
fn without_a_device_only_what_comes_is_sent_but_no_hole_stays() {
    let (mut inbox, queue) = (Inbox::new(1), queue(100));
    let feed = InboxFeed::passing();
    inbox.store();
    assert!(!feed.open());
    let nudge = StoredNotice { frame: None, ..inbox.store() };
    assert_eq!(feed.notice(&nudge, None, &queue), Noticed::Old);
    assert_eq!(feed.notice(&inbox.store(), None, &queue), Noticed::Queued);
    let _lost = inbox.store();
    assert_eq!(feed.notice(&inbox.store(), None, &queue), Noticed::Replay);
    assert_eq!(replay(&feed, &inbox, &queue), Progress::CaughtUp(false));
    assert_eq!(seen(&queue), ["+1:3", "+1:4", "+1:5"]);
}

#[test]
fn a_receipt_is_settled_when_the_replay_comes_to_its_message() {
    let (mut inbox, queue) = (Inbox::new(1), queue(100));
    let feed = InboxFeed::of_device(None);
    assert!(feed.open());
    let _ = feed.wish(&queue);
    let tally = DeliveryTally::new();
    assert_eq!(feed.notice(&inbox.store(), Some(tally.receipt()), &queue), Noticed::Later);
    let settled = tally.settled();
    assert_eq!(settled.open(), 1);
    assert_eq!(replay(&feed, &inbox, &queue), Progress::CaughtUp(true));
    assert_eq!(settled.written(), 0);
    seen(&queue);
    assert_eq!((settled.written(), settled.open()), (1, 0));
}

#[test]
fn a_queue_without_room_is_read_behind_not_closed() {
    let (mut inbox, queue) = (Inbox::new(1), queue(8));
    let feed = InboxFeed::of_device(None);
    assert!(feed.open());
    assert_eq!(replay(&feed, &inbox, &queue), Progress::CaughtUp(true));
    for n in 1..=20u64 {
        let expected = match n {
            1..=5 => Noticed::Queued,
            6 => Noticed::Replay,
            _ => Noticed::Later,
        };
        assert_eq!(feed.notice(&inbox.store(), None, &queue), expected, "{n}");
    }
    let mut all = Vec::new();
    while replay(&feed, &inbox, &queue) == Progress::NoRoom {
        all.extend(seen(&queue));
    }
    all.extend(seen(&queue));
    assert_eq!(all.len(), 21);
    assert_eq!(queue.closing(), None);
}

#[test]
fn acknowledgements_move_forward_and_are_taken_once() {
    let offset = |text: &str| text.parse::<Offset>().unwrap();
    assert_eq!(InboxFeed::default().acknowledge(offset("1:1-0")), Err(WrongAck::Off));
    let (mut inbox, queue) = (Inbox::new(1), queue(8));
    let feed = InboxFeed::of_device(None);
    inbox.store();
    assert!(feed.open());
    assert_eq!(replay(&feed, &inbox, &queue), Progress::CaughtUp(true));
    assert_eq!(feed.acknowledge(offset("2:1-0")), Err(WrongAck::ForeignEpoch));
    assert_eq!(feed.acknowledge(offset("1:2-0")), Ok(true));
    assert_eq!(feed.acknowledge(offset("1:10-0")), Ok(false), "one is waiting already");
    assert_eq!(feed.acknowledge(offset("1:9-0")), Ok(false));
    assert_eq!(feed.ack_to_write(), Some(offset("1:10-0")));
    assert!(!feed.ack_written(offset("1:10-0")));
    assert_eq!((feed.acknowledge(offset("1:10-0")), feed.ack_to_write()), (Ok(false), None));
}

#[test]
fn a_frame_that_may_wait_elsewhere_never_closes_a_queue() {
    let queue = OutboundQueue::new(QueueLimits { bytes: 100, messages: 100 });
    let mut cx = Context::from_waker(noop_waker_ref());
    let frame = |length: usize| WireFrame::new("x".repeat(length));
    assert!(matches!(queue.offer(frame(1000), None), Offered::Taken), "an empty queue takes any frame");
    assert!(matches!(queue.offer(frame(1), None), Offered::NoRoom(_)));
    assert!(queue.poll_room(false, &cx).is_pending());
    let mut taken = VecDeque::new();
    assert!(queue.poll_take(&mut cx, &mut taken).is_ready());
    assert!(matches!(queue.offer(frame(1), None), Offered::NoRoom(_)), "what is in hand counts");
    taken.clear();
    assert!(queue.poll_take(&mut cx, &mut taken).is_pending());
    assert!(matches!(queue.offer(frame(51), None), Offered::Taken));
    assert!(queue.poll_room(false, &cx).is_pending());
    queue.close(CloseReason::Restart);
    assert_eq!(queue.poll_room(false, &cx), std::task::Poll::Ready(false));
    assert!(matches!(queue.offer(frame(1), None), Offered::Closed));
}

/// Whatever is lost on the way and in whatever order: each message is sent once and in order, or told as a gap.
#[test]
fn any_order_of_events_gives_each_message_once_in_order_or_tells_of_its_loss() {
    for seed in 0..400 {
        let mut random = StdRng::seed_from_u64(seed);
        let (mut inbox, queue) = (Inbox::new(1), queue(random.random_range(1..12)));
        let feed = InboxFeed::of_device(None);
        assert!(feed.open());
        let (mut replaying, mut page, mut all) = (true, None, Vec::new());
        let mut under_way: Vec<StoredNotice> = Vec::new();
        for _ in 0..300 {
            match random.random_range(0..9) {
                0 | 1 => under_way.push(inbox.store()),
                2 if !under_way.is_empty() => {
                    let notice = under_way.swap_remove(random.random_range(0..under_way.len()));
                    let noticed = feed.notice(&notice, None, &queue);
                    assert!(noticed != Noticed::Replay || !replaying, "one replay at a time");
                    replaying |= noticed == Noticed::Replay;
                }
                3 if !under_way.is_empty() => drop(under_way.remove(0)),
                4 if replaying && page.is_none() => page = Some(inbox.page(feed.wish(&queue))),
                5 => {
                    if let Some(page) = page.take() {
                        let progress = feed.take(&page, &queue, &mut Replayed::default());
                        replaying = !matches!(progress, Progress::CaughtUp(_));
                    }
                }
                6 => all.extend(seen(&queue)),
                7 if random.random_bool(0.1) => {
                    let keep = random.random_range(0..=inbox.entries.len());
                    inbox.entries.drain(..inbox.entries.len() - keep);
                }
                8 if random.random_bool(0.1) && inbox.last > EntryId::START => {
                    replaying |= feed.look(Offset { epoch: inbox.epoch, id: inbox.last });
                }
                _ => {}
            }
        }
        // In the end an assertion looks, and there is room.
        drop(page);
        all.extend(seen(&queue));
        if inbox.last > EntryId::START {
            replaying |= feed.look(Offset { epoch: inbox.epoch, id: inbox.last });
        }
        while replaying {
            replaying = !matches!(replay(&feed, &inbox, &queue), Progress::CaughtUp(_));
            all.extend(seen(&queue));
        }
        let mut at = 0u64;
        for what in all.iter().filter(|what| *what != "done") {
            let number = |text: &str| text.rsplit(':').next().unwrap().parse::<u64>().unwrap();
            match what.split_once("..") {
                Some((from, to)) => {
                    assert!(number(from) == at && number(to) > at, "seed {seed}: {what} at {at}: {all:?}");
                    at = number(to);
                }
                None => {
                    assert_eq!(number(what), at + 1, "seed {seed}: {what} at {at}: {all:?}");
                    at += 1;
                }
            }
        }
        assert_eq!(at, inbox.last.ms, "seed {seed}: {all:?}");
        assert_eq!(all.iter().filter(|what| *what == "done").count(), 1, "seed {seed}");
    }
}
