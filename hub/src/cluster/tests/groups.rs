//! Which nodes have members of a group, over a real Redis and in memory.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio_util::sync::CancellationToken;

use super::{
    redis_cluster::{TestRedis, over_every_redis},
    redis_server::RedisServer,
    test_node::*,
};
use crate::{
    cluster::MemoryCluster,
    identity::{ClientId, ConnectionId, GroupName, NodeInstance},
    local::{connection::Connection, memberships::JoinedBy, outbound_queue::QueueLimits},
    routing::{
        assertion::Assertion,
        group_registry::GroupRegistry,
        ports::{DirectoryError, GroupNodes},
    },
};

over_every_redis! {
    nodes_with_members_are_seen_by_all_and_an_empty_group_leaves_nothing,
    the_index_is_written_before_the_hash_and_removed_after_it,
    a_dead_nodes_members_vanish_with_its_lease_and_are_swept,
}

/// The nodes with members, whether or not there may be more.
async fn members(node: &TestNode, group: &GroupName) -> Result<Vec<NodeInstance>, DirectoryError> {
    node.directory.group_nodes(group).await.map(|nodes| nodes.instances)
}

fn group(name: &str) -> GroupName {
    GroupName::new(name).unwrap()
}

fn connection(name: &str) -> Arc<Connection> {
    Arc::new(Connection::new(
        ConnectionId::new(ulid::Ulid::generate()),
        user(name),
        ClientId::new("phone").unwrap(),
        String::new(),
        SystemTime::UNIX_EPOCH,
        QueueLimits { bytes: 1024, messages: 8 },
    ))
}

fn index(node: &TestNode) -> String {
    let instance = node.instance();
    format!("t:idx:{{{}}}:{}:groups", instance.node, instance.incarnation)
}

async fn nodes_with_members_are_seen_by_all_and_an_empty_group_leaves_nothing(redis: TestRedis) {
    let a = TestNode::registered(settings("chat-0", Some(redis.settings()))).await;
    let b = TestNode::registered(settings("chat-1", Some(redis.settings()))).await;
    let room = group("room-1");
    assert_eq!(members(&a, &room).await, Ok(Vec::new()));
    a.directory.set_members(&room, 3).await.unwrap();
    b.directory.set_members(&room, 1).await.unwrap();
    assert_eq!(members(&b, &room).await, Ok(vec![a.instance(), b.instance()]));

    let hash: HashMap<String, String> = redis.command(&["HGETALL", "t:{g:room-1}:nodes"]).await;
    assert_eq!(hash[&a.instance().to_string()], "3");
    let ver: u64 = hash["ver"].parse().unwrap();
    assert_eq!(redis.command::<Vec<String>>(&["SMEMBERS", &index(&a)]).await, ["room-1"]);
    a.directory.set_members(&room, 3).await.unwrap();
    let same: String = redis.command(&["HGET", "t:{g:room-1}:nodes", "ver"]).await;
    assert_eq!(same, ver.to_string(), "what is there already changes nothing");
    a.directory.set_members(&room, 4).await.unwrap();
    let newer: String = redis.command(&["HGET", "t:{g:room-1}:nodes", "ver"]).await;
    assert!(newer.parse::<u64>().unwrap() > ver);

    a.directory.set_members(&room, 0).await.unwrap();
    assert_eq!(members(&a, &room).await, Ok(vec![b.instance()]));
    b.directory.set_members(&room, 0).await.unwrap();
    b.directory.set_members(&room, 0).await.unwrap();
    for key in ["t:{g:room-1}:nodes", &index(&a), &index(&b)] {
        assert_eq!(redis.command::<u8>(&["EXISTS", key]).await, 0, "{key}");
    }
}

async fn the_index_is_written_before_the_hash_and_removed_after_it(redis: TestRedis) {
    let node = TestNode::registered(settings("chat-0", Some(redis.settings()))).await;
    // A key of another kind makes the script fail where a crash would have cut the write.
    redis.command::<()>(&["SET", "t:{g:room-1}:nodes", "x"]).await;
    let failed = node.directory.set_members(&group("room-1"), 1).await;
    assert!(matches!(failed, Err(DirectoryError::Unavailable(_))), "{failed:?}");
    let listed: Vec<String> = redis.command(&["SMEMBERS", &index(&node)]).await;
    assert_eq!(listed, ["room-1"], "only an index entry too many is left");
    redis.command::<()>(&["DEL", "t:{g:room-1}:nodes"]).await;
    node.directory.set_members(&group("room-1"), 1).await.unwrap();

    // The other way round: the index cannot be written, so it must not have gone before the hash.
    redis.command::<()>(&["DEL", &index(&node)]).await;
    redis.command::<()>(&["SET", &index(&node), "x"]).await;
    assert!(node.directory.set_members(&group("room-1"), 0).await.is_err());
    assert_eq!(redis.command::<u8>(&["EXISTS", "t:{g:room-1}:nodes"]).await, 0);
}

