//! Frames on their way to one client: bounded in bytes and in messages, closed when full.

use std::{
    collections::VecDeque,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use parking_lot::Mutex;

use super::{delivery_tally::Receipt, queue_budget::QueueBudget};
use crate::protocol::{close_reason::CloseReason, wire_frame::WireFrame};

/// How much may wait for one client, what its session has taken but not written included. A queue that would pass either bound is closed with
/// [`CloseReason::TooSlow`] and what waits in it is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueLimits {
    /// Payload bytes.
    pub bytes: usize,
    /// Frames.
    pub messages: usize,
}

/// A frame in a queue.
#[derive(Debug)]
pub struct Outbound {
    /// What to write.
    pub frame: WireFrame,
    /// Who wants to know that it was written.
    pub receipt: Option<Receipt>,
}

/// Why a frame was not queued. Its receipt was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The queue was full; the connection is now being closed.
    #[error("the queue is full")]
    Full,
    /// The connection is being closed.
    #[error("the connection is closing")]
    Closed,
}

/// What became of a frame that may wait elsewhere.
#[derive(Debug)]
pub enum Offered {
    /// Queued.
    Taken,
    /// Not now: wait for [`OutboundQueue::poll_room`]. The receipt comes back.
    NoRoom(Option<Receipt>),
    /// The connection is being closed. The receipt was dropped.
    Closed,
}

/// What the session got from [`OutboundQueue::poll_take`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// Frames were moved.
    Frames,
    /// Nothing is left; close the connection with this reason.
    Close(CloseReason),
}

#[derive(Debug, Default)]
struct State {
    frames: VecDeque<Outbound>,
    bytes: usize,
    /// Frames and bytes that the session took and has not come back from writing.
    in_hand: (usize, usize),
    closing: Option<CloseReason>,
    gone: bool,
    dropped: usize,
    waker: Option<Waker>,
    /// The session is to look around once more before it waits.
    nudged: bool,
    /// Of whoever waits for room, and whether only an empty queue will do.
    room: Option<(Waker, bool)>,
}

impl State {
    /// Empties the queue; the frames are to be dropped outside the lock, since their receipts wake other tasks.
    /// Returns also what is no longer to be counted, in frames and bytes: a session that is told to stop gives up at
    /// once what it has in hand.
    fn empty(&mut self) -> (VecDeque<Outbound>, (usize, usize)) {
        let frames = std::mem::take(&mut self.frames);
        let (in_hand, in_hand_bytes) = std::mem::take(&mut self.in_hand);
        let counted = (frames.len() + in_hand, std::mem::take(&mut self.bytes) + in_hand_bytes);
        (frames, counted)
    }

    fn close(&mut self, reason: CloseReason) -> Option<Waker> {
        self.closing = Some(reason);
        // A task of its own, which only has to learn that there is nothing to wait for.
        if let Some((room, _)) = self.room.take() {
            room.wake();
        }
        self.waker.take()
    }

    /// Frames and bytes that wait, those in hand included.
    fn held(&self) -> (usize, usize) {
        (self.frames.len() + self.in_hand.0, self.bytes.saturating_add(self.in_hand.1))
    }

    fn park(&mut self, cx: &Context<'_>) {
        if std::mem::take(&mut self.nudged) {
            cx.waker().wake_by_ref();
        }
        match &self.waker {
            Some(waker) if waker.will_wake(cx.waker()) => {}
            _ => self.waker = Some(cx.waker().clone()),
        }
    }
}

/// Frames on their way to one client. Any thread pushes; one session takes.
#[derive(Debug)]
pub struct OutboundQueue {
    limits: QueueLimits,
    budget: Option<Arc<QueueBudget>>,
    state: Mutex<State>,
}

impl OutboundQueue {
    /// An empty queue.
    #[must_use]
    pub fn new(limits: QueueLimits) -> Self {
        Self { limits, budget: None, state: Mutex::default() }
    }

