//! Envelopes to other nodes, published over Redis.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::{
    key_space::KeySpace,
    outbox::{Channel, Collector, Outbox, OutgoingBatch, Waiter},
    redis_link::{CommandFailure, RedisLink},
    standing::Standing,
};
use crate::{
    identity::NodeInstance,
    protocol::envelope::Envelope,
    routing::ports::{Answer, BusError, ClusterBus, Letter},
};

/// The sending half of the bus.
pub(super) struct RedisBus {
    pub(super) link: Arc<RedisLink>,
    pub(super) keys: KeySpace,
    pub(super) standing: Arc<Standing>,
    pub(super) outbox: Arc<Outbox>,
}

impl RedisBus {
    /// Publishes what is queued until told to stop. One batch per channel is under way at a time, which keeps the order,
    /// and lets the next one collect.
    pub(super) async fn run_publisher(&self, shutdown: CancellationToken) {
        let mut under_way = FuturesUnordered::new();
        loop {
            let source = self.standing.instance();
            while let Some(batch) = self.outbox.next_batch(&source, Instant::now()) {
                under_way.push(self.publish(batch));
            }
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                Some((batch, outcome)) = under_way.next(), if !under_way.is_empty() => {
                    self.outbox.landed(&batch, outcome);
                }
                () = self.outbox.readiness() => {}
            }
        }
        self.outbox.close();
    }

    /// Ends waits whose time is over, until told to stop.
    pub(super) async fn run_timer(&self, shutdown: CancellationToken) {
        loop {
            let next = self.outbox.expire(Instant::now());
            let sleep = async {
                match next {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = sleep => {}
                () = self.outbox.earlier_deadline() => {}
            }
        }
    }

    async fn publish(&self, batch: OutgoingBatch) -> (OutgoingBatch, Result<u64, CommandFailure>) {
        let channel = match &batch.key.channel {
            Channel::Node(node) => self.keys.node_channel(node),
            Channel::Broadcast => self.keys.broadcast_channel(),
        };
        let outcome = self.link.publish(&channel, &batch.bytes).await;
        (batch, outcome)
    }

    /// Whether sending makes sense: without a lease the reports would be dropped by our own reader.
    fn usable(&self) -> Result<NodeInstance, BusError> {
        if let Some(error) = self.link.why_down() {
            return Err(BusError::Unavailable(error.to_string()));
        }
        self.standing
            .holds(Instant::now())
            .ok_or_else(|| BusError::Unavailable("other: this node is not registered".to_owned()))
    }
}

/// The error when nobody is left who could answer.
fn stopped() -> BusError {
    BusError::Unavailable("other: this node is shutting down".to_owned())
}

/// What is said of one of many envelopes.
enum ToCome {
    /// Nobody waits for its report.
    Posted(Result<Answer, BusError>),
    Report(oneshot::Receiver<Result<Answer, BusError>>),
}

impl ClusterBus for RedisBus {
    fn request(
        &self,
        target: &NodeInstance,
        mut envelope: Envelope,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<Answer, BusError>> {
        if let Err(error) = self.usable() {
            return futures::future::ready(Err(error)).boxed();
        }
        envelope.wants_report = true;
        let (done, answer) = oneshot::channel();
        let waiter = Waiter::One(target.clone(), done);
        let deadline = Instant::now() + timeout;
        // The waiter hears of a full queue itself.
        let _ = self.outbox.push(&Channel::Node(target.node.clone()), envelope, Some((deadline, waiter)));
        async move { answer.await.unwrap_or_else(|_| Err(stopped())) }.boxed()
    }

    fn post(&self, target: &NodeInstance, mut envelope: Envelope) -> Result<(), BusError> {
        self.usable()?;
        envelope.wants_report = false;
        self.outbox
            .push(&Channel::Node(target.node.clone()), envelope, None)
            .map_err(|_| BusError::Overloaded(target.clone()))
    }

    fn send_many(
        &self,
        target: &NodeInstance,
        letters: Vec<Letter>,
    ) -> BoxFuture<'static, Vec<Result<Answer, BusError>>> {
        if let Err(error) = self.usable() {
            return futures::future::ready(vec![Err(error); letters.len()]).boxed();
        }
        let now = Instant::now();
        let mut answers: Vec<ToCome> = Vec::with_capacity(letters.len());
        let envelopes = letters.into_iter().map(|Letter { envelope, timeout }| {
            let waiter = envelope.wants_report.then(|| {
                let (done, answer) = oneshot::channel();
                answers.push(ToCome::Report(answer));
                (now + timeout, Waiter::One(target.clone(), done))
            });
            if waiter.is_none() {
                answers.push(ToCome::Posted(Ok(Answer::posted())));
            }
            (envelope, waiter)
        });
        let refused = self.outbox.push_many(&Channel::Node(target.node.clone()), envelopes);
        for place in refused {
            // Whoever waits hears of it by the waiter.
            if let Some(answer @ ToCome::Posted(_)) = answers.get_mut(place) {
                *answer = ToCome::Posted(Err(BusError::Overloaded(target.clone())));
            }
        }
        async move {
            let mut told = Vec::with_capacity(answers.len());
            for answer in answers {
                told.push(match answer {
                    ToCome::Posted(answer) => answer,
                    ToCome::Report(answer) => answer.await.unwrap_or_else(|_| Err(stopped())),
                });
            }
            told
        }
        .boxed()
    }

    fn broadcast(
        &self,
        mut expected: Vec<NodeInstance>,
        mut envelope: Envelope,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<Vec<(NodeInstance, Answer)>, BusError>> {
        let own = match self.usable() {
            Ok(own) => own,
            Err(error) => return futures::future::ready(Err(error)).boxed(),
        };
        expected.retain(|instance| instance.node != own.node);
        envelope.wants_report = !expected.is_empty();
        if expected.is_empty() {
            // Nobody waits, so no time can run out before it is sent.
            let queued = self.outbox.push(&Channel::Broadcast, envelope, None);
            let queued = queued.map(|()| Vec::new()).map_err(|_| BusError::Overloaded(own));
            return futures::future::ready(queued).boxed();
        }
        let (done, answers) = oneshot::channel();
        let answered = Vec::with_capacity(expected.len());
        let waiter = Waiter::All(Collector { own, missing: expected, answers: answered, done });
        let deadline = Instant::now() + timeout;
        // As for a request.
        let _ = self.outbox.push(&Channel::Broadcast, envelope, Some((deadline, waiter)));
        async move { answers.await.unwrap_or_else(|_| Err(stopped())) }.boxed()
    }
}