async fn a_dead_nodes_members_vanish_with_its_lease_and_are_swept(redis: TestRedis) {
    let a = TestNode::registered(settings("chat-0", Some(redis.settings()))).await;
    let b = TestNode::registered(settings("chat-1", Some(redis.settings()))).await;
    for n in 0..450 {
        b.directory.set_members(&group(&format!("room-{n}")), 1).await.unwrap();
    }
    // Somebody else's key under a group's name must not hold up the sweep.
    redis.command::<()>(&["SET", "t:{g:room-7}:nodes", "x"]).await;
    let shared = group("room-1");
    a.directory.set_members(&shared, 2).await.unwrap();
    b.kill();
    let killed = std::time::Instant::now();
    eventually("the dead node has no members", async || members(&a, &shared).await == Ok(vec![a.instance()]))
        .await;
    assert!(killed.elapsed() < LEASE + Duration::from_secs(5));
    eventually("the dead node is reaped", async || a.counters.reaped_nodes.get() == 1).await;
    let keys: Vec<String> = redis.command(&["KEYS", "t:*"]).await;
    assert!(keys.iter().all(|key| !key.contains("chat-1")), "{keys:?}");
    let groups: Vec<_> = keys.iter().filter(|key| key.contains("{g:")).collect();
    assert_eq!(groups.len(), 2, "the living node's group and the stranger's key: {groups:?}");
    let hash: HashMap<String, String> = redis.command(&["HGETALL", "t:{g:room-1}:nodes"]).await;
    assert_eq!((hash.len(), &hash[&a.instance().to_string()][..]), (2, "2"));
}

#[tokio::test]
async fn a_node_that_leaves_takes_its_groups_along() {
    let redis = RedisServer::start(&[]).await;
    let node = TestNode::registered(settings("chat-0", Some(redis.settings()))).await;
    for name in ["a", "b"] {
        node.directory.set_members(&group(name), 1).await.unwrap();
    }
    node.stop().await;
    let left: Vec<String> = redis.command(&["KEYS", "*"]).await;
    assert!(left.iter().all(|key| !key.contains("{g:") && !key.contains("chat-0")), "{left:?}");
}

#[tokio::test]
async fn joins_of_a_group_that_is_here_already_cost_no_command_and_numbers_follow() {
    let redis = RedisServer::start(&[]).await;
    let node = TestNode::registered(settings("chat-0", Some(redis.settings()))).await;
    let registry = Arc::new(GroupRegistry::new(
        Arc::clone(&node.directory),
        Arc::new(Assertion::new(Arc::clone(&node.directory))),
        8,
    ));
    let room = group("room-1");
    let first = connection("user-0");
    registry.join(&first, &room, JoinedBy::Grant).unwrap();
    assert!(!registry.is_settled(&room));
    registry.settle(&room).await.unwrap();
    assert!(registry.is_settled(&room));

    redis.command::<()>(&["CONFIG", "RESETSTAT"]).await;
    let crowd: Vec<_> = (1..300).map(|n| connection(&format!("user-{n}"))).collect();
    for member in &crowd {
        registry.join(member, &room, JoinedBy::Grant).unwrap();
        registry.settle(&room).await.unwrap();
    }
    for member in &crowd[..100] {
        registry.end(member).await;
    }
    let stats: String = redis.command(&["INFO", "commandstats"]).await;
    for write in ["cmdstat_sadd:", "cmdstat_srem:", "cmdstat_hdel:", "cmdstat_hget:"] {
        // The lease's owner set is written with each heartbeat.
        let calls = stats.lines().filter(|line| line.starts_with(write)).count();
        assert!(calls == 0 || write == "cmdstat_sadd:", "{write} was used:\n{stats}");
    }

    let stop = CancellationToken::new();
    let running = {
        let (registry, stop) = (Arc::clone(&registry), stop.clone());
        tokio::spawn(async move { registry.run(stop).await })
    };
    let field = node.instance().to_string();
    eventually("the number follows", async || {
        let number: String = redis.command(&["HGET", "t:{g:room-1}:nodes", &field]).await;
        number == "200"
    })
    .await;

    // What Redis loses comes back by itself, under the node's next life.
    redis.command::<()>(&["FLUSHALL"]).await;
    eventually("the group is there again", async || members(&node, &room).await == Ok(vec![node.instance()]))
        .await;
    assert!(field != node.instance().to_string(), "a lost lease ends an incarnation");

    for member in crowd[100..].iter().chain([&first]) {
        registry.end(member).await;
    }
    assert_eq!(redis.command::<u8>(&["EXISTS", "t:{g:room-1}:nodes"]).await, 0);
    assert_eq!(registry.unsettled(), 0);
    stop.cancel();
    running.await.unwrap();
}