    /// The same, counting against a budget. The queue must be empty.
    #[must_use]
    pub fn within(mut self, budget: Arc<QueueBudget>) -> Self {
        self.budget = Some(budget);
        self
    }

    fn release(&self, (frames, bytes): (usize, usize)) {
        if let Some(budget) = &self.budget {
            budget.release(frames, bytes);
        }
    }

    /// Queues a frame.
    ///
    /// # Errors
    /// [`Refused::Full`] closes the connection; [`Refused::Closed`] says that it already is.
    pub fn push(&self, frame: WireFrame, receipt: Option<Receipt>) -> Result<(), Refused> {
        let mut state = self.state.lock();
        if state.closing.is_some() || state.gone {
            return Err(Refused::Closed);
        }
        let bytes = state.bytes.saturating_add(frame.len());
        let (frames_in_hand, bytes_in_hand) = state.in_hand;
        let full = bytes.saturating_add(bytes_in_hand) > self.limits.bytes
            || state.frames.len() + frames_in_hand >= self.limits.messages;
        let (waker, dropped) = if full {
            let (dropped, counted) = state.empty();
            self.release(counted);
            state.dropped = dropped.len() + 1;
            (state.close(CloseReason::TooSlow), Some(dropped))
        } else {
            if let Some(budget) = &self.budget {
                budget.charge(frame.len());
            }
            state.bytes = bytes;
            state.frames.push_back(Outbound { frame, receipt });
            (state.waker.take(), None)
        };
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        // Receipts of dropped frames settle outside the lock: they wake other tasks.
        match dropped {
            Some(_) => Err(Refused::Full),
            None => Ok(()),
        }
    }

    /// Queues a frame if the queue is at most three quarters full with it, or empty: a frame that was kept elsewhere and
    /// can wait there fills no queue, so it is never what closes a connection.
    pub fn offer(&self, frame: WireFrame, receipt: Option<Receipt>) -> Offered {
        let mut state = self.state.lock();
        if state.closing.is_some() || state.gone {
            return Offered::Closed;
        }
        let (frames, bytes) = state.held();
        let fits = bytes.saturating_add(frame.len()) <= self.limits.bytes / 4 * 3
            && frames < (self.limits.messages / 4 * 3).max(1);
        if frames > 0 && !fits {
            return Offered::NoRoom(receipt);
        }
        if let Some(budget) = &self.budget {
            budget.charge(frame.len());
        }
        state.bytes = state.bytes.saturating_add(frame.len());
        state.frames.push_back(Outbound { frame, receipt });
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        Offered::Taken
    }

    /// Ready once the queue is at most half full, or `empty` if asked so, with true; or when the connection is being
    /// closed, with false. One task waits at a time.
    pub fn poll_room(&self, empty: bool, cx: &Context<'_>) -> Poll<bool> {
        let mut state = self.state.lock();
        if state.closing.is_some() || state.gone {
            return Poll::Ready(false);
        }
        if self.has_room(&state, empty) {
            return Poll::Ready(true);
        }
        state.room = Some((cx.waker().clone(), empty));
        Poll::Pending
    }

    fn has_room(&self, state: &State, empty: bool) -> bool {
        let (frames, bytes) = state.held();
        frames == 0 || (!empty && frames <= self.limits.messages / 2 && bytes <= self.limits.bytes / 2)
    }

    /// What may wait.
    #[must_use]
    pub fn limits(&self) -> QueueLimits {
        self.limits
    }

