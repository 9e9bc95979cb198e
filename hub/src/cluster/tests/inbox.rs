//! Inboxes over a real Redis, and the same rules in memory.

use std::{sync::Arc, time::Duration};

use super::{redis_server::RedisServer, test_node::*};
use crate::{
    cluster::MemoryCluster,
    identity::{ClientId, UserId},
    local::inbox_page::{Page, PageWish},
    protocol::inbox_offset::{EntryId, Offset},
    routing::inbox::{Inbox, Kept, StoreError, StoreRequest},
};

fn request<'a>(user: &'a UserId, id: &'a str, frame: &'a [u8]) -> StoreRequest<'a> {
    StoreRequest { user, id, frame, key: None, ttl: None }
}

async fn store(inbox: &Arc<dyn Inbox>, user: &UserId, text: &str) -> Kept {
    let frame = format!("{{\"content\":\"{text}\"}}");
    inbox.store(request(user, "01J", frame.as_bytes())).await.unwrap()
}

fn wish(after: Option<Offset>, from_cursor: bool) -> PageWish {
    PageWish { after, from_cursor, entries: 100, bytes: 1 << 20 }
}

async fn page(inbox: &Arc<dyn Inbox>, user: &UserId, device: &str, after: Option<Offset>) -> Page {
    let device = ClientId::new(device).unwrap();
    inbox.page(user, Some(&device), wish(after, true)).await.unwrap()
}

fn texts(page: &Page) -> Vec<String> {
    let text = |frame: &[u8]| {
        let frame: serde_json::Value = serde_json::from_slice(frame).unwrap();
        frame["content"].as_str().unwrap().to_owned()
    };
    page.entries
        .iter()
        .map(|entry| entry.frame.as_ref().map_or_else(|| "over".to_owned(), |frame| text(frame.bytes())))
        .collect()
}

