//! What a message to a user of this node costs, from the library's call to the queues of the user's connections. The
//! queues are emptied by the measurement itself and what they held is thrown away: no socket and no Redis are in it.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a measurement that fails is to stop")]
#![expect(clippy::print_stdout, reason = "that is where criterion prints, too")]

use std::{
    collections::VecDeque,
    sync::{
        Arc, Barrier,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Waker},
    time::{Duration, Instant, SystemTime},
};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tokio::runtime::Runtime;
use wsc_hub::{
    app::Hub,
    identity::{ClientId, UserId},
    local::{connection::Connection, outbound_queue::QueueLimits},
    protocol::{
        message::{Message, SendOptions, Wait, parse_send},
        message_batch::BatchEntry,
        send_result::SendStatus,
    },
    session::edge::Edge,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Users, each with one connection.
const USERS: usize = 1000;
/// Messages between two times that the queues are emptied; and messages of one call with many.
const ROUND: usize = 1000;

/// A node that is alone, without listeners.
struct Node {
    hub: Hub,
    connections: Vec<Arc<Connection>>,
    message: Message,
    options: SendOptions,
    runtime: Runtime,
    /// Nanoseconds that senders were on a core, and what they sent in them.
    on_core: AtomicU64,
    sent: AtomicU64,
}

impl Node {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let settings = Hub::settings([("WSC_AUTH_MODE", "trusted"), ("WSC_NODE_ID", "bench")]).unwrap();
        let hub = runtime.block_on(Hub::builder(settings).without_listeners().start()).expect("a hub");
        let edge = hub.edge();
        let connections: Vec<_> = (0..USERS).map(|n| connection(edge, n)).collect();
        runtime.block_on(async {
            for connection in &connections {
                edge.router.registry().connect(connection, true).await.expect("a connection is registered");
            }
        });
        // 128 B with what the hub adds.
        let (message, _) = parse_send(br#"{"content":"xxxxxxxxx"}"#).unwrap();
        let options = SendOptions { wait: Wait::None, ..SendOptions::default() };
        let (on_core, sent) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { hub, connections, message, options, runtime, on_core, sent }
    }

    /// Time in which `threads` threads send `count` messages each, one per call or `ROUND` per call.
    fn send(&self, threads: usize, count: u64, many: bool) -> Duration {
        let before = time_on_core();
        let (ready, taken) = (Barrier::new(threads), AtomicU64::new(0));
        let took = std::thread::scope(|scope| {
            let run = |thread: usize| {
                let (ready, taken) = (&ready, &taken);
                scope.spawn(move || {
                    ready.wait();
                    let begin = Instant::now();
                    let mut hand = VecDeque::new();
                    let mut left = count;
                    // Threads send to the same users, but not at the same time to the same one.
                    let mut at = thread * USERS / threads;
                    while left > 0 {
                        let round = left.min(ROUND as u64);
                        self.runtime.block_on(self.round(at, round, many));
                        taken.fetch_add(self.drain(&mut hand), Ordering::Relaxed);
                        at += usize::try_from(round).unwrap();
                        left -= round;
                    }
                    begin.elapsed()
                })
            };
            let running: Vec<_> = (0..threads).map(run).collect();
            running.into_iter().map(|thread| thread.join().unwrap()).max().unwrap()
        });
        let on_core = u64::try_from((time_on_core() - before).as_nanos()).unwrap();
        self.on_core.fetch_add(on_core, Ordering::Relaxed);
        self.sent.fetch_add(count * threads as u64, Ordering::Relaxed);
        let left = self.drain(&mut VecDeque::new());
        assert_eq!(taken.into_inner() + left, count * threads as u64, "each message was queued once");
        took
    }

    async fn round(&self, at: usize, count: u64, many: bool) {
        let users = self.connections.iter().cycle().skip(at % USERS).map(|connection| &connection.user);
        let users = users.take(usize::try_from(count).unwrap());
        if many {
            let entry = |user: &UserId| BatchEntry {
                receiver: user.clone(),
                message: self.message.clone(),
                options: self.options,
            };
            let results = self.hub.send_many(users.map(entry).collect()).await;
            assert!(results.iter().all(|result| result.status == SendStatus::Accepted));
        } else {
            for user in users {
                let result = self.hub.send_to_user_with_retry(user, &self.message, &self.options).await;
                assert_eq!(result.status, SendStatus::Accepted);
            }
        }
    }

    /// Empties the queues and throws away what was in them; returns how many frames.
    fn drain(&self, hand: &mut VecDeque<wsc_hub::local::outbound_queue::Outbound>) -> u64 {
        let mut cx = Context::from_waker(Waker::noop());
        let mut frames = 0;
        for connection in &self.connections {
            while connection.queue.poll_take(&mut cx, hand).is_ready() {
                assert!(!hand.is_empty(), "a connection is closed");
                frames += hand.drain(..).count() as u64;
            }
        }
        frames
    }
}

/// Time that all threads of this process have been on a core. Unlike the clock, it hardly knows of other programs.
fn time_on_core() -> Duration {
    rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime).try_into().unwrap()
}

fn connection(edge: &Edge, n: usize) -> Arc<Connection> {
    let connection = Connection::new(
        edge.router.next_connection_id(),
        UserId::new(format!("user-{n}")).unwrap(),
        ClientId::new("phone").unwrap(),
        "127.0.0.1:1".into(),
        SystemTime::UNIX_EPOCH,
        QueueLimits { bytes: 1 << 20, messages: 1000 },
    );
    Arc::new(connection.within(Arc::clone(&edge.queue_budget)))
}

/// The aim is 7.2 million a second on all cores.
fn sends(criterion: &mut Criterion) {
    let node = Node::new();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut group = criterion.benchmark_group("same-node send, wait none, queues drained and discarded");
    for (many, calls) in [(false, "a call each"), (true, "1000 per call")] {
        for threads in [1, cores] {
            group.throughput(Throughput::Elements(threads as u64));
            group.bench_function(BenchmarkId::new(calls, format!("{threads} threads")), |bencher| {
                bencher.iter_custom(|count| node.send(threads, count, many));
            });
            let (on_core, sent) =
                (node.on_core.swap(0, Ordering::Relaxed), node.sent.swap(0, Ordering::Relaxed));
            if let Some(each) = on_core.checked_div(sent) {
                println!("core time per message: {each} ns");
            }
        }
    }
    group.finish();
}

criterion_group!(benches, sends);
criterion_main!(benches);
