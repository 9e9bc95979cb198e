//! Hears the node's channel and the one for all, and hands on what came.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::{
    BusCounters,
    cluster_topology::ClusterTopology,
    ear::{Ear, Place},
    key_space::KeySpace,
    outbox::{Channel, Outbox, return_address},
    redis_address::RedisAddress,
    registry_error::RegistryError,
    shard_link::Target,
    shards::{Delivery, Reply, Shards},
    standing::{Standing, Subscription},
};
use crate::{
    identity::NodeInstance,
    protocol::{
        envelope::{Envelope, Kind, MalformedEnvelope, Report, ReportStatus},
        envelope_batch::Batch,
    },
    routing::ports::Answer,
};

/// Sources whose last sequence is remembered; beyond it all are forgotten, which only means gaps not counted.
const SOURCES: usize = 4096;
/// Between two lines in the log about bytes that are no batch.
const COMPLAINT_PAUSE: Duration = Duration::from_secs(60);

/// The hearing half of the bus.
pub(super) struct BusReader {
    pub(super) keys: KeySpace,
    pub(super) standing: Arc<Standing>,
    pub(super) outbox: Arc<Outbox>,
    pub(super) shards: Shards<RemoteReply>,
    pub(super) counters: Arc<BusCounters>,
    /// Between two probes to oneself.
    pub(super) probe_interval: Duration,
    /// How long a channel may bring no probe before it is taken for dead.
    pub(super) silence: Duration,
    pub(super) hearing: Mutex<Hearing>,
}

/// What is known of the subscriptions and of what came by them.
pub(super) struct Hearing {
    heard_node: Instant,
    heard_broadcast: Instant,
    sequences: HashMap<(NodeInstance, bool), u64>,
    complained: Option<Instant>,
    /// Of each ear.
    ears: Vec<Subscription>,
}

impl Hearing {
    /// Nothing was heard yet.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            heard_node: now,
            heard_broadcast: now,
            sequences: HashMap::new(),
            complained: None,
            ears: Vec::new(),
        }
    }
}

impl Hearing {
    /// Whether an ear hears the node's channel, and whether the one for all: a lone ear hears both.
    fn channels_of(&self, ear: usize) -> (bool, bool) {
        (ear == 0, ear == 1 || self.ears.len() < 2)
    }
}

impl BusReader {
    /// Keeps the subscriptions until told to stop: one connection for both channels, or in a Redis Cluster one for
    /// each, as their slots may be anywhere.
    pub(super) async fn run(
        self: Arc<Self>,
        address: Arc<RedisAddress>,
        topology: Option<Arc<ClusterTopology>>,
        shutdown: CancellationToken,
    ) {
        let node_channel = self.keys.node_channel(&self.standing.instance().node);
        let channels = [node_channel, self.keys.broadcast_channel()];
        let ear = |number, place, channels| Ear { address: Arc::clone(&address), place, channels, number };
        let ears: Vec<Ear> = match &topology {
            None => vec![ear(0, Place::Single(Target::only(&address)), channels.to_vec())],
            Some(topology) => (0..)
                .zip(channels)
                .map(|(number, channel)| ear(number, Place::Sharded(Arc::clone(topology)), vec![channel]))
                .collect(),
        };
        let why = RegistryError::Unreachable("no connection to redis was made yet".to_owned());
        self.hearing.lock().ears = vec![Subscription::Down(why); ears.len()];
        let hearing = futures::future::join_all(ears.iter().map(|ear| ear.run(&self, shutdown.clone())));
        tokio::join!(hearing, self.probe_regularly(&shutdown));
    }

