//! The bounds of a queue, its closes, and who is woken when.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use futures::task::noop_waker_ref;

use super::{
    delivery_tally::DeliveryTally,
    outbound_queue::{OutboundQueue, QueueLimits, Refused, Taken},
    queue_budget::QueueBudget,
};
use crate::protocol::{close_reason::CloseReason, wire_frame::WireFrame};

fn queue(bytes: usize, messages: usize) -> OutboundQueue {
    OutboundQueue::new(QueueLimits { bytes, messages })
}

fn frame(length: usize) -> WireFrame {
    WireFrame::new("x".repeat(length))
}

fn take(queue: &OutboundQueue) -> (Poll<Taken>, usize) {
    let mut into = VecDeque::new();
    let taken = queue.poll_take(&mut Context::from_waker(noop_waker_ref()), &mut into);
    (taken, into.len())
}

#[test]
fn frames_come_out_before_the_close() {
    let queue = queue(100, 10);
    queue.push(frame(1), None).unwrap();
    assert!(queue.close_with(Some(frame(2)), CloseReason::Restart));
    assert!(!queue.close(CloseReason::Overloaded), "the first reason wins");
    assert_eq!(queue.push(frame(1), None), Err(Refused::Closed));
    assert_eq!(take(&queue), (Poll::Ready(Taken::Frames), 2));
    assert_eq!(take(&queue), (Poll::Ready(Taken::Close(CloseReason::Restart)), 0));
}

#[test]
fn a_close_is_seen_before_the_frames_that_wait() {
    let queue = queue(100, 10);
    let mut cx = Context::from_waker(noop_waker_ref());
    queue.push(frame(1), None).unwrap();
    assert_eq!((queue.poll_closing(&mut cx), queue.closing()), (Poll::Pending, None));
    queue.close(CloseReason::Restart);
    assert_eq!(queue.poll_closing(&mut cx), Poll::Ready(CloseReason::Restart));
    assert_eq!(queue.closing(), Some(CloseReason::Restart));
    assert_eq!(take(&queue), (Poll::Ready(Taken::Frames), 1));
}

#[test]
fn either_bound_closes_a_slow_reader_and_settles_what_waited() {
    for queue in [queue(10, 100), queue(1000, 2)] {
        let tally = DeliveryTally::new();
        queue.push(frame(5), Some(tally.receipt())).unwrap();
        queue.push(frame(5), Some(tally.receipt())).unwrap();
        assert_eq!(queue.push(frame(1), Some(tally.receipt())), Err(Refused::Full));
        assert_eq!(futures::FutureExt::now_or_never(tally.settled()), Some(0));
        assert_eq!((queue.dropped(), queue.depth()), (3, (0, 0)));
        assert_eq!(take(&queue), (Poll::Ready(Taken::Close(CloseReason::TooSlow)), 0));
    }
}

#[test]
fn what_the_session_has_in_hand_counts_until_it_asks_again() {
    let budget = QueueBudget::new(1000);
    let queue = queue(10, 100).within(Arc::clone(&budget));
    queue.push(frame(6), None).unwrap();
    assert_eq!(take(&queue), (Poll::Ready(Taken::Frames), 1));
    assert_eq!((queue.depth(), queue.held(), budget.bytes()), ((0, 0), 6, 6));
    queue.push(frame(4), None).unwrap();
    assert_eq!((budget.bytes(), budget.frames()), (10, 2));
    assert_eq!(take(&queue), (Poll::Ready(Taken::Frames), 1));
    assert_eq!((queue.held(), budget.bytes()), (4, 4));
    assert_eq!(take(&queue).0, Poll::Pending);
    assert_eq!((queue.held(), budget.bytes(), budget.frames()), (0, 0, 0));
    queue.push(frame(6), None).unwrap();
    assert_eq!(take(&queue).1, 1);
    assert_eq!(queue.push(frame(5), None), Err(Refused::Full), "six are not written yet");
    assert_eq!((queue.dropped(), budget.bytes()), (1, 0));
}

#[test]
fn every_end_of_a_queue_gives_the_budget_back() {
    let ends: [fn(OutboundQueue); 4] = [
        |queue| assert!(queue.close_dropping(CloseReason::QueueMemory)),
        |queue| queue.abandon(),
        |queue| drop(queue),
        |queue| {
            queue.close_with(Some(frame(3)), CloseReason::Restart);
            assert_eq!(take(&queue).1, 2);
        },
    ];
    for end in ends {
        let budget = QueueBudget::new(1000);
        let queue = queue(100, 10).within(Arc::clone(&budget));
        queue.push(frame(1), None).unwrap();
        assert_eq!(take(&queue).1, 1);
        queue.push(frame(2), None).unwrap();
        assert_eq!(budget.bytes(), 3);
        end(queue);
        assert_eq!((budget.bytes(), budget.frames()), (0, 0));
    }
}

#[test]
fn an_abandoned_queue_takes_nothing() {
    let queue = queue(100, 10);
    let tally = DeliveryTally::new();
    queue.push(frame(1), Some(tally.receipt())).unwrap();
    queue.abandon();
    assert_eq!(futures::FutureExt::now_or_never(tally.settled()), Some(0));
    assert_eq!(queue.push(frame(1), None), Err(Refused::Closed));
    assert_eq!(queue.depth(), (0, 0));
}

/// Counts how often it is woken.
#[derive(Default)]
struct Alarm(AtomicUsize);

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_nudge_wakes_the_session_also_when_it_is_about_to_wait() {
    let (queue, alarm) = (queue(100, 10), Arc::new(Alarm::default()));
    let waker = Waker::from(Arc::clone(&alarm));
    let mut cx = Context::from_waker(&waker);
    let woken = || alarm.0.load(Ordering::Relaxed);
    let mut into = VecDeque::new();

    queue.nudge();
    assert!(queue.poll_take(&mut cx, &mut into).is_pending());
    assert_eq!(woken(), 1, "it was at work");
    assert!(queue.poll_take(&mut cx, &mut into).is_pending());
    assert_eq!(woken(), 1, "once");
    queue.nudge();
    assert_eq!(woken(), 2, "it waited");
    assert!(queue.poll_closing(&mut cx).is_pending());
    assert_eq!(woken(), 2, "it has been told");
}
