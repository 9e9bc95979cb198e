//! Nodes of one process without a server.

use std::time::Duration;

use super::test_node::*;
use crate::{
    cluster::{ClusterError, MemoryCluster, RedisMode},
    protocol::envelope::{Kind, ReportStatus},
    routing::ports::{Answer, BusError, RedisState},
};

const TIMEOUT: Duration = Duration::from_secs(5);

#[tokio::test]
async fn a_node_without_redis_is_registered_at_once_and_alone() {
    let node = TestNode::start(settings("chat-0", None));
    assert!(node.registration().registered);
    assert_eq!(node.registration().redis, RedisState::Embedded);
    let nodes = node.directory.nodes().await.unwrap();
    assert_eq!((nodes.len(), nodes[0].connections), (1, 7));
    let alice = user("alice");
    let (connection, presence) = node.connect(&alice).await;
    assert_eq!(node.directory.locate(&alice).await.unwrap(), presence);
    node.directory.disconnect(&alice, connection, None).await.unwrap();
    assert!(node.directory.locate(&alice).await.unwrap().connections.is_empty());
    let alone = node.bus.broadcast(Vec::new(), envelope(Kind::Broadcast, 1, ""), TIMEOUT).await;
    assert_eq!(alone, Ok(Vec::new()));
    node.stop().await;
}

#[tokio::test]
async fn nodes_that_share_a_memory_behave_like_a_cluster() {
    let cluster = MemoryCluster::default();
    let a = TestNode::run(cluster.join(settings("chat-0", None)).unwrap());
    let b = TestNode::run(cluster.join(settings("chat-1", None)).unwrap());
    let again = cluster.join(settings("chat-1", None));
    assert!(matches!(again, Err(ClusterError::NodeTaken(_))));
    let alice = user("alice");
    b.connect(&alice).await;
    assert_eq!(a.directory.locate(&alice).await.unwrap().connections[0].instance, b.instance());
    let done = |count| Answer { status: ReportStatus::Done, count };
    let answer = a.bus.request(&b.instance(), envelope(Kind::Kick, 1, "alice"), TIMEOUT).await;
    assert_eq!(answer, Ok(done(2)));
    let both = vec![a.instance(), b.instance()];
    let answers = a.bus.broadcast(both, envelope(Kind::Broadcast, 2, ""), TIMEOUT).await;
    assert_eq!(answers, Ok(vec![(b.instance(), done(3))]));
    assert_eq!(b.received.numbers(), [1, 2]);
    let gone = b.instance();
    b.stop().await;
    assert!(a.directory.locate(&alice).await.unwrap().connections.is_empty());
    let answer = a.bus.request(&gone, envelope(Kind::Deliver, 3, "alice"), TIMEOUT).await;
    assert_eq!(answer, Err(BusError::NodeGone(gone)));
}

#[test]
fn settings_of_redis_that_cannot_work_are_refused() {
    let good = || crate::cluster::RedisSettings {
        mode: RedisMode::Standalone,
        tls: false,
        hosts: vec![("127.0.0.1".to_owned(), 1)],
        database: 0,
        username_file: None,
        password_file: None,
        ca_file: None,
        cert_file: None,
        key_file: None,
    };
    let mut cases = [good(), good(), good(), good()];
    cases[0].hosts.clear();
    cases[1].hosts.push(("127.0.0.1".to_owned(), 2));
    (cases[2].mode, cases[2].database) = (RedisMode::Cluster, 1);
    cases[3].cert_file = Some("/x".into());
    for (redis, why) in cases.into_iter().zip(["is missing", "one address", "database 0", "given together"]) {
        let refused = crate::cluster::build(settings("chat-0", Some(redis)));
        let error = refused.err().unwrap_or_else(|| panic!("{why} was accepted")).to_string();
        assert!(error.contains(why), "{error}");
    }
    assert!(crate::cluster::build(settings("chat-0", Some(good()))).is_ok());
}
