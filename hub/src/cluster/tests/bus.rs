//! Envelopes between nodes, over a real Redis.

use std::time::{Duration, Instant};

use super::{
    redis_cluster::{TestRedis, over_every_redis},
    redis_server::RedisServer,
    test_node::*,
};
use crate::{
    protocol::envelope::{Kind, ReportStatus},
    routing::ports::{Answer, BusError},
};

over_every_redis! {
    a_request_is_answered_by_the_other_node_at_once_or_later,
    many_requests_keep_their_order_and_each_gets_its_own_answer,
    a_broadcast_collects_the_answers_of_others_and_skips_oneself,
    a_node_nobody_listens_for_is_gone_at_once,
}

const TIMEOUT: Duration = Duration::from_secs(5);

fn done(count: u32) -> Answer {
    Answer { status: ReportStatus::Done, count }
}

async fn a_request_is_answered_by_the_other_node_at_once_or_later(redis: TestRedis) {
    let a = TestNode::registered(settings("chat-0", Some(redis.settings()))).await;
    let b = TestNode::registered(settings("chat-1", Some(redis.settings()))).await;
    let deliver = a.bus.request(&b.instance(), envelope(Kind::Deliver, 1, "alice"), TIMEOUT);
    let kick = a.bus.request(&b.instance(), envelope(Kind::Kick, 2, "bob"), TIMEOUT);
    assert_eq!(deliver.await, Ok(done(1)));
    assert_eq!(kick.await, Ok(done(2)));
    a.bus.post(&b.instance(), envelope(Kind::PresenceChanged, 3, "alice")).unwrap();
    eventually("the post arrives", async || b.received.numbers().len() == 3).await;
    assert!(a.received.numbers().is_empty());
}

async fn many_requests_keep_their_order_and_each_gets_its_own_answer(redis: TestRedis) {
    let a = TestNode::registered(settings("chat-0", Some(redis.settings()))).await;
    let b = TestNode::registered(settings("chat-1", Some(redis.settings()))).await;
    let waits: Vec<_> = (0..5000)
        .map(|n| {
            let kind = if n % 10 == 0 { Kind::Kick } else { Kind::Deliver };
            a.bus.request(&b.instance(), envelope(kind, n, "alice"), TIMEOUT)
        })
        .collect();
    for (n, answer) in futures::future::join_all(waits).await.into_iter().enumerate() {
        assert_eq!(answer, Ok(done(if n % 10 == 0 { 2 } else { 1 })), "request {n}");
    }
    assert_eq!(b.received.numbers(), (0..5000).collect::<Vec<_>>());
    let batches = a.counters.batches_sent.get();
    assert!(batches < 1000, "5000 envelopes went in {batches} batches");
    assert_eq!((b.counters.gaps.get(), b.counters.malformed.get()), (0, 0));
}

async fn a_broadcast_collects_the_answers_of_others_and_skips_oneself(redis: TestRedis) {
    let mut nodes = Vec::new();
    for name in ["chat-0", "chat-1", "chat-2"] {
        nodes.push(TestNode::registered(settings(name, Some(redis.settings()))).await);
    }
    let everyone: Vec<_> = nodes.iter().map(TestNode::instance).collect();
    let answers = nodes[0].bus.broadcast(everyone.clone(), envelope(Kind::Broadcast, 9, ""), TIMEOUT).await;
    let mut answers = answers.unwrap();
    answers.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(answers, [(everyone[1].clone(), done(3)), (everyone[2].clone(), done(3))]);
    assert_eq!(nodes[1].received.numbers(), [9]);
    assert!(nodes[0].received.numbers().is_empty());

    // One that does not answer: the others' answers come when time is up.
    let mut expected = everyone.clone();
    expected.push("chat-9#gone.1".parse().unwrap());
    let began = Instant::now();
    let wait = Duration::from_millis(300);
    let answers = nodes[0].bus.broadcast(expected, envelope(Kind::Broadcast, 10, ""), wait).await.unwrap();
    assert_eq!(answers.len(), 2);
    assert!(began.elapsed() >= wait && began.elapsed() < Duration::from_secs(3));

    // Nobody expected: done as soon as it is published.
    let nobody = nodes[0].bus.broadcast(Vec::new(), envelope(Kind::Broadcast, 11, ""), TIMEOUT).await;
    assert_eq!(nobody, Ok(Vec::new()));
    eventually("all heard all", async || nodes[2].received.numbers() == [9, 10, 11]).await;
}

async fn a_node_nobody_listens_for_is_gone_at_once(redis: TestRedis) {
    let node = TestNode::registered(settings("chat-0", Some(redis.settings()))).await;
    let nobody: crate::identity::NodeInstance = "chat-9#gone.1".parse().unwrap();
    let began = Instant::now();
    let answer = node.bus.request(&nobody, envelope(Kind::Deliver, 1, "alice"), TIMEOUT).await;
    assert_eq!(answer, Err(BusError::NodeGone(nobody)));
    assert!(began.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn a_node_that_hears_and_says_nothing_costs_the_timeout_and_no_more() {
    let redis = RedisServer::start(&[]).await;
    let node = TestNode::registered(settings("chat-0", Some(redis.settings()))).await;
    let client = redis::Client::open(redis.url()).unwrap();
    let mut silent = client.get_async_pubsub().await.unwrap();
    silent.subscribe("t:node:{chat-9}").await.unwrap();
    let target: crate::identity::NodeInstance = "chat-9#mute.1".parse().unwrap();
    let began = Instant::now();
    let short = node.bus.request(&target, envelope(Kind::Deliver, 1, "alice"), Duration::from_millis(100));
    let long = node.bus.request(&target, envelope(Kind::Deliver, 2, "alice"), Duration::from_millis(400));
    assert_eq!(short.await, Err(BusError::NoReport(target.clone())));
    assert!(began.elapsed() < Duration::from_millis(350), "each at its own time: {:?}", began.elapsed());
    assert_eq!(long.await, Err(BusError::NoReport(target)));
    assert_eq!(node.counters.reports_missed.get(), 2);
}

#[tokio::test]
async fn bytes_that_are_no_batch_are_counted_and_ignored() {
    let redis = RedisServer::start(&[]).await;
    let a = TestNode::registered(settings("chat-0", Some(redis.settings()))).await;
    let b = TestNode::registered(settings("chat-1", Some(redis.settings()))).await;
    let broken: [&[u8]; 4] = [b"x", &[1, 255, 3], &[0; 300], b"\x01\x06chat-9\x03k.1"];
    for bytes in broken {
        for channel in ["t:node:{chat-1}", "t:broadcast"] {
            redis.bytes_command::<u8>(&["PUBLISH", channel], bytes).await;
        }
    }
    eventually("all are counted", async || {
        (a.counters.malformed.get(), b.counters.malformed.get()) == (4, 8)
    })
    .await;
    let answer = a.bus.request(&b.instance(), envelope(Kind::Deliver, 1, "alice"), TIMEOUT).await;
    assert_eq!(answer, Ok(done(1)), "the bus still works");
}
