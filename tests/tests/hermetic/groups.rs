//! Groups: who is in them, and who gets what is sent to them, across nodes.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use http::Method;
use rustix::process::Signal;
use serde_json::{Value, json};
use wsc_tests::{
    hub_fleet::{HEARTBEAT, HubFleet, LEASE},
    wait::{Look, eventually},
    ws_client::{PATIENCE, WsClient},
};

const ROOM: &str = "/v1/groups/room-1/messages";
/// What users are promised after Redis returns.
const HEALED: Duration = Duration::from_secs(10);

/// Sends a frame and reads the result with its id.
async fn asked(client: &mut WsClient, frame: &Value) -> Result<Value> {
    let mut frame = frame.clone();
    frame["message_id"] = json!("q1");
    client.send(&frame).await?;
    let result = client.expect("result").await?;
    assert_eq!(result["message_id"], "q1", "{result}");
    Ok(result)
}

async fn join(client: &mut WsClient, group: &str) -> Result<()> {
    let result = asked(client, &json!({"message_type": "join", "group": group})).await?;
    assert_eq!((&result["status"], &result["group"]), (&json!("complete"), &json!(group)), "{result}");
    Ok(())
}

/// Status, nodes expected, nodes answered, connections.
fn counts(result: &Value) -> (Value, Value, Value, Value) {
    let field = |name: &str| result[name].clone();
    (field("status"), field("nodes_expected"), field("nodes_answered"), field("connections"))
}

fn counted(status: &str, expected: u32, answered: u32, connections: u32) -> (Value, Value, Value, Value) {
    (json!(status), json!(expected), json!(answered), json!(connections))
}

async fn sent(fleet: &HubFleet, number: usize, content: &str) -> Result<Value> {
    fleet.api(number)?.post(ROOM, &json!({"content": content})).await?.ok()
}

/// Sends until a node counts as wanted; the frames of the tries before have other contents.
async fn sent_until(
    fleet: &HubFleet,
    number: usize,
    wanted: &(Value, Value, Value, Value),
    within: Duration,
) -> Result<String> {
    let mut tries = 0;
    eventually(&format!("a group send counts {wanted:?}"), within, async || {
        tries += 1;
        let content = format!("try {tries}");
        let result = sent(fleet, number, &content).await?;
        Ok(Look::when(counts(&result) == *wanted, content, result))
    })
    .await
}

/// Reads texts until this one comes.
async fn expect_at_last(client: &mut WsClient, content: &str) -> Result<()> {
    loop {
        if client.expect("text").await?["content"] == content {
            return Ok(());
        }
    }
}

async fn members(fleet: &HubFleet, number: usize, group: &str) -> Result<Value> {
    fleet.api(number)?.get(&format!("/v1/groups/{group}")).await?.ok()
}