    /// Wakes the session though nothing was queued: there is something else for it to do.
    pub fn nudge(&self) {
        let mut state = self.state.lock();
        let waker = state.waker.take();
        // One that is at work may be past the place where it looks.
        state.nudged = waker.is_none();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Asks the session to close after what is queued now. The first reason wins; returns whether it was this one.
    pub fn close(&self, reason: CloseReason) -> bool {
        let mut state = self.state.lock();
        if state.closing.is_some() || state.gone {
            return false;
        }
        let waker = state.close(reason);
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        true
    }

    /// Closes at once: what waits is dropped. The first reason wins; returns whether it was this one.
    pub fn close_dropping(&self, reason: CloseReason) -> bool {
        let mut state = self.state.lock();
        if state.closing.is_some() || state.gone {
            return false;
        }
        let (dropped, counted) = state.empty();
        self.release(counted);
        state.dropped = dropped.len();
        let waker = state.close(reason);
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        true
    }

    /// Queues a last frame, if any, then closes, with no frame of others between. Returns whether the connection
    /// was open until now.
    pub fn close_with(&self, last: Option<WireFrame>, reason: CloseReason) -> bool {
        let mut state = self.state.lock();
        if state.closing.is_some() || state.gone {
            return false;
        }
        if let Some(frame) = last {
            if let Some(budget) = &self.budget {
                budget.charge(frame.len());
            }
            state.bytes = state.bytes.saturating_add(frame.len());
            state.frames.push_back(Outbound { frame, receipt: None });
        }
        let waker = state.close(reason);
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        true
    }

    /// Exchanges all queued frames for `into`, which is empty: its room is where the next frames wait. When there
    /// are none, says why to close, or waits. To ask again is to say that what was given before is written.
    pub fn poll_take(&self, cx: &mut Context<'_>, into: &mut VecDeque<Outbound>) -> Poll<Taken> {
        let mut state = self.state.lock();
        self.release(std::mem::take(&mut state.in_hand));
        if let Some((_, empty)) = state.room
            && self.has_room(&state, empty)
            && let Some((room, _)) = state.room.take()
        {
            room.wake();
        }
        if !state.frames.is_empty() {
            state.in_hand = (state.frames.len(), std::mem::take(&mut state.bytes));
            std::mem::swap(&mut state.frames, into);
            return Poll::Ready(Taken::Frames);
        }
        if let Some(reason) = &state.closing {
            return Poll::Ready(Taken::Close(reason.clone()));
        }
        state.park(cx);
        Poll::Pending
    }

    /// Why the queue is being closed, whatever still waits in it. A session whose socket takes nothing waits for
    /// this while it holds frames that were taken before.
    pub fn poll_closing(&self, cx: &mut Context<'_>) -> Poll<CloseReason> {
        let mut state = self.state.lock();
        if let Some(reason) = &state.closing {
            return Poll::Ready(reason.clone());
        }
        state.park(cx);
        Poll::Pending
    }

    /// Why the queue is being closed, if it is.
    #[must_use]
    pub fn closing(&self) -> Option<CloseReason> {
        self.state.lock().closing.clone()
    }

    /// The session has ended: nothing is taken any more, and what waits is dropped.
    pub fn abandon(&self) {
        let mut state = self.state.lock();
        state.gone = true;
        let (dropped, counted) = state.empty();
        self.release(counted);
        let room = state.room.take();
        drop(state);
        if let Some((room, _)) = room {
            room.wake();
        }
        drop(dropped);
    }

    /// Frames that were thrown away because a bound was passed, the one that passed the queue's own included.
    #[must_use]
    pub fn dropped(&self) -> usize {
        self.state.lock().dropped
    }

    /// Payload bytes that wait, those that the session has taken and not written included.
    #[must_use]
    pub fn held(&self) -> usize {
        let state = self.state.lock();
        state.bytes + state.in_hand.1
    }

    /// Frames and payload bytes that wait to be taken.
    #[must_use]
    pub fn depth(&self) -> (usize, usize) {
        let state = self.state.lock();
        (state.frames.len(), state.bytes)
    }
}

impl Drop for OutboundQueue {
    fn drop(&mut self) {
        let (_, counted) = self.state.get_mut().empty();
        self.release(counted);
    }
}
