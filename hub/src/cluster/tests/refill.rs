//! How long it takes until a Redis that came back empty knows every connection again.
//!
//! The nodes are real but for their sockets. 50,000 connections, the most for which cluster.md promises 5 s:
//! `cargo test --release -p wsc-hub --lib refill -- --ignored --nocapture`.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use futures::{StreamExt, stream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{redis_server::RedisServer, test_node::*};
use crate::{
    cluster::{ClusterParts, build},
    identity::{ClientId, ConnectionId},
    local::{connection::Connection, outbound_queue::QueueLimits},
    routing::{
        ports::{Inbound, NodeLoad},
        router::Router,
    },
};

const NODES: usize = 2;
/// The goal after Redis is back, wherever the machine has nothing else to do.
const GOAL: Duration = Duration::from_secs(5);

struct Node {
    router: Arc<Router>,
    _stop: tokio_util::sync::DropGuard,
}

fn node(redis: &RedisServer, number: usize) -> Node {
    let mut settings = settings(&format!("chat-{number}"), Some(redis.settings()));
    // The defaults: a lease that outlives the loss, so that what is written again is written under the same incarnation
    // after a restart that keeps its data, and under a new one after one that does not.
    (settings.heartbeat_interval, settings.lease) = (Duration::from_secs(10), Duration::from_secs(30));
    let ClusterParts { bus, directory, inbox, tasks, .. } = build(settings).unwrap();
    let router = router(bus, directory, inbox, None);
    let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
    let inbound = Arc::clone(&router) as Arc<dyn Inbound>;
    tasks.run(inbound, Arc::new(NodeLoad::default), &tracker, stop.clone());
    let (registering, stopped) = (Arc::clone(&router), stop.clone());
    tracker.spawn(async move { registering.registry().run(stopped).await });
    // A node has asserted its users when it has asserted its groups too.
    let (groups, stopped) = (Arc::clone(router.groups()), stop.clone());
    tracker.spawn(async move { groups.run(stopped).await });
    Node { router, _stop: stop.drop_guard() }
}

fn connection(number: usize) -> Arc<Connection> {
    Arc::new(Connection::new(
        ConnectionId::new(ulid::Ulid::generate()),
        user(&format!("user-{number}")),
        ClientId::new("phone").unwrap(),
        "10.1.2.3:45678".to_owned(),
        SystemTime::now(),
        QueueLimits { bytes: 1, messages: 1 },
    ))
}

/// Connections in Redis: each of these users has one. The rest of the keys are few.
async fn known(redis: &RedisServer) -> usize {
    redis.command::<usize>(&["DBSIZE"]).await
}

async fn refilled(connections: usize, lose: impl AsyncFnOnce(&mut RedisServer) -> Instant) -> Duration {
    let mut redis = RedisServer::start(&[]).await;
    let nodes: Vec<_> = (0..NODES).map(|number| node(&redis, number)).collect();
    for node in &nodes {
        let mut registration = node.router.registry_state();
        registration.wait_for(|now| now.registered).await.unwrap();
    }
    stream::iter(0..connections)
        .for_each_concurrent(256, |number| {
            let registry = nodes[number % NODES].router.registry();
            async move { registry.connect(&connection(number), false).await.unwrap() }
        })
        .await;
    assert!(known(&redis).await > connections);
    let since = lose(&mut redis).await;
    let deadline = since + Duration::from_secs(60);
    while known(&redis).await <= connections || unsettled(&nodes) > 0 {
        assert!(Instant::now() < deadline, "{} of {connections} after a minute", known(&redis).await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    since.elapsed()
}

fn unsettled(nodes: &[Node]) -> usize {
    nodes.iter().map(|node| node.router.registry().unsettled()).sum()
}

/// From when it listens again.
async fn restart(redis: &mut RedisServer) -> Instant {
    redis.kill();
    redis.start_again().await;
    Instant::now()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_thousand_connections_are_registered_again_soon_after_redis_came_back_empty() {
    let took = refilled(5_000, restart).await;
    eprintln!("5,000 connections after a restart: {took:?}");
    assert!(took < GOAL, "{took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement: 50,000 connections, a release build and a machine without other work"]
async fn fifty_thousand_connections_are_registered_again_within_five_seconds() {
    for connections in [10_000, 50_000] {
        let took = refilled(connections, restart).await;
        eprintln!("{connections} connections after a restart: {took:?}");
        assert!(took < GOAL, "{took:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement: 50,000 connections, a release build and a machine without other work"]
async fn fifty_thousand_connections_are_registered_again_after_a_flush() {
    for connections in [10_000, 50_000] {
        let took = refilled(connections, async |redis| {
            redis.command::<()>(&["FLUSHALL"]).await;
            Instant::now()
        })
        .await;
        // Nothing reads here, so the loss is noticed by the next heartbeat: up to 10 s more.
        eprintln!("{connections} connections after FLUSHALL: {took:?}");
        assert!(took < GOAL + Duration::from_secs(10), "{took:?}");
    }
}