/// Both kinds of inbox, under a name for messages.
async fn both() -> (RedisServer, Vec<(&'static str, TestNode)>) {
    let redis = RedisServer::start(&[]).await;
    let over_redis = TestNode::registered(settings("chat-0", Some(redis.settings()))).await;
    let in_memory = TestNode::run(MemoryCluster::default().join(settings("chat-1", None)).unwrap());
    (redis, vec![("redis", over_redis), ("memory", in_memory)])
}

#[tokio::test]
async fn messages_form_a_chain_and_tell_where_the_user_is() {
    let (_redis, nodes) = both().await;
    for (kind, node) in &nodes {
        let alice = user("alice");
        let first = store(&node.inbox, &alice, "a").await;
        assert_eq!((first.prev, &first.duplicate_of, first.trimmed), (EntryId::START, &None, 0), "{kind}");
        assert!(first.nodes.is_empty(), "{kind}");
        node.connect(&alice).await;
        let second = store(&node.inbox, &alice, "b").await;
        assert_eq!((second.prev, second.offset.epoch), (first.offset.id, first.offset.epoch), "{kind}");
        assert!(second.offset.id > first.offset.id, "{kind}");
        assert_eq!(second.nodes, [node.instance()], "{kind}");
        let read = page(&node.inbox, &alice, "phone", None).await;
        assert_eq!(texts(&read), ["a", "b"], "{kind}");
        assert_eq!((read.last, read.start, read.more), (second.offset.id, EntryId::START, false), "{kind}");
        assert_eq!(read.entries[1].prev, first.offset.id, "{kind}");
        let heads = node.inbox.heads(&[user("bob"), alice.clone()]).await.unwrap();
        assert_eq!(heads, [None, Some(second.offset)], "{kind}");
    }
}

#[tokio::test]
async fn the_oldest_go_when_there_are_too_many_bytes_or_messages_or_their_time_is_over() {
    let (_redis, nodes) = both().await;
    for (kind, node) in &nodes {
        // At most 5 messages and 1,000 bytes.
        let (alice, bob, carol) = (user("alice"), user("bob"), user("carol"));
        for n in 0..7 {
            let kept = store(&node.inbox, &alice, &format!("m{n}")).await;
            assert_eq!(kept.trimmed, u64::from(n >= 5), "{kind}");
        }
        let read = page(&node.inbox, &alice, "phone", None).await;
        assert_eq!(texts(&read), ["m2", "m3", "m4", "m5", "m6"], "{kind}");
        assert!(read.entries[0].prev > read.start, "{kind}: the hole is seen");
        let long = "x".repeat(400);
        for trimmed in [0, 0, 1] {
            assert_eq!(store(&node.inbox, &bob, &long).await.trimmed, trimmed, "{kind}");
        }
        // A large one takes the place of two, then one more small one fits beside it.
        assert_eq!(store(&node.inbox, &bob, &"y".repeat(900)).await.trimmed, 2, "{kind}");
        assert_eq!(store(&node.inbox, &bob, "z").await.trimmed, 0, "{kind}");

        let ttl = Some(Duration::from_millis(1));
        node.inbox
            .store(StoreRequest { ttl, ..request(&carol, "01J", br#"{"content":"short"}"#) })
            .await
            .unwrap();
        store(&node.inbox, &carol, "long").await;
        eventually("its time is over", async || {
            texts(&page(&node.inbox, &carol, "phone", None).await) == ["over", "long"]
        })
        .await;
    }
}

#[tokio::test]
async fn cursors_move_forward_only_and_a_new_device_begins_at_what_was_acknowledged() {
    let (_redis, nodes) = both().await;
    for (kind, node) in &nodes {
        let (alice, phone) = (user("alice"), ClientId::new("phone").unwrap());
        let mut offsets = Vec::new();
        for text in ["a", "b", "c", "d"] {
            offsets.push(store(&node.inbox, &alice, text).await.offset);
        }
        assert_eq!(texts(&page(&node.inbox, &alice, "tablet", None).await), ["a", "b", "c", "d"], "{kind}");
        // The clock goes on: which cursor is the oldest must be clear.
        tokio::time::sleep(Duration::from_millis(2)).await;
        for acked in [offsets[1], offsets[0]] {
            node.inbox.acknowledge(&alice, Some(&phone), acked).await.unwrap();
            assert_eq!(texts(&page(&node.inbox, &alice, "phone", None).await), ["c", "d"], "{kind}");
        }
        let foreign = Offset { epoch: "1".parse().unwrap(), id: offsets[3].id };
        node.inbox.acknowledge(&alice, Some(&phone), foreign).await.unwrap();
        assert_eq!(texts(&page(&node.inbox, &alice, "phone", None).await), ["c", "d"], "{kind}");
        assert_eq!(texts(&page(&node.inbox, &alice, "phone", Some(offsets[2])).await), ["d"], "{kind}");
        assert_eq!(texts(&page(&node.inbox, &alice, "phone", Some(offsets[0])).await), ["c", "d"], "{kind}");
        assert_eq!(texts(&page(&node.inbox, &alice, "new", None).await), ["c", "d"], "{kind}");
        // The tablet was there before the phone acknowledged.
        assert_eq!(texts(&page(&node.inbox, &alice, "tablet", None).await).len(), 4, "{kind}");
        // Nobody can acknowledge what was not stored.
        let beyond = Offset { id: EntryId { ms: u64::MAX, seq: 9 }, ..offsets[0] };
        node.inbox.acknowledge(&alice, Some(&phone), beyond).await.unwrap();
        assert!(page(&node.inbox, &alice, "phone", None).await.entries.is_empty(), "{kind}");
        store(&node.inbox, &alice, "e").await;
        assert_eq!(
            texts(&page(&node.inbox, &alice, "phone", Some(beyond)).await),
            Vec::<String>::new(),
            "{kind}"
        );
        assert_eq!(texts(&page(&node.inbox, &alice, "phone", None).await), ["e"], "{kind}");
        // Of 32 cursors the one written longest ago goes: the tablet begins at what was acknowledged.
        for n in 0..32 {
            page(&node.inbox, &alice, &format!("other-{n}"), None).await;
        }
        assert_eq!(texts(&page(&node.inbox, &alice, "tablet", None).await), ["e"], "{kind}");
    }
}

#[tokio::test]
async fn a_message_with_a_key_is_kept_once() {
    let (_redis, nodes) = both().await;
    for (kind, node) in &nodes {
        let (alice, bob) = (user("alice"), user("bob"));
        let keyed =
            |user, id, key| StoreRequest { key: Some(key), ..request(user, id, br#"{"content":"a"}"#) };
        let first = node.inbox.store(keyed(&alice, "01A", "k1")).await.unwrap();
        let again = node.inbox.store(keyed(&alice, "01B", "k1")).await.unwrap();
        assert_eq!(again.duplicate_of.as_deref(), Some("01A"), "{kind}");
        assert_eq!(again.offset, first.offset, "{kind}");
        assert_eq!(node.inbox.store(keyed(&alice, "01B", "k2")).await.unwrap().duplicate_of, None, "{kind}");
        assert_eq!(node.inbox.store(keyed(&bob, "01B", "k1")).await.unwrap().duplicate_of, None, "{kind}");
        assert_eq!(page(&node.inbox, &alice, "phone", None).await.entries.len(), 2, "{kind}");
    }
}

#[tokio::test]
async fn a_page_ends_at_either_bound_and_holds_at_least_one_message() {
    let (_redis, nodes) = both().await;
    for (kind, node) in &nodes {
        let alice = user("alice");
        for text in ["a", "b", "c"] {
            store(&node.inbox, &alice, text).await;
        }
        for (entries, bytes, expected) in [(2, 1 << 20, 2), (100, 1, 1), (100, 40, 2), (3, 1 << 20, 3)] {
            let wish = PageWish { after: None, from_cursor: false, entries, bytes };
            let page = node.inbox.page(&alice, None, wish).await.unwrap();
            assert_eq!((page.entries.len(), page.more), (expected, expected < 3), "{kind} {entries} {bytes}");
        }
    }
}

#[tokio::test]
async fn what_redis_holds_is_what_the_contract_says_and_a_flush_begins_a_new_life() {
    let redis = RedisServer::start(&[]).await;
    let node = TestNode::registered(settings("chat-0", Some(redis.settings()))).await;
    let alice = user("alice");
    let first = store(&node.inbox, &alice, "a").await.offset;
    let keyed = StoreRequest { key: Some("k1"), ..request(&alice, "01B", br#"{"content":"bb"}"#) };
    node.inbox.store(keyed).await.unwrap();
    let meta: std::collections::HashMap<String, String> =
        redis.command(&["HGETALL", "t:{u:alice}:meta"]).await;
    assert_eq!(meta["epoch"], first.epoch.to_string());
    assert_eq!(meta["bytes"], (br#"{"content":"a"}"#.len() + br#"{"content":"bb"}"#.len()).to_string());
    for (key, least, most) in [
        ("t:{u:alice}:inbox", 60_000, 67_500),
        ("t:{u:alice}:meta", 86_460_000, 86_467_500),
        ("t:{u:alice}:idem:k1", 590_000, 600_000),
    ] {
        let left: i64 = redis.command(&["PTTL", key]).await;
        assert!((least..=most).contains(&left), "{key} lives {left} ms");
    }
    // A clock that goes back does not make an offset smaller.
    redis.command::<()>(&["HSET", "t:{u:alice}:meta", "last", "99999999999999-7"]).await;
    assert_eq!(store(&node.inbox, &alice, "c").await.offset.id.to_string(), "99999999999999-8");
    // Without its meta a stream is of a former life.
    redis.command::<()>(&["DEL", "t:{u:alice}:meta"]).await;
    let new = store(&node.inbox, &alice, "d").await;
    assert!(new.offset.epoch != first.epoch && new.prev == EntryId::START);
    let read = page(&node.inbox, &alice, "phone", Some(first)).await;
    assert_eq!((texts(&read), read.start), (vec!["d".to_owned()], EntryId::START));
    redis.command::<()>(&["FLUSHALL"]).await;
    let none = page(&node.inbox, &alice, "phone", None).await;
    assert_eq!(none.epoch, None, "nobody asked for an inbox");
    let made = page(&node.inbox, &alice, "phone", Some(first)).await;
    assert!(made.epoch.is_some_and(|epoch| epoch != first.epoch) && made.entries.is_empty());
    assert_eq!(store(&node.inbox, &alice, "e").await.offset.epoch, made.epoch.unwrap());
}

#[tokio::test]
async fn a_full_or_absent_redis_keeps_nothing_and_says_so() {
    let mut redis = RedisServer::start(&["--maxmemory", "20mb"]).await;
    let node = TestNode::registered(settings("chat-0", Some(redis.settings()))).await;
    let alice = user("alice");
    store(&node.inbox, &alice, "a").await;
    let frame = br#"{"content":"b"}"#;
    redis.command::<()>(&["SETRANGE", "filler", "17000000", "x"]).await;
    eventually("memory is short", async || {
        matches!(node.inbox.store(request(&alice, "01J", frame)).await, Err(StoreError::NoRoom(_)))
    })
    .await;
    // Beyond the bound itself Redis refuses, and nothing is said to be kept.
    redis.command::<()>(&["CONFIG", "SET", "maxmemory", "16mb"]).await;
    assert!(matches!(node.inbox.store(request(&alice, "01J", frame)).await, Err(StoreError::NoRoom(_))));
    redis.command::<()>(&["DEL", "filler"]).await;
    redis.command::<()>(&["CONFIG", "SET", "maxmemory", "0"]).await;
    eventually("there is room again", async || node.inbox.store(request(&alice, "01J", frame)).await.is_ok())
        .await;
    redis.kill();
    let away = |error: &StoreError| matches!(error, StoreError::Unavailable(_) | StoreError::Unknown(_));
    assert!(node.inbox.store(request(&alice, "01J", frame)).await.is_err_and(|error| away(&error)));
    eventually("redis is known to be away", async || {
        matches!(node.inbox.store(request(&alice, "01J", frame)).await, Err(StoreError::Unavailable(_)))
    })
    .await;
}
