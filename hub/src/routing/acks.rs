//! Sends that wait until their receiver says that it has the message.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::{ports::Handling, router::Router};
use crate::{
    identity::{NodeInstance, UserId},
    protocol::{
        ack_token::AckToken,
        envelope::{Envelope, Kind},
    },
};

/// Longest question to the registry whether a node is there. Whoever waits is not told what became of a word.
const LOOK_UP: Duration = Duration::from_secs(2);

/// Sends of this process that wait for a client's word. As many as there are sends under way, which whoever accepts
/// them bounds.
#[derive(Debug, Default)]
pub(super) struct Acks {
    waiting: Mutex<HashMap<u64, Waiting>>,
    numbers: AtomicU64,
}

#[derive(Debug)]
struct Waiting {
    receiver: UserId,
    told: oneshot::Sender<()>,
}

impl Acks {
    /// From now on the word of `receiver` for the number of the answer counts.
    pub(super) fn expect(self: &Arc<Self>, receiver: &UserId) -> AwaitedAck {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let (told, heard) = oneshot::channel();
        self.waiting.lock().insert(number, Waiting { receiver: receiver.clone(), told });
        AwaitedAck { acks: Arc::clone(self), number, heard, came: false }
    }

    /// Takes the word of a user; false when nobody waits for it, or not for this user's.
    fn take(&self, user: &UserId, number: u64) -> bool {
        let mut waiting = self.waiting.lock();
        if waiting.get(&number).is_none_or(|waiting| waiting.receiver != *user) {
            return false;
        }
        waiting.remove(&number).is_some_and(|waiting| waiting.told.send(()).is_ok())
    }
}

/// One send's wait for its receiver's word. Dropping it ends the wait.
#[derive(Debug)]
pub(super) struct AwaitedAck {
    acks: Arc<Acks>,
    number: u64,
    heard: oneshot::Receiver<()>,
    came: bool,
}

impl AwaitedAck {
    /// What the client is to return.
    pub(super) fn token(&self, own: NodeInstance) -> AckToken {
        AckToken { number: self.number, source: own }
    }

    /// Whether the word has come by now.
    pub(super) fn came(&mut self) -> bool {
        self.came = self.came || self.heard.try_recv().is_ok();
        self.came
    }

    /// Waits for the word, at most so long.
    pub(super) async fn wait(&mut self, at_most: Duration) {
        if !self.came() {
            let heard = tokio::time::timeout(at_most, &mut self.heard).await;
            self.came = matches!(heard, Ok(Ok(())));
        }
    }
}

impl Drop for AwaitedAck {
    fn drop(&mut self) {
        self.acks.waiting.lock().remove(&self.number);
    }
}

impl Router {
    /// Takes the word of a client of this node, `user`, and brings it to where the send waits. A word that nobody
    /// waits for any more is as good as one that comes in time: the sender was told the truth of that moment.
    pub async fn acknowledge(&self, user: &UserId, token: &AckToken) {
        let own = self.own();
        if same_process(&own, &token.source) {
            self.acks.take(user, token.number);
            return;
        }
        let known =
            |nodes: &[NodeInstance]| nodes.iter().find(|node| same_process(node, &token.source)).cloned();
        // A client's text must not open a channel to a node that does not exist.
        let mut target = known(&self.last_known_nodes.lock());
        if target.is_none() {
            target = known(&self.other_nodes(LOOK_UP).await.0);
        }
        let Some(target) = target else { return };
        let envelope = Envelope {
            kind: Kind::Ack,
            wants_report: false,
            patience: None,
            number: token.number,
            subject: Some(user.clone()),
            payload: token.source.incarnation.start_id().to_owned().into(),
        };
        if let Err(error) = self.bus.post(&target, envelope) {
            tracing::debug!(%target, %error, "a client's ack was not passed on");
        }
    }

    pub(super) fn ack_heard(&self, envelope: &Envelope) -> Handling {
        // Another process had this node's name, and numbers of its own.
        let mine = envelope.payload == self.own().incarnation.start_id().as_bytes();
        if let Some(user) = envelope.subject.as_ref().filter(|_| mine) {
            self.acks.take(user, envelope.number);
        }
        Handling::Ignored
    }
}

/// Whether a node is named so, and is the process of that life.
fn same_process(node: &NodeInstance, life: &NodeInstance) -> bool {
    node.node == life.node && node.incarnation.start_id() == life.incarnation.start_id()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str) -> UserId {
        UserId::new(name).unwrap()
    }

    #[tokio::test]
    async fn only_the_receivers_word_counts_and_only_once() {
        let acks = Arc::new(Acks::default());
        let mut awaited = acks.expect(&user("alice"));
        assert!(!acks.take(&user("eve"), awaited.number), "somebody else's word");
        assert!(!acks.take(&user("alice"), awaited.number + 1), "another send");
        assert!(!awaited.came());
        assert!(acks.take(&user("alice"), awaited.number));
        assert!(!acks.take(&user("alice"), awaited.number));
        awaited.wait(Duration::ZERO).await;
        assert!(awaited.came() && awaited.came());
    }

    #[tokio::test]
    async fn a_send_that_waits_no_more_leaves_nothing_behind() {
        let acks = Arc::new(Acks::default());
        let mut awaited = acks.expect(&user("alice"));
        let number = awaited.number;
        awaited.wait(Duration::from_millis(1)).await;
        assert!(!awaited.came());
        drop(awaited);
        assert!(!acks.take(&user("alice"), number) && acks.waiting.lock().is_empty());
    }
}
