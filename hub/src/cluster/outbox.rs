//! Everything on its way out of this node: a queue per channel, and who waits for which report.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Instant,
};

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use super::{
    BusCounters,
    batcher::{BatchLimits, Batcher, Queued},
    redis_link::CommandFailure,
    report_slab::{BatchKey, ReportSlabs},
};
use crate::{
    identity::{Incarnation, NodeId, NodeInstance},
    observe::current_trace,
    protocol::{
        envelope::{Envelope, Report},
        envelope_batch::{self, BatchHeader},
    },
    routing::ports::{Answer, BusError},
};

/// Where a batch goes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Channel {
    /// To one node, in whatever life it is.
    Node(NodeId),
    /// To every node.
    Broadcast,
}

/// The number a report carries: it stands for the life and the kind of channel that the reported batch came from. A
/// batch's sequence says neither, and the channel of a node outlives its lives. FNV-1a, 64 bits.
pub(super) fn return_address(incarnation: &Incarnation, broadcast: bool) -> u64 {
    let text = format!("{incarnation}{}", if broadcast { "/broadcast" } else { "/node" });
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// Who waits for what an envelope brings.
pub(super) enum Waiter {
    /// One report of one node.
    One(NodeInstance, oneshot::Sender<Result<Answer, BusError>>),
    /// Reports of several nodes.
    All(Collector),
}

/// The answers of many, collected until all are there or time is up.
pub(super) struct Collector {
    pub(super) own: NodeInstance,
    pub(super) missing: Vec<NodeInstance>,
    pub(super) answers: Vec<(NodeInstance, Answer)>,
    pub(super) done: oneshot::Sender<Result<Vec<(NodeInstance, Answer)>, BusError>>,
}

impl Waiter {
    /// Ends the wait with an error. Whoever waited may have gone; that is its business.
    pub(super) fn fail(self, error: impl FnOnce(NodeInstance) -> BusError) {
        match self {
            Self::One(target, done) => drop(done.send(Err(error(target)))),
            Self::All(Collector { own, done, .. }) => drop(done.send(Err(error(own)))),
        }
    }

    /// Time is up after the envelope was sent.
    fn time_out(self) {
        match self {
            Self::One(target, done) => drop(done.send(Err(BusError::NoReport(target)))),
            Self::All(Collector { answers, done, .. }) => drop(done.send(Ok(answers))),
        }
    }

    /// Takes a report; `true` when nothing more is wanted. One that began a new life in between still says what it did.
    /// Another process under the same node id says nothing of what the one before it did.
    fn take(&mut self, source: &NodeInstance, answer: Answer) -> bool {
        match self {
            Self::One(target, _) => target.is_same_process(source),
            Self::All(collector) => {
                let place = collector.missing.iter().position(|expected| expected.is_same_process(source));
                if let Some(place) = place {
                    collector.answers.push((collector.missing.swap_remove(place), answer));
                }
                collector.missing.is_empty()
            }
        }
    }

    fn finish(self, answer: Answer) {
        match self {
            Self::One(_, done) => drop(done.send(Ok(answer))),
            Self::All(Collector { answers, done, .. }) => drop(done.send(Ok(answers))),
        }
    }

    fn wants_nothing_more(&self) -> bool {
        matches!(self, Self::All(collector) if collector.missing.is_empty())
    }
}

struct Outlet {
    batcher: Batcher<Waiter>,
    /// Of the last batch taken.
    sequence: u64,
    scheduled: bool,
}

struct State {
    outlets: HashMap<Channel, Outlet>,
    ready: VecDeque<Channel>,
    slabs: ReportSlabs<Channel, Waiter>,
    /// When the timer will look next.
    armed: Option<Instant>,
    closed: bool,
}

/// A batch to publish.
pub(super) struct OutgoingBatch {
    pub(super) key: BatchKey<Channel>,
    pub(super) bytes: Bytes,
    pub(super) envelopes: usize,
}

/// Queues and waiters behind one lock, which is never held across an await.
pub(super) struct Outbox {
    state: Mutex<State>,
    limits: BatchLimits,
    counters: Arc<BusCounters>,
    ready: Notify,
    earlier: Notify,
}

impl Outbox {
    pub(super) fn new(limits: BatchLimits, counters: Arc<BusCounters>) -> Self {
        let state = State {
            outlets: HashMap::new(),
            ready: VecDeque::new(),
            slabs: ReportSlabs::new(),
            armed: None,
            closed: false,
        };
        Self { state: Mutex::new(state), limits, counters, ready: Notify::new(), earlier: Notify::new() }
    }

    /// Queues an envelope, for the trace that this task works for. A waiter is told by its own channel whatever happens;
    /// without one, `Err` says that the queue is full.
    pub(super) fn push(
        &self,
        channel: &Channel,
        envelope: Envelope,
        waiter: Option<(Instant, Waiter)>,
    ) -> Result<(), OutboxFull> {
        let refused = self.push_many(channel, std::iter::once((envelope, waiter)));
        if refused.is_empty() { Ok(()) } else { Err(OutboxFull) }
    }

    /// The same for many to one channel, in their order. Returns the places of those that are not queued.
    pub(super) fn push_many(
        &self,
        channel: &Channel,
        envelopes: impl Iterator<Item = (Envelope, Option<(Instant, Waiter)>)>,
    ) -> Vec<usize> {
        let mut refused = Vec::new();
        let trace = current_trace();
        let mut state = self.state.lock();
        let State { outlets, ready, armed, closed, .. } = &mut *state;
        if !outlets.contains_key(channel) {
            let batcher = Batcher::new(self.limits);
            outlets.insert(channel.clone(), Outlet { batcher, sequence: 0, scheduled: false });
        }
        let Some(outlet) = outlets.get_mut(channel) else { return Vec::new() };
        let (mut can_leave, mut earliest) = (false, None);
        for (place, (envelope, waiter)) in envelopes.enumerate() {
            let deadline = waiter.as_ref().map(|(deadline, _)| *deadline);
            let queued = Queued { envelope, waiter, trace };
            match if *closed { Err(Box::new(queued)) } else { outlet.batcher.push(queued) } {
                Ok(idle) => {
                    can_leave |= idle;
                    earliest = [earliest, deadline].into_iter().flatten().min();
                }
                Err(queued) => refused.push((place, queued)),
            }
        }
        if can_leave && !outlet.scheduled {
            outlet.scheduled = true;
            ready.push_back(channel.clone());
            self.ready.notify_one();
        }
        if earliest.is_some_and(|at| armed.is_none_or(|armed| at < armed)) {
            *armed = earliest;
            self.earlier.notify_one();
        }
        let closed = *closed;
        drop(state);
        if !closed {
            self.counters.dropped_outbound.add_len(refused.len());
        }
        let places = refused.into_iter().map(|(place, queued)| {
            if let Some((_, waiter)) = queued.waiter {
                waiter.fail(|target| match closed {
                    true => BusError::Unavailable("this node is shutting down".to_owned()),
                    false => BusError::Overloaded(target),
                });
            }
            place
        });
        places.collect()
    }

    /// Sequence of the last batch to a channel, 0 before the first.
    pub(super) fn sequence(&self, channel: &Channel) -> u64 {
        self.state.lock().outlets.get(channel).map_or(0, |outlet| outlet.sequence)
    }

    /// Returns when there may be a batch to take.
    pub(super) async fn readiness(&self) {
        self.ready.notified().await;
    }

    /// Takes the next batch of any channel that has none in flight. Its waiters are known before it is sent, because
    /// reports may overtake Redis's own answer.
    pub(super) fn next_batch(&self, source: &NodeInstance, now: Instant) -> Option<OutgoingBatch> {
        let mut state = self.state.lock();
        let State { outlets, ready, slabs, .. } = &mut *state;
        while let Some(channel) = ready.pop_front() {
            let Some(outlet) = outlets.get_mut(&channel) else { continue };
            outlet.scheduled = false;
            self.fail_expired(outlet.batcher.expire(now));
            let batch = outlet.batcher.take();
            if batch.is_empty() {
                continue;
            }
            outlet.sequence += 1;
            let header = BatchHeader { source: source.clone(), sequence: outlet.sequence };
            let mut bytes = BytesMut::new();
            header.encode(&mut bytes);
            let envelopes = batch.len();
            let mut traces = Vec::new();
            let slots: Vec<_> = (0u32..)
                .zip(batch)
                .map(|(place, queued)| {
                    traces.extend(queued.trace.map(|trace| (place, trace)));
                    envelope_batch::append(&queued.envelope, &mut bytes);
                    queued.waiter
                })
                .collect();
            envelope_batch::append_traces(&traces, &mut bytes);
            let key = BatchKey { channel, sequence: outlet.sequence };
            let address = return_address(&source.incarnation, key.channel == Channel::Broadcast);
            slabs.insert(key.clone(), address, slots);
            return Some(OutgoingBatch { key, bytes: bytes.freeze(), envelopes });
        }
        None
    }

    /// Says what became of a batch: how many heard it, or why it was not published.
    pub(super) fn landed(&self, batch: &OutgoingBatch, outcome: Result<u64, CommandFailure>) {
        let mut state = self.state.lock();
        let State { outlets, ready, slabs, .. } = &mut *state;
        if let Some(outlet) = outlets.get_mut(&batch.key.channel)
            && outlet.batcher.landed()
            && !outlet.scheduled
        {
            outlet.scheduled = true;
            ready.push_back(batch.key.channel.clone());
            self.ready.notify_one();
        }
        match outcome {
            Ok(0) => {
                let waiters = slabs.remove(&batch.key);
                drop(state);
                self.counters.no_receiver.add_len(batch.envelopes);
                for waiter in waiters {
                    match waiter {
                        Waiter::One(..) => waiter.fail(BusError::NodeGone),
                        Waiter::All(_) => waiter.time_out(),
                    }
                }
            }
            Ok(_) => {
                for waiter in slabs.extract(&batch.key, Waiter::wants_nothing_more) {
                    waiter.time_out();
                }
                self.counters.batches_sent.add(1);
                self.counters.envelopes_sent.add_len(batch.envelopes);
                self.counters.bytes_sent.add_len(batch.bytes.len());
            }
            // It may have left before the connection broke: reports may still come, by the other connection.
            Err(failure) => {
                let waiters = if failure.maybe_done {
                    slabs.extract(&batch.key, Waiter::wants_nothing_more)
                } else {
                    slabs.remove(&batch.key)
                };
                drop(state);
                self.counters.publish_errors.add_len(batch.envelopes);
                let why = failure.error.to_string();
                for waiter in waiters {
                    waiter.fail(|_| BusError::Unavailable(why.clone()));
                }
            }
        }
    }

    /// Gives a report to whoever waits for it. `address` is the number its envelope carries.
    pub(super) fn report(&self, source: &NodeInstance, address: u64, report: Report) {
        let answer = Answer { status: report.status, count: report.count };
        let mut state = self.state.lock();
        for channel in [Channel::Node(source.node.clone()), Channel::Broadcast] {
            let key = BatchKey { channel, sequence: report.batch };
            let taken =
                state.slabs.resolve(&key, report.index, address, |waiter| waiter.take(source, answer));
            if let Some(waiter) = taken {
                waiter.finish(answer);
                return;
            }
        }
    }

    /// Lets those go whose time is over; returns when to look again.
    pub(super) fn expire(&self, now: Instant) -> Option<Instant> {
        let mut state = self.state.lock();
        for waiter in state.slabs.expire(now) {
            self.counters.reports_missed.add(1);
            waiter.time_out();
        }
        for outlet in state.outlets.values_mut() {
            self.fail_expired(outlet.batcher.expire(now));
        }
        let queued = state.outlets.values().filter_map(|outlet| outlet.batcher.earliest()).min();
        state.armed = [queued, state.slabs.next_deadline()].into_iter().flatten().min();
        state.armed
    }

    /// Returns when a deadline was queued that is earlier than the one [`Outbox::expire`] gave.
    pub(super) async fn earlier_deadline(&self) {
        self.earlier.notified().await;
    }

    /// Refuses everything from now on and ends all waits.
    pub(super) fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        let outlets = std::mem::take(&mut state.outlets);
        let slabs = std::mem::replace(&mut state.slabs, ReportSlabs::new());
        state.ready.clear();
        drop(state);
        // Dropping the waiters tells those who wait that nobody will answer.
        drop((outlets, slabs));
    }

    /// These were never sent.
    fn fail_expired(&self, expired: Vec<Queued<Waiter>>) {
        for queued in expired {
            self.counters.expired_outbound.add(1);
            if let Some((_, waiter)) = queued.waiter {
                waiter.fail(BusError::Overloaded);
            }
        }
    }
}