#[tokio::test]
async fn group_send_reaches_members_on_every_node_once_and_not_the_sending_connection() -> Result<()> {
    let fleet = HubFleet::start(3).await?;
    let mut alice = fleet.hubs[0].connect("alice").await?;
    let mut desk = fleet.hubs[0].connect("alice").await?;
    let mut bob = fleet.hubs[1].connect("bob").await?;
    let mut carol = fleet.hubs[2].connect("carol").await?;
    let mut stranger = fleet.hubs[1].connect("stranger").await?;
    for client in [&mut alice, &mut desk, &mut bob, &mut carol] {
        join(client, "room-1").await?;
    }
    let result = asked(&mut alice, &json!({"group": "room-1", "content": "hi all"})).await?;
    assert_eq!(counts(&result), counted("complete", 3, 3, 3), "{result}");
    for client in [&mut desk, &mut bob, &mut carol] {
        let frame = client.expect_text("hi all").await?;
        assert_eq!((&frame["group"], &frame["sender"]), (&json!("room-1"), &json!("alice")), "{frame}");
        assert_eq!((frame.get("receiver"), &frame["id"]), (None, &result["id"]), "{frame}");
    }
    // The sender need not be a member.
    let result = asked(&mut stranger, &json!({"group": "room-1", "content": "from outside"})).await?;
    assert_eq!(counts(&result), counted("complete", 3, 3, 4), "{result}");
    for client in [&mut alice, &mut desk, &mut bob, &mut carol] {
        client.expect_text("from outside").await?;
    }
    let result = sent(&fleet, 2, "from the backend").await?;
    assert_eq!(counts(&result), counted("complete", 3, 3, 4), "{result}");
    for client in [&mut alice, &mut desk, &mut bob, &mut carol] {
        assert_eq!(client.expect_text("from the backend").await?.get("sender"), None);
    }
    let left = asked(&mut carol, &json!({"message_type": "leave", "group": "room-1"})).await?;
    assert_eq!(left["status"], "complete", "{left}");
    let result = sent(&fleet, 0, "without carol").await?;
    assert_eq!(counts(&result), counted("complete", 2, 2, 3), "{result}");
    for client in [&mut alice, &mut desk, &mut bob] {
        client.expect_text("without carol").await?;
        client.expect_nothing().await?;
    }
    for client in [&mut carol, &mut stranger] {
        client.expect_nothing().await?;
    }
    for client in [alice, desk, bob] {
        client.close().await?;
    }
    fleet.redis.no_key("wsc:{g:room-1}*", PATIENCE).await?;
    fleet.redis.no_key("wsc:idx:*:groups", PATIENCE).await?;
    let result = sent(&fleet, 0, "to nobody").await?;
    assert_eq!(counts(&result), counted("complete", 0, 0, 0), "an empty group is complete: {result}");
    Ok(())
}

#[tokio::test]
async fn a_group_send_that_nobody_waits_for_is_accepted_and_arrives() -> Result<()> {
    let fleet = HubFleet::start(2).await?;
    let mut alice = fleet.hubs[0].connect("alice").await?;
    let mut bob = fleet.hubs[1].connect("bob").await?;
    join(&mut alice, "room-1").await?;
    join(&mut bob, "room-1").await?;
    let body = json!({"content": "no wait", "options": {"wait": "none"}});
    let result = fleet.api(0)?.post(ROOM, &body).await?.ok()?;
    assert_eq!(counts(&result), counted("accepted", 2, 0, 0), "{result}");
    alice.send(&json!({"group": "room-1", "content": "quiet"})).await?;
    alice.expect_text("no wait").await?;
    alice.expect_nothing().await?;
    bob.expect_text("no wait").await?;
    bob.expect_text("quiet").await?;
    Ok(())
}

#[tokio::test]
async fn the_order_of_one_clients_messages_to_a_group_holds_across_nodes() -> Result<()> {
    let fleet = HubFleet::start(2).await?;
    let mut alice = fleet.hubs[0].connect("alice").await?;
    let mut bob = fleet.hubs[1].connect("bob").await?;
    join(&mut bob, "room-1").await?;
    // Below the 64 that may be in flight; some are waited for and some are not.
    for number in 0..60 {
        let mut frame = json!({"group": "room-1", "content": number.to_string()});
        if number % 3 == 0 {
            frame["message_id"] = json!(format!("m{number}"));
        }
        alice.send(&frame).await?;
    }
    for number in 0..60 {
        bob.expect_text(&number.to_string()).await?;
    }
    Ok(())
}

