//! Leases, takeover, loss and return, over a real Redis.

use std::time::{Duration, Instant};

use super::{
    redis_cluster::{TestRedis, over_every_redis},
    redis_server::RedisServer,
    test_node::*,
};
use crate::{identity::Incarnation, routing::ports::NodeStatus};

over_every_redis! {
    a_second_process_of_one_id_waits_and_says_for_whom,
    the_same_pod_takes_over_at_once_and_the_former_process_notices,
    who_says_leaving_is_taken_over_at_once,
    another_owner_of_the_prefix_keeps_a_node_out,
    after_a_flush_the_node_registers_under_the_next_life_and_epoch,
    a_lease_of_another_supersedes_and_never_panics_on_garbage,
}

async fn a_second_process_of_one_id_waits_and_says_for_whom(redis: TestRedis) {
    let first = TestNode::registered(settings("chat-0", Some(redis.settings()))).await;
    let second = TestNode::start(settings("chat-0", Some(redis.settings())));
    eventually("it waits", async || second.redis_error().starts_with("node_id_in_use: ")).await;
    let holder = first.instance().incarnation.to_string();
    assert!(second.redis_error().contains(&holder), "{}", second.redis_error());
    assert!(!second.registration().registered && !first.registration().superseded);
    first.kill();
    second.wait_registered().await;
    assert_eq!(second.redis_error(), "up");
}

async fn the_same_pod_takes_over_at_once_and_the_former_process_notices(redis: TestRedis) {
    let mut of_pod = settings("chat-0", Some(redis.settings()));
    of_pod.pod_uid = "0b5c".to_owned();
    of_pod.lease = Duration::from_secs(60);
    let first = TestNode::registered(of_pod.clone()).await;
    let second = TestNode::registered(of_pod).await;
    eventually("the first knows", async || first.registration().superseded).await;
    assert!(!first.registration().registered);
    assert!(second.registration().registered && !second.registration().superseded);
}

async fn who_says_leaving_is_taken_over_at_once(redis: TestRedis) {
    let mut long = settings("chat-0", Some(redis.settings()));
    long.lease = Duration::from_secs(60);
    let first = TestNode::registered(long.clone()).await;
    first.directory.set_status(NodeStatus::Leaving).await.unwrap();
    let record: String = redis.command(&["GET", "t:lease:{chat-0}"]).await;
    assert!(record.contains(r#""status":"leaving""#), "written at once: {record}");
    let second = TestNode::registered(long).await;
    assert_ne!(second.instance(), first.instance());
}

#[tokio::test]
async fn an_empty_pod_uid_is_nobodys() {
    let redis = RedisServer::start(&[]).await;
    let mut long = settings("chat-0", Some(redis.settings()));
    long.lease = Duration::from_secs(60);
    let _first = TestNode::registered(long.clone()).await;
    let second = TestNode::start(long);
    eventually("it waits", async || second.redis_error().starts_with("node_id_in_use: ")).await;
}

async fn another_owner_of_the_prefix_keeps_a_node_out(redis: TestRedis) {
    let mut ours = settings("chat-0", Some(redis.settings()));
    ours.owner = "team-a/chat".to_owned();
    let mut theirs = settings("other-0", Some(redis.settings()));
    theirs.owner = "team-b/chat".to_owned();
    let first = TestNode::registered(ours).await;
    assert_eq!(redis.command::<String>(&["GET", "t:owner"]).await, "team-a/chat");
    let second = TestNode::start(theirs);
    eventually("it is kept out", async || second.redis_error().starts_with("prefix_in_use: ")).await;
    assert!(second.redis_error().contains("team-a/chat"), "{}", second.redis_error());
    assert_eq!(first.directory.nodes().await.unwrap().len(), 1);
    redis.command::<()>(&["DEL", "t:owner"]).await;
    first.kill();
    second.wait_registered().await;
}

async fn after_a_flush_the_node_registers_under_the_next_life_and_epoch(redis: TestRedis) {
    let node = TestNode::registered(settings("chat-0", Some(redis.settings()))).await;
    let before = node.registration();
    // Primaries of a Redis Cluster may be found one after the other, and each is news.
    assert!(before.epoch >= 1, "{}", before.epoch);
    redis.command::<()>(&["FLUSHALL"]).await;
    eventually("the epoch rises", async || node.registration().epoch > before.epoch).await;
    node.wait_registered().await;
    assert_eq!(node.instance().incarnation, before.instance.incarnation.next());
    assert_eq!(node.directory.nodes().await.unwrap()[0].incarnation, node.instance().incarnation);
}

async fn a_lease_of_another_supersedes_and_never_panics_on_garbage(redis: TestRedis) {
    let node = TestNode::registered(settings("chat-0", Some(redis.settings()))).await;
    redis.command::<()>(&["SET", "t:lease:{chat-0}", "no json"]).await;
    eventually("garbage is overwritten", async || {
        redis.command::<String>(&["GET", "t:lease:{chat-0}"]).await.starts_with('{')
    })
    .await;
    assert!(!node.registration().superseded);
    let mut other = node.directory.nodes().await.unwrap().remove(0);
    other.incarnation = Incarnation::first("zzz").unwrap();
    let other = serde_json::to_string(&other).unwrap();
    redis.command::<()>(&["SET", "t:lease:{chat-0}", &other, "PX", "60000"]).await;
    eventually("it is superseded", async || node.registration().superseded).await;
    assert!(!node.registration().registered);
}

#[tokio::test]
async fn the_lease_alone_decides_about_life_and_the_rest_is_tried_again() {
    let redis = RedisServer::start(&[]).await;
    let mut owned = settings("chat-0", Some(redis.settings()));
    owned.owner = "team-a/chat".to_owned();
    let node = TestNode::registered(owned).await;
    let before = node.registration();
    // As when the primary that has the set of nodes and the owner fails over: neither can be written.
    redis.command::<u8>(&["DEL", "t:nodes", "t:owner"]).await;
    redis.command::<()>(&["SET", "t:nodes", "x"]).await;
    redis.command::<u8>(&["LPUSH", "t:owner", "x"]).await;
    eventually("it is noticed", async || node.redis_error() != "up").await;
    let until = Instant::now() + LEASE * 3;
    while Instant::now() < until {
        let now = node.registration();
        assert!(now.registered && now.instance == before.instance, "{now:?}");
        assert!(redis.command::<i64>(&["PTTL", "t:lease:{chat-0}"]).await > 0);
        tokio::time::sleep(INTERVAL / 3).await;
    }
    redis.command::<u8>(&["DEL", "t:nodes", "t:owner"]).await;
    eventually("all is written again", async || node.redis_error() == "up").await;
    assert_eq!(redis.command::<String>(&["GET", "t:owner"]).await, "team-a/chat");
    assert_eq!(node.directory.nodes().await.unwrap().len(), 1);
    assert_eq!(
        (node.instance(), node.registration().epoch),
        (before.instance, before.epoch),
        "nothing was lost"
    );
}