/// The queue to a channel is full, or closed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct OutboxFull;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::envelope::ReportStatus;

    const NOT_HERE: Answer = Answer { status: ReportStatus::NotHere, count: 0 };

    fn node(text: &str) -> NodeInstance {
        text.parse().unwrap()
    }

    #[test]
    fn only_the_process_that_was_asked_answers_for_itself() {
        for (source, taken) in
            [("b#k.1", true), ("b#k.2", true), ("b#z.1", false), ("c#k.1", false), ("c#z.9", false)]
        {
            let (done, _) = oneshot::channel();
            let mut one = Waiter::One(node("b#k.1"), done);
            assert_eq!(one.take(&node(source), NOT_HERE), taken, "{source}");
            let (done, _) = oneshot::channel();
            let (own, missing) = (node("a#k.1"), vec![node("b#k.1")]);
            let mut all = Waiter::All(Collector { own, missing, answers: Vec::new(), done });
            assert_eq!(all.take(&node(source), NOT_HERE), taken, "{source} of all");
        }
    }

    #[test]
    fn a_restarted_process_leaves_open_what_the_one_before_it_did() {
        use crate::protocol::envelope::Kind;
        let outbox = Outbox::new(BatchLimits::default(), Arc::default());
        let (now, source) = (Instant::now(), node("a#k.1"));
        let (done, mut answer) = oneshot::channel();
        let envelope = Envelope {
            kind: Kind::Deliver,
            wants_report: true,
            patience: None,
            number: 1,
            subject: None,
            payload: Bytes::new(),
        };
        let deadline = now + std::time::Duration::from_secs(5);
        let waiter = Waiter::One(node("b#k.1"), done);
        outbox.push(&Channel::Node(node("b#k.1").node), envelope, Some((deadline, waiter))).unwrap();
        outbox.next_batch(&source, now).unwrap();
        let report = Report { batch: 1, index: 0, status: ReportStatus::NotHere, count: 0 };
        let address = return_address(&source.incarnation, false);
        outbox.report(&node("b#z.1"), address, report);
        assert!(answer.try_recv().is_err(), "nobody knows what b#k.1 did");
        outbox.expire(deadline);
        assert_eq!(answer.try_recv(), Ok(Err(BusError::NoReport(node("b#k.1")))));
    }
}