#[tokio::test]
async fn the_backend_gives_and_takes_memberships_on_all_nodes() -> Result<()> {
    let fleet = HubFleet::start(3).await?;
    let mut phone = fleet.hubs[0].connect("alice").await?;
    let mut desk = fleet.hubs[1].connect("alice").await?;
    let mut bob = fleet.hubs[1].connect("bob").await?;
    join(&mut bob, "room-1").await?;
    let api = fleet.api(2)?;
    let change = async |method: Method, user: &str| {
        api.request(method, &format!("/v1/groups/room-1/members/{user}"), None).await?.ok()
    };
    let joined = change(Method::PUT, "alice").await?;
    let expected = json!({"group": "room-1", "user_id": "alice", "connections": 2, "nodes_expected": 2, "nodes_answered": 2});
    assert_eq!(joined, expected);
    assert_eq!(change(Method::PUT, "alice").await?, expected, "once more changes nothing");
    for number in 0..3 {
        let listed = members(&fleet, number, "room-1").await?;
        assert_eq!(
            listed,
            json!({
                "group": "room-1",
                "members": [{"user_id": "alice", "connections": 2}, {"user_id": "bob", "connections": 1}],
                "nodes": ["node-0", "node-1"], "nodes_expected": 2, "nodes_answered": 2
            })
        );
        let behind = members(&fleet, number, "room-1?after=alice").await?;
        assert_eq!(behind["members"], json!([{"user_id": "bob", "connections": 1}]), "{behind}");
    }
    let result = sent(&fleet, 2, "given").await?;
    assert_eq!(counts(&result), counted("complete", 2, 2, 3), "{result}");
    for client in [&mut phone, &mut desk, &mut bob] {
        client.expect_text("given").await?;
    }
    // The membership is that of the connections, not of the user.
    let mut tablet = fleet.hubs[2].connect("alice").await?;
    sent(&fleet, 0, "not to the tablet").await?;
    tablet.expect_nothing().await?;

    let left = change(Method::DELETE, "alice").await?;
    assert_eq!((&left["connections"], &left["nodes_answered"]), (&json!(2), &json!(3)), "{left}");
    assert_eq!(change(Method::DELETE, "alice").await?["connections"], 0);
    let nobody = change(Method::PUT, "nobody").await?;
    assert_eq!((&nobody["connections"], &nobody["nodes_expected"]), (&json!(0), &json!(0)), "{nobody}");
    let result = sent(&fleet, 0, "to bob").await?;
    assert_eq!(counts(&result), counted("complete", 1, 1, 1), "{result}");
    bob.close().await?;
    let nothing = eventually("the group is empty", PATIENCE, async || {
        let listed = members(&fleet, 0, "room-1").await?;
        Ok(Look::when(listed["nodes"] == json!([]), listed.clone(), listed))
    });
    assert_eq!(nothing.await?["members"], json!([]));
    Ok(())
}

#[tokio::test]
async fn a_killed_nodes_members_vanish_and_the_send_is_complete_again() -> Result<()> {
    let mut fleet = HubFleet::start(3).await?;
    let mut alice = fleet.hubs[0].connect("alice").await?;
    let mut bob = fleet.hubs[1].connect("bob").await?;
    let mut carol = fleet.hubs[2].connect("carol").await?;
    for client in [&mut alice, &mut bob, &mut carol] {
        join(client, "room-1").await?;
    }
    fleet.hubs[2].kill().await?;
    let body = json!({"content": "at once", "options": {"timeout_ms": 500}});
    let result = fleet.api(0)?.post(ROOM, &body).await?.ok()?;
    assert_eq!(counts(&result), counted("partial", 3, 2, 2), "nobody knows about carol: {result}");
    let content =
        sent_until(&fleet, 0, &counted("complete", 2, 2, 2), LEASE + Duration::from_secs(5)).await?;
    for client in [&mut alice, &mut bob] {
        client.expect_text("at once").await?;
        expect_at_last(client, &content).await?;
    }
    let swept = eventually("the dead node is swept", LEASE * 2 + Duration::from_secs(10), async || {
        let mut redis = fleet.redis.connection().await?;
        let fields: Vec<String> =
            redis::cmd("HKEYS").arg("wsc:{g:room-1}:nodes").query_async(&mut redis).await?;
        let left: Vec<_> = fields.iter().filter(|field| field.starts_with("node-2#")).collect();
        Ok(Look::when(left.is_empty(), (), format!("{fields:?}")))
    });
    swept.await?;
    fleet.redis.no_key("wsc:idx:{node-2}:*:groups", PATIENCE).await
}

#[tokio::test]
async fn a_flushed_redis_has_its_groups_again_and_nobody_loses_a_membership() -> Result<()> {
    let fleet = HubFleet::start(3).await?;
    let mut clients = Vec::new();
    for (number, user) in ["alice", "bob", "carol"].iter().enumerate() {
        let mut client = fleet.hubs[number].connect(user).await?;
        join(&mut client, "room-1").await?;
        clients.push(client);
    }
    redis::cmd("FLUSHALL").exec_async(&mut fleet.redis.connection().await?).await?;
    let content = sent_until(&fleet, 1, &counted("complete", 3, 3, 3), HEALED).await?;
    for client in &mut clients {
        expect_at_last(client, &content).await?;
    }
    // Each node sees for itself that the registry is whole.
    fleet.whole().await?;
    let listed = members(&fleet, 2, "room-1").await?;
    assert_eq!(listed["nodes"], json!(["node-0", "node-1", "node-2"]), "{listed}");
    Ok(())
}

