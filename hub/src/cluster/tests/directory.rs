//! Who is where, over a real Redis.

use std::{collections::HashMap, time::Duration};

use super::{
    redis_cluster::{TestRedis, over_every_redis},
    redis_server::RedisServer,
    test_node::*,
};
use crate::{
    identity::ClientId,
    routing::ports::{ConnectionRecord, DirectoryError},
};

over_every_redis! {
    two_nodes_see_each_other_and_each_others_users,
    the_hash_holds_what_the_contract_says,
    a_banned_user_is_refused_and_nothing_is_written,
    a_dead_nodes_users_vanish_with_its_lease_and_are_reaped,
}

async fn two_nodes_see_each_other_and_each_others_users(redis: TestRedis) {
    let a = TestNode::registered(settings("chat-0", Some(redis.settings()))).await;
    let b = TestNode::registered(settings("chat-1", Some(redis.settings()))).await;
    let nodes = a.directory.nodes().await.unwrap();
    assert_eq!(nodes.iter().map(|n| n.id.as_str()).collect::<Vec<_>>(), ["chat-0", "chat-1"]);
    assert_eq!((nodes[1].connections, nodes[1].port, nodes[1].zone.as_str()), (7, 8080, "z1"));
    assert_eq!(nodes[1].incarnation, b.instance().incarnation);

    let alice = user("alice");
    assert!(b.directory.locate(&alice).await.unwrap().connections.is_empty());
    let (first, presence) = a.connect(&alice).await;
    assert_eq!(presence.connections.len(), 1);
    let seen = b.directory.locate(&alice).await.unwrap();
    assert_eq!(seen, presence);
    assert_eq!(seen.connections[0].instance, a.instance());
    assert_eq!(seen.connections[0].record.connection, first);
    assert_eq!(seen.connections[0].record.client.as_str(), first.to_string(), "no device of its own");

    let (second, both) = b.connect(&alice).await;
    assert!(both.ver > presence.ver);
    let order: Vec<_> = both.connections.iter().map(|c| c.record.connection).collect();
    assert_eq!(order, [first, second], "oldest first");

    a.directory.disconnect(&alice, first, None).await.unwrap();
    let left = a.directory.locate(&alice).await.unwrap();
    assert!(left.ver > both.ver);
    assert_eq!(left.connections.len(), 1);
    b.directory.disconnect(&alice, second, None).await.unwrap();
    assert!(b.directory.locate(&alice).await.unwrap().connections.is_empty());
    assert_eq!(redis.command::<u8>(&["EXISTS", "t:{u:alice}:conn"]).await, 0, "an empty hash is deleted");
    let index = format!("t:idx:{{chat-1}}:{}:users", b.instance().incarnation);
    assert_eq!(redis.command::<u8>(&["EXISTS", &index]).await, 0);
}

async fn the_hash_holds_what_the_contract_says(redis: TestRedis) {
    let node = TestNode::registered(settings("chat-0", Some(redis.settings()))).await;
    let alice = user("alice");
    let record = ConnectionRecord { client: ClientId::new("phone").unwrap(), ..record(&alice) };
    let written = node.directory.connect(record.clone()).await.unwrap();
    let hash: HashMap<String, String> = redis.command(&["HGETALL", "t:{u:alice}:conn"]).await;
    let field = format!("{}/{}", node.instance(), record.connection);
    let expected =
        r#"{"seq":1,"connected_at":1732356000123,"client_id":"phone","remote_address":"127.0.0.1:4711"}"#;
    assert_eq!(hash[&field], expected);
    assert_eq!(hash["seq"], "1");
    let now_us = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_micros();
    let ver: u128 = hash["ver"].parse().unwrap();
    assert!(ver <= now_us && ver > now_us - 60_000_000, "ver is a time in us: {ver}");
    let index = format!("t:idx:{{chat-0}}:{}:users", node.instance().incarnation);
    assert_eq!(redis.command::<Vec<String>>(&["SMEMBERS", &index]).await, ["alice"]);

    // Again, and after a loss: nothing changes, or what was lost is healed.
    assert!(written.changed);
    let written = written.presence;
    let again = node.directory.connect(record.clone()).await.unwrap();
    assert_eq!((&again.presence, again.changed), (&written, false));
    redis.command::<()>(&["DEL", "t:{u:alice}:conn"]).await;
    let healed = node.directory.connect(record).await.unwrap().presence;
    assert_eq!(healed.connections, written.connections);
    assert!(healed.ver > written.ver);
}

