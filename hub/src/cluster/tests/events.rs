//! Who is said to be offline when nodes die and reapers with them, over a real Redis.

use serde_json::Value;

use super::{redis_server::RedisServer, test_node::*};
use crate::{identity::NodeInstance, routing::ports::UserNodes};

const STREAM: &str = "t:{events}";

/// The ids of all events that were written, in their order.
async fn event_ids(redis: &RedisServer) -> Vec<String> {
    let entries: Vec<(String, Vec<String>)> = redis.command(&["XRANGE", STREAM, "-", "+"]).await;
    let id = |json: &String| {
        let event: Value = serde_json::from_str(json).unwrap();
        event["event_id"].as_str().unwrap().to_owned()
    };
    entries.iter().filter_map(|(_, fields)| fields.get(1)).map(id).collect()
}

/// Makes an instance that never lived one that has to be swept, with these users in its index.
async fn left_behind(redis: &RedisServer, dead: &NodeInstance, users: &[&str]) {
    let index = format!("t:idx:{{{}}}:{}:users", dead.node, dead.incarnation);
    for user in users {
        redis.command::<u8>(&["SADD", &index, user]).await;
    }
    redis.command::<u8>(&["SADD", "t:nodes", &dead.to_string()]).await;
}

async fn reaper() -> (RedisServer, TestNode) {
    let redis = RedisServer::start(&[]).await;
    let mut telling = settings("chat-0", Some(redis.settings()));
    telling.events = true;
    let node = TestNode::registered(telling).await;
    (redis, node)
}

#[tokio::test]
async fn an_offline_event_has_one_name_however_often_its_sweep_is_begun() {
    let (redis, a) = reaper().await;
    let b = TestNode::registered(settings("chat-1", Some(redis.settings()))).await;
    let (alice, both) = (user("alice"), user("both"));
    b.connect(&alice).await;
    b.connect(&both).await;
    a.connect(&both).await;
    let ver: u64 = redis.command(&["HGET", "t:{u:alice}:conn", "ver"]).await;
    // A reaper that cannot tell is one that dies before it has told.
    redis.command::<()>(&["SET", STREAM, "no stream"]).await;
    let claim = format!("t:idx:{{chat-1}}:{}:reaper", b.instance().incarnation);
    b.kill();
    eventually("a sweep was begun and failed", async || {
        redis.command::<String>(&["INFO", "errorstats"]).await.contains("WRONGTYPE")
    })
    .await;
    eventually("it is claimed", async || redis.command::<u8>(&["EXISTS", &claim]).await == 1).await;
    assert_eq!(redis.command::<u64>(&["HGET", "t:{u:alice}:conn", "ver"]).await, ver, "nothing goes untold");
    assert_eq!(a.counters.reaped_nodes.get(), 0);

    redis.command::<u8>(&["DEL", STREAM, &claim]).await;
    eventually("the next one does it", async || a.counters.reaped_nodes.get() == 1).await;
    let told = [format!("offline:alice:{}", ver + 1)];
    assert_eq!(event_ids(&redis).await, told);
    assert_eq!(redis.command::<u8>(&["EXISTS", "t:{u:alice}:conn"]).await, 0);
    assert_eq!(a.directory.locate(&both).await.unwrap().connections.len(), 1, "both is still here");
}

#[tokio::test]
async fn what_was_told_or_never_was_is_not_told_again() {
    let (redis, a) = reaper().await;
    // Told before a reaper died, or in the index only: the hash is not there. And somebody else's key in the place.
    redis.command::<()>(&["SET", "t:{u:strange}:conn", "mine"]).await;
    left_behind(&redis, &"chat-8#gone.1".parse().unwrap(), &["told", "strange"]).await;
    eventually("it is swept", async || a.counters.reaped_nodes.get() == 1).await;
    assert_eq!(event_ids(&redis).await, Vec::<String>::new());
    assert_eq!(redis.command::<String>(&["GET", "t:{u:strange}:conn"]).await, "mine");

    // Two that died with the same user: only the last one's end makes the user offline.
    let dead: [NodeInstance; 2] = ["chat-8#gone.2", "chat-9#gone.1"].map(|name| name.parse().unwrap());
    let fields = dead.each_ref().map(|dead| format!("{dead}/{}", ulid::Ulid::generate()));
    let hash = ["HSET", "t:{u:carol}:conn", "ver", "41", &fields[0], "{}", &fields[1], "{}"];
    redis.command::<u8>(&hash).await;
    left_behind(&redis, &dead[0], &["carol"]).await;
    eventually("the first is swept", async || a.counters.reaped_nodes.get() == 2).await;
    assert_eq!(event_ids(&redis).await, Vec::<String>::new());
    let ver: u64 = redis.command(&["HGET", "t:{u:carol}:conn", "ver"]).await;
    left_behind(&redis, &dead[1], &["carol"]).await;
    eventually("the second is swept", async || a.counters.reaped_nodes.get() == 3).await;
    assert_eq!(event_ids(&redis).await, [format!("offline:carol:{}", ver + 1)]);
}

#[tokio::test]
async fn of_what_the_registry_does_not_know_nobody_is_said_to_be_offline() {
    let (redis, a) = reaper().await;
    redis.command::<()>(&["SET", "t:{u:strange}:conn", "mine"]).await;
    let connection = record(&user("strange")).connection;
    let unknown = UserNodes { unknown: true, ..UserNodes::default() };
    assert_eq!(a.directory.disconnect(&user("strange"), connection, None).await, Ok(unknown.clone()));
    let nowhere = a.directory.disconnect(&user("nobody"), connection, None).await;
    assert_eq!(nowhere, Ok(UserNodes::default()));
    let outside = TestNode::start(settings("chat-0", Some(redis.settings())));
    let unasked = outside.directory.disconnect(&user("alice"), connection, None).await;
    assert_eq!(unasked, Ok(unknown), "a node that is not registered has nothing there");
}