#[tokio::test]
async fn without_redis_a_group_send_reaches_those_here_and_says_so() -> Result<()> {
    let mut fleet = HubFleet::start(2).await?;
    let mut alice = fleet.hubs[0].connect("alice").await?;
    let mut bob = fleet.hubs[1].connect("bob").await?;
    let mut dave = fleet.hubs[0].connect("dave").await?;
    join(&mut alice, "room-1").await?;
    join(&mut bob, "room-1").await?;
    // A hub looks for the others once per heartbeat.
    tokio::time::sleep(HEARTBEAT * 3).await;
    fleet.redis.kill().await?;
    let away = eventually("node-0 notices", PATIENCE, async || {
        let result = sent(&fleet, 0, "here").await?;
        Ok(Look::when(counts(&result) == counted("partial", 2, 1, 1), (), result))
    });
    away.await?;
    // That this node has members of the one group was known before; of the other nobody can hear now.
    join(&mut dave, "room-1").await?;
    let result = asked(&mut dave, &json!({"message_type": "join", "group": "new-here"})).await?;
    assert_eq!(result["status"], "partial", "{result}");
    let result = asked(&mut dave, &json!({"group": "room-1", "content": "from dave"})).await?;
    assert_eq!(counts(&result), counted("partial", 2, 1, 1), "{result}");
    expect_at_last(&mut alice, "from dave").await?;
    let gone = asked(&mut alice, &json!({"message_type": "leave", "group": "room-1"})).await?;
    assert!(gone["status"] == "partial" || gone["status"] == "complete", "{gone}");
    fleet.api(0)?.get("/v1/groups/room-1").await?.problem(503, "registry_unavailable")?;
    // Where else they are only the other node knows, and it cannot be asked.
    for (user, numbers) in [("dave", [1, 2, 1]), ("bob", [0, 2, 1])] {
        let path = format!("/v1/groups/given/members/{user}");
        let put = fleet.api(0)?.request(Method::PUT, &path, None).await?.ok()?;
        let found = ["connections", "nodes_expected", "nodes_answered"].map(|field| put[field].clone());
        assert_eq!(found, numbers.map(|number| json!(number)), "{put}");
    }

    fleet.redis.run().await?;
    let content = sent_until(&fleet, 1, &counted("complete", 2, 2, 2), HEALED).await?;
    for client in [&mut bob, &mut dave] {
        expect_at_last(client, &content).await?;
    }
    let listed = eventually("the group joined meanwhile is known", HEALED, async || {
        let listed = members(&fleet, 1, "new-here").await?;
        Ok(Look::when(listed["nodes"] == json!(["node-0"]), listed.clone(), listed))
    });
    assert_eq!(listed.await?["members"], json!([{"user_id": "dave", "connections": 1}]));
    alice.expect_nothing().await.context("alice has left")
}

#[tokio::test]
async fn a_redis_that_hangs_holds_no_group_send_beyond_its_time() -> Result<()> {
    let fleet = HubFleet::start(2).await?;
    let mut alice = fleet.hubs[0].connect("alice").await?;
    join(&mut alice, "room-1").await?;
    let mut redis = fleet.redis.connection().await?;
    redis::cmd("CLIENT").arg("PAUSE").arg(5000).arg("ALL").exec_async(&mut redis).await?;
    let body = json!({"content": "in time", "options": {"timeout_ms": 300}});
    let began = Instant::now();
    let result = fleet.api(0)?.post(ROOM, &body).await?.ok()?;
    let took = began.elapsed();
    assert!(took < Duration::from_millis(1500), "it took {took:?}: {result}");
    assert_eq!((&result["status"], &result["connections"]), (&json!("partial"), &json!(1)), "{result}");
    alice.expect_text("in time").await?;
    Ok(())
}