    async fn probe_regularly(&self, shutdown: &CancellationToken) {
        let mut probes = tokio::time::interval(self.probe_interval);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = probes.tick() => self.probe(),
            }
        }
    }

    /// A subscription was built; its channels count as heard at `now`.
    pub(super) fn subscribed(&self, ear: usize, now: Instant) {
        self.counters.subscriptions.add(1);
        {
            let mut hearing = self.hearing.lock();
            let (node, broadcast) = hearing.channels_of(ear);
            if node {
                hearing.heard_node = now;
            }
            if broadcast {
                hearing.heard_broadcast = now;
            }
        }
        self.set_subscription(ear, Subscription::Up);
    }

    /// The node hears its channels when all ears do.
    pub(super) fn set_subscription(&self, ear: usize, state: Subscription) {
        let mut hearing = self.hearing.lock();
        if let Some(known) = hearing.ears.get_mut(ear) {
            *known = state;
        }
        let down = hearing.ears.iter().find(|ear| **ear != Subscription::Up);
        self.standing.set_subscription(down.cloned().unwrap_or(Subscription::Up));
    }

    /// When an ear is to be taken for dead unless it brings a sign of life.
    pub(super) fn silent_at(&self, ear: usize) -> Instant {
        let hearing = self.hearing.lock();
        let (node, broadcast) = hearing.channels_of(ear);
        let heard = match (node, broadcast) {
            (true, true) => hearing.heard_node.min(hearing.heard_broadcast),
            (true, false) => hearing.heard_node,
            (false, _) => hearing.heard_broadcast,
        };
        heard + self.silence
    }

    /// Takes a message of a channel. Never blocks.
    pub(super) fn hear(&self, channel: &[u8], payload: Vec<u8>) {
        let broadcast = channel == self.keys.broadcast_channel().as_bytes();
        self.take(Bytes::from(payload), broadcast, &mut self.hearing.lock());
    }

    /// Sends a sign of life to everyone and one to oneself.
    fn probe(&self) {
        let hello = |number| Envelope {
            kind: Kind::Hello,
            wants_report: false,
            patience: None,
            number,
            subject: None,
            payload: Bytes::new(),
        };
        // A full queue carries other signs of life.
        let _ = self.outbox.push(&Channel::Broadcast, hello(self.outbox.sequence(&Channel::Broadcast)), None);
        let _ = self.outbox.push(&Channel::Node(self.standing.instance().node), hello(0), None);
    }

    fn take(&self, bytes: Bytes, broadcast: bool, hearing: &mut Hearing) {
        let length = bytes.len();
        let batch = match Batch::decode(bytes) {
            Ok(batch) => batch,
            Err(error) => return self.complain(&error, length, hearing),
        };
        let now = Instant::now();
        let own = self.standing.instance();
        let source = batch.header.source;
        if source.node == own.node && source.incarnation.start_id() == own.incarnation.start_id() {
            if broadcast {
                hearing.heard_broadcast = now;
            } else {
                hearing.heard_node = now;
            }
            return;
        }
        // A process that was paused must not deliver what waited for it: others have counted it as dead.
        if self.standing.holds(now).is_none() {
            self.counters.dropped_unregistered.add(1);
            self.standing.note_missed();
            return;
        }
        self.counters.batches_received.add(1);
        self.counters.envelopes_received.add_len(batch.envelopes.len());
        self.counters.bytes_received.add_len(length);
        self.count_gap(&source, broadcast, batch.header.sequence, hearing);
        let mut traces = batch.traces.into_iter().peekable();
        for (index, envelope) in (0u32..).zip(batch.envelopes) {
            // Both rise.
            let trace = traces.next_if(|(place, _)| *place == index).map(|(_, trace)| trace);
            match envelope {
                None => self.counters.unknown_kinds.add(1),
                Some(envelope) if envelope.kind == Kind::Hello => {}
                Some(envelope) if envelope.kind == Kind::Report => match Report::decode(&envelope.payload) {
                    Ok(report) => self.outbox.report(&source, envelope.number, report),
                    Err(error) => self.complain(&error, length, hearing),
                },
                Some(envelope) => {
                    let reply = envelope.wants_report.then(|| RemoteReply {
                        outbox: Arc::clone(&self.outbox),
                        target: source.clone(),
                        broadcast,
                        batch: batch.header.sequence,
                        index,
                    });
                    self.deliver(Delivery { source: source.clone(), envelope, reply, trace });
                }
            }
        }
    }

    fn deliver(&self, delivery: Delivery<RemoteReply>) {
        if let Err(refused) = self.shards.push(delivery) {
            self.counters.dropped_inbound.add(1);
            if refused.envelope.kind == Kind::PresenceChanged {
                self.standing.note_missed();
            }
            if let Some(reply) = refused.reply {
                reply.send(Answer { status: ReportStatus::Overloaded, count: 0 });
            }
        }
    }

    fn count_gap(&self, source: &NodeInstance, broadcast: bool, sequence: u64, hearing: &mut Hearing) {
        if hearing.sequences.len() >= SOURCES {
            hearing.sequences.clear();
        }
        if let Some(last) = hearing.sequences.insert((source.clone(), broadcast), sequence) {
            let missed = sequence.saturating_sub(last.saturating_add(1));
            self.counters.gaps.add(missed);
            if missed > 0 {
                self.standing.note_missed();
            }
        }
    }

    fn complain(&self, error: &MalformedEnvelope, length: usize, hearing: &mut Hearing) {
        self.counters.malformed.add(1);
        if hearing.complained.is_none_or(|at| at.elapsed() >= COMPLAINT_PAUSE) {
            hearing.complained = Some(Instant::now());
            tracing::warn!(%error, length, "bytes on a channel are no batch, ignored; counted but not logged for a minute");
        }
    }
}

