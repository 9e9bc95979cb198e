//! One primary of a Redis Cluster loses its data.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{redis_cluster::RedisCluster, test_node::*};
use crate::{
    cluster::{ClusterParts, build},
    identity::{ClientId, ConnectionId, UserId},
    local::{connection::Connection, outbound_queue::QueueLimits},
    routing::{
        event_writer::EventWriter,
        ports::{Inbound, NodeLoad},
        router::Router,
    },
};

/// Enough for every shard to have some.
const USERS: usize = 60;

/// A node that writes its connections again by itself.
fn node(redis: &RedisCluster, name: &str, tracker: &TaskTracker, stop: &CancellationToken) -> Arc<Router> {
    let mut settings = settings(name, Some(redis.settings()));
    settings.events = true;
    let ClusterParts { bus, directory, inbox, events, tasks, .. } = build(settings).unwrap();
    let events = Arc::new(EventWriter::new(events));
    let router = router(bus, directory, inbox, Some(Arc::clone(&events)));
    let inbound = Arc::clone(&router) as Arc<dyn Inbound>;
    tasks.run(inbound, Arc::new(NodeLoad::default), tracker, stop.clone());
    let (registering, stopped) = (Arc::clone(&router), stop.clone());
    tracker.spawn(async move { registering.registry().run(stopped).await });
    // A node has asserted its users when it has asserted its groups too.
    let (groups, stopped) = (Arc::clone(router.groups()), stop.clone());
    tracker.spawn(async move { groups.run(stopped).await });
    let stopped = stop.clone();
    tracker.spawn(async move { events.run(stopped).await });
    router
}

async fn connect(router: &Arc<Router>, user: &UserId) -> Arc<Connection> {
    let id = ConnectionId::new(ulid::Ulid::generate());
    let (device, at) = (ClientId::new(id.to_string()).unwrap(), SystemTime::now());
    let limits = QueueLimits { bytes: 1, messages: 1 };
    let connection = Arc::new(Connection::new(id, user.clone(), device, String::new(), at, limits));
    router.registry().connect(&connection, true).await.unwrap();
    connection
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_that_is_flushed_is_filled_again_and_meanwhile_nobody_is_called_offline() {
    let redis = RedisCluster::start().await;
    let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
    let nodes = ["chat-0", "chat-1"].map(|name| node(&redis, name, &tracker, &stop));
    for node in &nodes {
        eventually("the registry is whole", async || node.locate(&user("nobody")).await.is_ok()).await;
    }
    let users: Vec<_> = (0..USERS).map(|n| user(&format!("user-{n}"))).collect();
    // Of each user's two connections one ends in the middle of it all, which is when another may be overlooked.
    let mut ending = Vec::new();
    for user in &users {
        ending.push(connect(&nodes[0], user).await);
        connect(&nodes[1], user).await;
    }
    // The shard of neither lease nor of the list of nodes, so that no life ends by it.
    let mut shards = [true; 3];
    for key in ["t:lease:{chat-0}", "t:lease:{chat-1}", "t:nodes"] {
        shards[redis.owner(key).await] = false;
    }
    let shard = shards.iter().position(|free| *free).unwrap_or(0);
    let mut there = Vec::new();
    for user in &users {
        if redis.owner(&format!("t:{{u:{user}}}:conn")).await == shard {
            there.push(user);
        }
    }
    assert!(there.len() > USERS / 12, "{} users are in the shard", there.len());

    redis.primaries[shard].command::<()>(&["FLUSHALL"]).await;
    let lost = Instant::now();
    let mut round = 0;
    let filled = async || {
        round += 1;
        for (asked, user) in nodes.iter().zip(there.iter().cycle().skip(round % USERS)) {
            // No answer is a true one too.
            if let Ok(location) = asked.locate(user).await {
                assert!(location.online, "{user} was called offline after {:?}", lost.elapsed());
            }
        }
        for (place, user) in there.iter().enumerate() {
            let hash = format!("t:{{u:{user}}}:conn");
            let fields: Vec<String> = redis.primaries[shard].command(&["HKEYS", &hash]).await;
            let expected = if place % 2 == 0 { 1 } else { 2 };
            if fields.iter().filter(|field| field.contains('/')).count() != expected {
                return false;
            }
        }
        true
    };
    let leave = async {
        for (connection, user) in ending.iter().zip(&users) {
            if there.iter().position(|lost| *lost == user).is_some_and(|place| place % 2 == 0) {
                nodes[0].registry().disconnect(connection).await;
            }
        }
    };
    let ((), ()) = tokio::join!(leave, eventually("the shard is filled again", filled));
    eventually("nobody is in doubt any more", async || nodes[0].locate(&user("nobody")).await.is_ok()).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let owner = redis.owner("t:{events}").await;
    let events: Vec<redis::Value> = redis.primaries[owner].command(&["XRANGE", "t:{events}", "-", "+"]).await;
    let told = format!("{events:?}");
    assert!(!told.contains("offline:"), "somebody was called offline: {told}");
    stop.cancel();
    tracker.close();
    tracker.wait().await;
}