#[tokio::test]
async fn a_member_that_does_not_read_holds_up_nobody() -> Result<()> {
    let fleet =
        HubFleet::start_with(2, |options| options.set("WSC_OUTBOUND_QUEUE_BYTES", "67108864")).await?;
    let mut alice = fleet.hubs[0].connect("alice").await?;
    let mut stalled = fleet.hubs[1].connect("stalled").await?;
    let mut bob = fleet.hubs[1].connect("bob").await?;
    for client in [&mut alice, &mut stalled, &mut bob] {
        join(client, "room-1").await?;
    }
    let large = "x".repeat(60_000);
    // Kernel buffers on loopback take some megabytes.
    let mut counted_out = false;
    for number in 0..400 {
        let body = json!({"content": large, "data": number, "options": {"timeout_ms": 2000}});
        let result = fleet.api(0)?.post(ROOM, &body).await?.ok()?;
        for client in [&mut alice, &mut bob] {
            assert_eq!(client.expect("text").await?["data"], number, "each frame once and in order");
        }
        assert_eq!(
            (&result["nodes_expected"], &result["nodes_answered"]),
            (&json!(2), &json!(2)),
            "{result}"
        );
        if result["connections"] == 2 {
            counted_out = true;
            break;
        }
        assert_eq!(result["connections"], 3, "{result}");
    }
    assert!(counted_out, "24 MB were taken for a client that does not read");
    Ok(())
}

#[tokio::test]
async fn many_sends_to_one_group_at_once_arrive_once_each() -> Result<()> {
    let fleet = HubFleet::start(2).await?;
    let mut alice = fleet.hubs[0].connect("alice").await?;
    let mut bob = fleet.hubs[1].connect("bob").await?;
    join(&mut alice, "room-1").await?;
    join(&mut bob, "room-1").await?;
    let sends = (0..200).map(|number| {
        let fleet = &fleet;
        async move { sent(fleet, number % 2, &number.to_string()).await }
    });
    let results = futures::future::try_join_all(sends).await?;
    for result in &results {
        assert_eq!(counts(result), counted("complete", 2, 2, 2), "{result}");
    }
    for client in [&mut alice, &mut bob] {
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..200 {
            let frame = client.expect("text").await?;
            assert!(seen.insert(frame["content"].to_string()), "twice: {frame}");
        }
        client.expect_nothing().await?;
    }
    Ok(())
}

#[tokio::test]
async fn while_the_registry_is_filled_again_a_group_send_never_claims_to_be_complete_with_too_few()
-> Result<()> {
    let mut fleet = HubFleet::start_with(2, |options| {
        options.set("WSC_LEASE", "6s").set("WSC_HEARTBEAT_INTERVAL", "500ms")
    })
    .await?;
    fleet.whole().await?;
    let mut bob = fleet.hubs[1].connect("bob").await?;
    join(&mut bob, "room-1").await?;
    sent_until(&fleet, 0, &counted("complete", 1, 1, 1), HEALED).await?;

    // The node with the members cannot say so while it is paused.
    fleet.hubs[1].process().halt().await?;
    redis::cmd("FLUSHALL").exec_async(&mut fleet.redis.connection().await?).await?;
    let body = json!({"content": "lost?", "options": {"timeout_ms": 100}});
    for _ in 0..5 {
        let result = fleet.api(0)?.post(ROOM, &body).await?.ok()?;
        assert_eq!(counts(&result), counted("partial", 1, 0, 0), "the last known node is asked and counts");
    }
    fleet.api(0)?.get("/v1/groups/room-1").await?.problem(503, "registry_unavailable")?;
    fleet.hubs[1].process().signal(Signal::CONT)?;

    let began = Instant::now();
    eventually("the group is whole again", Duration::from_secs(20), async || {
        let result = sent(&fleet, 0, "again").await?;
        let complete = result["status"] == "complete";
        assert!(!complete || result["connections"] == 1, "{result} after {:?}", began.elapsed());
        Ok(Look::when(complete, (), result))
    })
    .await
}