/// Sends an answer back over the bus.
pub(super) struct RemoteReply {
    outbox: Arc<Outbox>,
    target: NodeInstance,
    broadcast: bool,
    batch: u64,
    index: u32,
}

impl Reply for RemoteReply {
    fn send(self, answer: Answer) {
        let report =
            Report { batch: self.batch, index: self.index, status: answer.status, count: answer.count };
        let envelope = Envelope {
            kind: Kind::Report,
            wants_report: false,
            patience: None,
            number: return_address(&self.target.incarnation, self.broadcast),
            subject: None,
            payload: report.encode(),
        };
        // A report that finds the queue full is counted there; whoever waits for it is told that none came.
        let _ = self.outbox.push(&Channel::Node(self.target.node), envelope, None);
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;
    use crate::{
        cluster::batcher::BatchLimits,
        identity::UserId,
        protocol::envelope_batch::{BatchHeader, append},
    };

    const OWN: &str = "chat-0#k3x9.1";

    fn reader() -> (BusReader, Hearing) {
        let counters = Arc::new(BusCounters::default());
        let long_ago = Instant::now() - Duration::from_secs(9);
        let reader = BusReader {
            keys: KeySpace::new("t:"),
            standing: Arc::new(Standing::new(OWN.parse().unwrap(), Duration::from_millis(50))),
            outbox: Arc::new(Outbox::new(BatchLimits::default(), Arc::clone(&counters))),
            // Its workers are gone, so every delivery is refused.
            shards: Shards::new().0,
            counters,
            probe_interval: Duration::from_secs(1),
            silence: Duration::from_secs(1),
            hearing: Mutex::new(Hearing::new(long_ago)),
        };
        (reader, Hearing::new(long_ago))
    }

    fn batch(source: &str, sequence: u64, kind: Kind) -> Bytes {
        let mut out = BytesMut::new();
        BatchHeader { source: source.parse().unwrap(), sequence }.encode(&mut out);
        let subject = Some(UserId::new("alice").unwrap());
        append(
            &Envelope { kind, wants_report: true, patience: None, number: 1, subject, payload: Bytes::new() },
            &mut out,
        );
        out.freeze()
    }

    #[test]
    fn a_node_whose_lease_lapsed_drops_what_comes() {
        let (reader, mut hearing) = reader();
        reader.take(batch("chat-1#z.1", 1, Kind::Deliver), false, &mut hearing);
        assert_eq!(reader.counters.dropped_unregistered.get(), 1, "never registered");
        reader.standing.beat_worked(Instant::now(), true);
        reader.take(batch("chat-1#z.1", 2, Kind::Deliver), false, &mut hearing);
        assert_eq!(reader.counters.batches_received.get(), 1);
        reader.standing.beat_worked(Instant::now() - Duration::from_millis(50), false);
        reader.take(batch("chat-1#z.1", 3, Kind::Deliver), false, &mut hearing);
        assert_eq!(reader.counters.dropped_unregistered.get(), 2, "a resumed process");
        assert_eq!(reader.counters.batches_received.get(), 1);
    }

    #[test]
    fn missing_batches_are_counted_per_channel_and_life() {
        let (reader, mut hearing) = reader();
        reader.standing.beat_worked(Instant::now() + Duration::from_secs(9), true);
        for (source, sequence, broadcast, gaps) in [
            ("chat-1#z.1", 5, false, 0),
            ("chat-1#z.1", 6, false, 0),
            ("chat-1#z.1", 1, true, 0),
            ("chat-1#z.1", 9, false, 2),
            ("chat-1#z.2", 3, false, 2),
            ("chat-1#z.1", 3, true, 3),
            ("chat-1#z.1", 2, true, 3),
        ] {
            reader.take(batch(source, sequence, Kind::Hello), broadcast, &mut hearing);
            assert_eq!(reader.counters.gaps.get(), gaps, "{source} {sequence}");
        }
    }

    #[test]
    fn the_own_copy_is_a_sign_of_life_in_any_of_ones_lives_and_nothing_else() {
        let (reader, mut hearing) = reader();
        let before = hearing.heard_node;
        reader.take(batch("chat-0#k3x9.7", 1, Kind::Broadcast), true, &mut hearing);
        assert!(hearing.heard_broadcast > before && hearing.heard_node == before);
        reader.take(batch(OWN, 1, Kind::Hello), false, &mut hearing);
        assert!(hearing.heard_node > before);
        assert_eq!(
            (reader.counters.batches_received.get(), reader.counters.dropped_unregistered.get()),
            (0, 0)
        );
        reader.take(batch("chat-0#other.1", 1, Kind::Broadcast), true, &mut hearing);
        assert_eq!(reader.counters.dropped_unregistered.get(), 1, "another process of the same id");
    }

    #[test]
    fn each_ear_is_silent_by_its_own_channels_and_one_that_is_down_makes_the_node_deaf() {
        let (reader, _) = reader();
        let down = Subscription::Down(RegistryError::Other("x".to_owned()));
        let state = reader.standing.subscription();
        reader.hearing.lock().ears = vec![down.clone(); 2];
        let before = reader.silent_at(0);
        reader.subscribed(1, Instant::now());
        assert!(reader.silent_at(0) == before && reader.silent_at(1) > before);
        assert_eq!(*state.borrow(), down);
        reader.subscribed(0, Instant::now());
        assert!(reader.silent_at(0) > before);
        assert_eq!(*state.borrow(), Subscription::Up);
        reader.set_subscription(1, down.clone());
        assert_eq!(*state.borrow(), down);
        // A lone ear hears both, so the channel that was heard less lately counts.
        reader.hearing.lock().ears = vec![Subscription::Up];
        let both = reader.silent_at(0);
        reader.hear(b"t:node:{chat-0}", batch(OWN, 1, Kind::Hello).to_vec());
        assert!(reader.silent_at(0) == both || reader.silent_at(0) > both);
        reader.hear(b"t:broadcast", batch(OWN, 1, Kind::Hello).to_vec());
        assert!(reader.silent_at(0) > both);
    }

    #[test]
    fn an_envelope_that_finds_no_room_is_reported_as_overloaded() {
        let (reader, mut hearing) = reader();
        reader.standing.beat_worked(Instant::now() + Duration::from_secs(9), true);
        reader.take(batch("chat-1#z.1", 4, Kind::Deliver), true, &mut hearing);
        assert_eq!(reader.counters.dropped_inbound.get(), 1);
        let own: NodeInstance = OWN.parse().unwrap();
        let out = reader.outbox.next_batch(&own, Instant::now()).unwrap();
        let report = Batch::decode(out.bytes).unwrap().envelopes.remove(0).unwrap();
        assert_eq!(report.number, return_address(&"z.1".parse().unwrap(), true));
        let expected = Report { batch: 4, index: 0, status: ReportStatus::Overloaded, count: 0 };
        assert_eq!(Report::decode(&report.payload), Ok(expected));
    }
}
