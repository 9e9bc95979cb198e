//! Workers that hand envelopes of other nodes to routing, in order per subject.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::traced;
use crate::{
    identity::NodeInstance,
    protocol::{envelope::Envelope, trace_context::TraceContext},
    routing::ports::{Answer, Handling, Inbound},
};

/// Envelopes that may wait for one worker.
const QUEUE_ITEMS: usize = 16_384;
/// Payload bytes that may wait for one worker.
const QUEUE_BYTES: usize = 16 * 1024 * 1024;
/// Answers one worker may be waiting for before it takes no more envelopes.
const WAITING: usize = 4096;
/// More workers than this gain nothing: the reader that feeds them is one.
const MOST_SHARDS: usize = 8;
/// Envelopes handled before the sessions they were for get a turn. The more there are, the more frames a session writes
/// at once; so many take well below a millisecond.
const AT_ONCE: usize = 1024;

/// Where an answer goes.
pub(super) trait Reply: Send + 'static {
    /// Sends it; without blocking.
    fn send(self, answer: Answer);
}

/// An envelope for routing, with the way back if a report is wanted.
pub(super) struct Delivery<R> {
    pub(super) source: NodeInstance,
    pub(super) envelope: Envelope,
    pub(super) reply: Option<R>,
    /// The trace it belongs to.
    pub(super) trace: Option<TraceContext>,
}

struct Queue<R> {
    sender: mpsc::Sender<Delivery<R>>,
    bytes: Arc<AtomicUsize>,
}

/// The queues, by subject. What has no subject goes by its source.
pub(super) struct Shards<R> {
    queues: Vec<Queue<R>>,
}

/// The other end of one queue.
pub(super) struct ShardWorker<R> {
    receiver: mpsc::Receiver<Delivery<R>>,
    bytes: Arc<AtomicUsize>,
}

impl<R: Reply> Shards<R> {
    /// One worker per processor, at most 8.
    pub(super) fn new() -> (Self, Vec<ShardWorker<R>>) {
        let count = std::thread::available_parallelism().map_or(1, usize::from).min(MOST_SHARDS);
        let pairs = (0..count).map(|_| {
            let (sender, receiver) = mpsc::channel(QUEUE_ITEMS);
            let bytes = Arc::new(AtomicUsize::new(0));
            (Queue { sender, bytes: Arc::clone(&bytes) }, ShardWorker { receiver, bytes })
        });
        let (queues, workers) = pairs.unzip();
        (Self { queues }, workers)
    }

    /// Queues a delivery for the worker of its subject.
    ///
    /// # Errors
    /// The delivery itself, when that worker is behind or gone.
    pub(super) fn push(&self, delivery: Delivery<R>) -> Result<(), Box<Delivery<R>>> {
        let mut hasher = DefaultHasher::new();
        match &delivery.envelope.subject {
            Some(subject) => subject.hash(&mut hasher),
            None => delivery.source.hash(&mut hasher),
        }
        let place = usize::try_from(hasher.finish() % (self.queues.len() as u64)).unwrap_or(0);
        let queue = &self.queues[place];
        let length = delivery.envelope.payload.len();
        if queue.bytes.load(Ordering::Relaxed) + length > QUEUE_BYTES.max(length) {
            return Err(Box::new(delivery));
        }
        queue.bytes.fetch_add(length, Ordering::Relaxed);
        queue.sender.try_send(delivery).map_err(|refused| {
            queue.bytes.fetch_sub(length, Ordering::Relaxed);
            Box::new(refused.into_inner())
        })
    }
}

impl<R: Reply> ShardWorker<R> {
    /// Hands over one delivery after the other until told to stop. Answers that take time are awaited aside.
    pub(super) async fn run(mut self, inbound: Arc<dyn Inbound>, shutdown: CancellationToken) {
        let mut waiting: FuturesUnordered<BoxFuture<'static, ()>> = FuturesUnordered::new();
        let mut taken = Vec::new();
        loop {
            let room = WAITING.saturating_sub(waiting.len()).min(AT_ONCE);
            tokio::select! {
                () = shutdown.cancelled() => return,
                Some(()) = waiting.next(), if !waiting.is_empty() => {}
                count = self.receiver.recv_many(&mut taken, room), if room > 0 => {
                    if count == 0 {
                        return;
                    }
                    waiting.extend(taken.drain(..).filter_map(|delivery| self.handle(&*inbound, delivery)));
                }
            }
        }
    }

    /// Hands over one delivery; what is left to do when the answer takes time.
    fn handle(&self, inbound: &dyn Inbound, delivery: Delivery<R>) -> Option<BoxFuture<'static, ()>> {
        let Delivery { source, envelope, reply, trace } = delivery;
        self.bytes.fetch_sub(envelope.payload.len(), Ordering::Relaxed);
        let handling = match trace {
            None => inbound.handle(&source, envelope),
            Some(trace) => traced::handle(inbound, &source, envelope, &trace),
        };
        match (handling, reply) {
            (Handling::Done(answer), Some(reply)) => reply.send(answer),
            (Handling::Waiting(answer), reply) => {
                let answered = answer.map(|answer| {
                    if let (Some(answer), Some(reply)) = (answer, reply) {
                        reply.send(answer);
                    }
                });
                return Some(answered.boxed());
            }
            (Handling::Ignored | Handling::Done(_), _) => {}
        }
        None
    }
}
