//! Bans, revocations, the login policy and the marker, over a real Redis.

use std::time::{Duration, SystemTime};

use super::{
    redis_cluster::{TestRedis, over_every_redis},
    redis_server::RedisServer,
    test_node::*,
};
use crate::{
    cluster::ClusterSettings,
    routing::ports::{Ban, DirectoryError, LoginPolicy},
};

over_every_redis! {
    the_oldest_of_all_nodes_go_and_a_repeat_picks_nobody_else,
    connections_of_dead_nodes_do_not_count,
    bans_and_revocations_hold_on_every_node,
    a_user_key_of_the_wrong_type_holds_up_no_sweep,
}

fn limited(node: &str, redis: &TestRedis, login: LoginPolicy) -> ClusterSettings {
    ClusterSettings { login, ..settings(node, Some(redis.settings())) }
}

async fn the_oldest_of_all_nodes_go_and_a_repeat_picks_nobody_else(redis: TestRedis) {
    let login = LoginPolicy { most: 2, reject: false };
    let a = TestNode::registered(limited("chat-0", &redis, login)).await;
    let b = TestNode::registered(limited("chat-1", &redis, login)).await;
    let alice = user("alice");
    let (first, _) = a.connect(&alice).await;
    let (second, _) = b.connect(&alice).await;
    let third = record(&alice);
    for _ in 0..2 {
        let connected = b.directory.connect(third.clone()).await.unwrap();
        let replaced: Vec<_> = connected.replaced.iter().map(|c| c.record.connection).collect();
        assert_eq!(replaced, [first]);
        assert_eq!(connected.replaced[0].instance, a.instance());
        assert_eq!(connected.presence.connections.len(), 3, "it is there until it is closed");
    }
    let again =
        a.directory.connect(crate::routing::ports::ConnectionRecord { connection: first, ..record(&alice) });
    assert_eq!(
        again.await,
        Err(DirectoryError::Replaced),
        "its node learns it at the latest when it asserts"
    );
    a.directory.disconnect(&alice, first, None).await.unwrap();
    let fourth = a.directory.connect(record(&alice)).await.unwrap();
    let replaced: Vec<_> = fourth.replaced.iter().map(|c| c.record.connection).collect();
    assert_eq!(replaced, [second]);
}

async fn connections_of_dead_nodes_do_not_count(redis: TestRedis) {
    let login = LoginPolicy { most: 1, reject: true };
    let a = TestNode::registered(limited("chat-0", &redis, login)).await;
    let b = TestNode::registered(limited("chat-1", &redis, login)).await;
    let alice = user("alice");
    b.connect(&alice).await;
    assert_eq!(a.directory.connect(record(&alice)).await, Err(DirectoryError::TooMany(1)));
    b.kill();
    eventually("the dead one does not count", async || a.directory.connect(record(&alice)).await.is_ok())
        .await;
    assert_eq!(a.directory.connect(record(&alice)).await, Err(DirectoryError::TooMany(1)));
}

async fn bans_and_revocations_hold_on_every_node(redis: TestRedis) {
    let a = TestNode::registered(settings("chat-0", Some(redis.settings()))).await;
    let b = TestNode::registered(settings("chat-1", Some(redis.settings()))).await;
    let alice = user("alice");
    let ban = Ban { until: SystemTime::now() + Duration::from_secs(600), reason: "spam".to_owned() };
    a.directory.set_ban(&alice, Some(&ban)).await.unwrap();
    let refused = b.directory.connect(record(&alice)).await;
    assert!(matches!(refused, Err(DirectoryError::Banned { reason, .. }) if reason == "spam"));
    let read = b.directory.ban(&alice).await.unwrap().unwrap();
    assert!(ban.until.duration_since(read.until).unwrap_or_default() < Duration::from_millis(2));
    a.directory.set_ban(&alice, None).await.unwrap();
    assert_eq!(b.directory.ban(&alice).await, Ok(None));
    b.connect(&alice).await;

    assert_eq!(a.directory.revoke(&alice, 1_732_356_000_000).await, Ok(1_732_356_000_000));
    assert_eq!(b.directory.revoke(&alice, 5).await, Ok(1_732_356_000_000), "the later one counts");
    let life: i64 = redis.command(&["PTTL", "t:{u:alice}:revoked"]).await;
    assert!(life > 29 * 86_400_000, "{life}");
    for (issued, accepted) in
        [(Some(0), false), (Some(1_732_355_999_999), false), (Some(1_732_356_000_000), true), (None, true)]
    {
        let mut with_token = record(&alice);
        with_token.token_issued_at = issued;
        assert_eq!(b.directory.connect(with_token).await.is_ok(), accepted, "{issued:?}");
    }
}

async fn a_user_key_of_the_wrong_type_holds_up_no_sweep(redis: TestRedis) {
    let a = TestNode::registered(settings("chat-0", Some(redis.settings()))).await;
    let b = TestNode::registered(settings("chat-1", Some(redis.settings()))).await;
    for name in ["alice", "bob"] {
        b.connect(&user(name)).await;
    }
    redis.command::<()>(&["SET", "t:{u:alice}:conn", "not a hash"]).await;
    b.kill();
    eventually("the dead node is reaped", async || a.counters.reaped_nodes.get() == 1).await;
    assert_eq!(redis.command::<u8>(&["EXISTS", "t:{u:bob}:conn"]).await, 0);
}

#[tokio::test]
async fn under_another_marker_nobody_is_offline_until_all_have_asserted_and_a_lease_has_passed() {
    let redis = RedisServer::start(&[]).await;
    let a = TestNode::registered(settings("chat-0", Some(redis.settings()))).await;
    let b = TestNode::registered(settings("chat-1", Some(redis.settings()))).await;
    let nobody = user("nobody");
    eventually("it is whole", async || b.directory.locate(&nobody).await.is_ok()).await;
    let (epoch, before) = (a.registration().epoch, redis.command::<String>(&["GET", "t:registry"]).await);
    let lost = std::time::Instant::now();
    redis.command::<()>(&["DEL", "t:registry"]).await;
    let doubt = a.directory.locate(&nobody).await;
    assert!(
        matches!(&doubt, Err(DirectoryError::Unavailable(why)) if why.contains("not whole")),
        "{doubt:?}"
    );
    // The doubt asks for the next heartbeat at once, and that makes the marker anew.
    eventually("all is asserted again", async || a.registration().epoch > epoch).await;
    let after: String = redis.command(&["GET", "t:registry"]).await;
    assert_ne!(before, after);
    eventually("it is whole again", async || a.directory.locate(&nobody).await.is_ok()).await;
    assert!(lost.elapsed() >= LEASE, "{:?}", lost.elapsed());
    for lease in ["t:lease:{chat-0}", "t:lease:{chat-1}"] {
        let record: String = redis.command(&["GET", lease]).await;
        assert!(record.contains(&format!("\"asserted\":\"{after}\"")), "{record}");
    }
}

#[tokio::test]
async fn a_marker_of_another_server_is_made_anew() {
    let redis = RedisServer::start(&[]).await;
    let node = TestNode::registered(settings("chat-0", Some(redis.settings()))).await;
    let epoch = node.registration().epoch;
    // As after a failover or a restart that kept the data.
    let marker: String = redis.command(&["GET", "t:registry"]).await;
    let (rest, _run_id) = marker.rsplit_once(' ').unwrap();
    redis.command::<()>(&["SET", "t:registry", &format!("{rest} 0123456789abcdef")]).await;
    eventually("all users are asserted", async || node.registration().epoch > epoch).await;
    assert_ne!(redis.command::<String>(&["GET", "t:registry"]).await, marker);
}