#[tokio::test]
async fn what_redis_did_not_hear_is_written_when_it_is_back() {
    let redis = RedisServer::start(&[]).await;
    let mut long = settings("chat-0", Some(redis.settings()));
    long.lease = Duration::from_secs(60);
    let node = TestNode::registered(long).await;
    let registry = Arc::new(GroupRegistry::new(
        Arc::clone(&node.directory),
        Arc::new(Assertion::new(Arc::clone(&node.directory))),
        8,
    ));
    let stop = CancellationToken::new();
    let running = {
        let (registry, stop) = (Arc::clone(&registry), stop.clone());
        tokio::spawn(async move { registry.run(stop).await })
    };
    let (stays, goes) = (group("stays"), group("goes"));
    let (late, early) = (connection("late"), connection("early"));
    registry.join(&early, &goes, JoinedBy::Grant).unwrap();
    registry.settle(&goes).await.unwrap();
    redis.command::<()>(&["CLIENT", "PAUSE", "2600", "ALL"]).await;
    registry.join(&late, &stays, JoinedBy::Grant).unwrap();
    let (failed, ()) = tokio::join!(registry.settle(&stays), registry.end(&early));
    assert!(matches!(failed, Err(DirectoryError::Unavailable(_))), "{failed:?}");
    assert_eq!(registry.roster().count(&stays), 1, "here the member is a member all the same");
    eventually("redis knows", async || {
        members(&node, &stays).await == Ok(vec![node.instance()])
            && members(&node, &goes).await == Ok(Vec::new())
    })
    .await;
    eventually("nothing is owed", async || registry.unsettled() == 0).await;
    stop.cancel();
    running.await.unwrap();
}

#[tokio::test]
async fn nodes_that_share_a_memory_know_each_others_groups() {
    let cluster = MemoryCluster::default();
    let a = TestNode::run(cluster.join(settings("chat-0", None)).unwrap());
    let b = TestNode::run(cluster.join(settings("chat-1", None)).unwrap());
    let room = group("room-1");
    a.directory.set_members(&room, 1).await.unwrap();
    b.directory.set_members(&room, 2).await.unwrap();
    let (first, second) = (a.instance(), b.instance());
    assert_eq!(members(&a, &room).await, Ok(vec![first, second.clone()]));
    a.directory.set_members(&room, 0).await.unwrap();
    assert_eq!(members(&a, &room).await, Ok(vec![second]));
    b.stop().await;
    assert_eq!(members(&a, &room).await, Ok(Vec::new()));
}

#[tokio::test]
async fn under_a_marker_that_is_lost_there_may_be_more_members_than_are_named() {
    let redis = RedisServer::start(&[]).await;
    let a = TestNode::registered(settings("chat-0", Some(redis.settings()))).await;
    let b = TestNode::registered(settings("chat-1", Some(redis.settings()))).await;
    b.wait_whole().await;
    let room = group("room-1");
    b.directory.set_members(&room, 1).await.unwrap();
    let whole = GroupNodes { instances: vec![b.instance()], doubtful: false };
    assert_eq!(a.directory.group_nodes(&room).await, Ok(whole.clone()));
    redis.command::<()>(&["DEL", "t:{g:room-1}:nodes", "t:registry"]).await;
    let lost = GroupNodes { instances: Vec::new(), doubtful: true };
    assert_eq!(a.directory.group_nodes(&room).await, Ok(lost));
    a.wait_whole().await;
    b.directory.set_members(&room, 1).await.unwrap();
    assert_eq!(a.directory.group_nodes(&room).await, Ok(whole), "once all nodes wrote again");
}

#[tokio::test]
async fn of_many_users_nobody_is_said_to_be_nowhere_under_a_marker_that_is_lost() {
    let redis = RedisServer::start(&[]).await;
    let a = TestNode::registered(settings("chat-0", Some(redis.settings()))).await;
    let users = [user("alice"), user("bob")];
    a.connect(&users[0]).await;
    let doubts = async || {
        let presences = a.directory.locate_many(&users).await.unwrap();
        presences.iter().map(|p| (p.connections.len(), p.doubtful)).collect::<Vec<_>>()
    };
    assert_eq!(doubts().await, [(1, false), (0, false)]);
    for lost in ["t:registry", "t:{u:alice}:conn"] {
        a.wait_whole().await;
        redis.command::<()>(&["DEL", "t:registry", lost]).await;
        let alice = if lost == "t:registry" { (1, false) } else { (0, true) };
        assert_eq!(doubts().await, [alice, (0, true)], "without {lost}");
        assert!(a.directory.locate(&users[1]).await.is_err(), "as for one user");
    }
    // Whoever finds another marker than the expected one has no better knowledge.
    redis.command::<()>(&["SET", "t:registry", "other 1 -"]).await;
    assert_eq!(doubts().await[1], (0, true));
}