async fn a_banned_user_is_refused_and_nothing_is_written(redis: TestRedis) {
    let node = TestNode::registered(settings("chat-0", Some(redis.settings()))).await;
    let ban = r#"{"until":1732356000000,"reason":"spam"}"#;
    redis.command::<()>(&["SET", "t:{u:alice}:ban", ban, "PX", "60000"]).await;
    let refused = node.directory.connect(record(&user("alice"))).await.unwrap_err();
    let until = std::time::UNIX_EPOCH + Duration::from_millis(1_732_356_000_000);
    assert_eq!(refused, DirectoryError::Banned { until, reason: "spam".to_owned() });
    assert_eq!(redis.command::<u8>(&["EXISTS", "t:{u:alice}:conn"]).await, 0);
}

async fn a_dead_nodes_users_vanish_with_its_lease_and_are_reaped(redis: TestRedis) {
    let a = TestNode::registered(settings("chat-0", Some(redis.settings()))).await;
    let b = TestNode::registered(settings("chat-1", Some(redis.settings()))).await;
    let users: Vec<_> = (0..450).map(|n| user(&format!("user-{n}"))).collect();
    for user in &users {
        b.connect(user).await;
    }
    a.connect(&users[0]).await;
    let dead = b.instance();
    b.kill();
    let killed = std::time::Instant::now();
    eventually("the dead node's users are nowhere", async || {
        let found = a.directory.locate(&users[1]).await.unwrap();
        found.connections.is_empty()
    })
    .await;
    assert!(killed.elapsed() < LEASE + Duration::from_secs(5));
    assert_eq!(a.directory.locate(&users[0]).await.unwrap().connections.len(), 1);
    eventually("the dead node is reaped", async || a.counters.reaped_nodes.get() == 1).await;
    assert_eq!(a.counters.reaped_users.get(), 450);
    let keys: Vec<String> = redis.command(&["KEYS", "t:*"]).await;
    assert!(keys.iter().all(|key| !key.contains("chat-1")), "{keys:?}");
    assert_eq!(keys.iter().filter(|key| key.ends_with(":conn")).count(), 1, "{keys:?}");
    let members: Vec<String> = redis.command(&["SMEMBERS", "t:nodes"]).await;
    assert!(!members.contains(&dead.to_string()));
}

#[tokio::test]
async fn a_node_that_leaves_takes_its_entries_along() {
    let redis = RedisServer::start(&[]).await;
    let node = TestNode::registered(settings("chat-0", Some(redis.settings()))).await;
    for name in ["alice", "bob"] {
        node.connect(&user(name)).await;
    }
    node.stop().await;
    assert_eq!(redis.command::<Vec<String>>(&["KEYS", "*"]).await, ["t:registry"], "the marker stays");
}

#[tokio::test]
async fn a_disconnect_that_redis_did_not_hear_is_made_up_for() {
    let redis = RedisServer::start(&[]).await;
    // A long lease: the node must not begin a new life meanwhile.
    let mut long = settings("chat-0", Some(redis.settings()));
    long.lease = Duration::from_secs(60);
    let node = TestNode::registered(long).await;
    let alice = user("alice");
    let (connection, _) = node.connect(&alice).await;
    redis.command::<()>(&["CLIENT", "PAUSE", "2600", "ALL"]).await;
    let refused = node.directory.disconnect(&alice, connection, None).await;
    assert!(matches!(refused, Err(DirectoryError::Unavailable(_))), "{refused:?}");
    eventually("redis answers again", async || node.directory.nodes().await.is_ok()).await;
    eventually("no ghost is left", async || redis.command::<u8>(&["EXISTS", "t:{u:alice}:conn"]).await == 0)
        .await;
    assert_eq!(node.instance().incarnation.to_string().split('.').nth(1), Some("1"), "still the first life");
}
