//! Clients and a backend on a cluster of three pods: messages, broadcast, kick, look-ups, and the loss of a pod.

use std::{sync::Arc, time::Duration};

use anyhow::Result;
use serde_json::json;
use wsc_tests::{
    kubernetes::{
        resource::POD,
        wsc_cluster::{CLIENT_PORT, TestCluster, small_spec},
    },
    reconnecting_client::ReconnectingClient,
    source_tree,
    wait::{Look, eventually},
    ws_client::{PATIENCE, WsClient, WsRequest},
};

use crate::stage::{NOTICED, STARTED, Stage};

#[tokio::test]
async fn the_sample_becomes_ready_and_does_what_users_are_promised() -> Result<()> {
    let stage = Stage::new("sample").await?;
    let ns = &stage.ns;
    let sample = source_tree::root().join("manifests/samples/chat.yaml");
    ns.kubectl.run(&["apply", "-f", &sample.to_string_lossy()]).await?;
    ns.kubectl.run(&["wait", "wsc/chat", "--for=condition=Ready", "--timeout=180s"]).await?;
    let chat = TestCluster { namespace: ns, name: "chat" };
    chat.ready(3, PATIENCE).await?;

    let mut alice = chat.connect("alice", 0).await?;
    let mut carol = chat.connect("carol", 1).await?;
    let mut bob = chat.connect("bob", 2).await?;
    assert_eq!(alice.send_to("bob", "from pod 0 to pod 2").await?, "delivered");
    assert_eq!(bob.expect_text("from pod 0 to pod 2").await?["sender"], "alice");
    assert_eq!(bob.send_to("alice", "and back").await?, "delivered");
    alice.expect_text("and back").await?;

    let names = ["chat-0", "chat-1", "chat-2"].map(str::to_owned);
    for asked in 0..3 {
        chat.nodes_are(asked, &names, PATIENCE).await?;
    }
    let (api, _forward) = chat.api(1).await?;
    let rows = api.get("/nodes").await?.ok()?;
    for row in rows.as_array().into_iter().flatten() {
        let pod = ns.get(POD, row["id"].as_str().unwrap_or_default()).await?;
        assert_eq!(row["ip_address"], pod["status"]["podIP"], "{row}");
    }
    assert_eq!(api.user("bob").await?["nodes"], json!(["chat-2"]));

    let result = api.broadcast("to all pods").await?;
    assert_eq!(
        (&result["status"], &result["nodes_expected"], &result["nodes_answered"], &result["connections"]),
        (&json!("complete"), &json!(3), &json!(3), &json!(3)),
        "{result}"
    );
    for client in [&mut alice, &mut bob, &mut carol] {
        client.expect_text("to all pods").await?;
        client.expect_nothing().await?;
    }

    let mut second = chat.connect("bob", 0).await?;
    let kicked = api.kick("bob", "enough").await?;
    assert_eq!(kicked["kicked_connections"], 2, "{kicked}");
    bob.expect_close(4001, PATIENCE).await?;
    second.expect_close(4001, PATIENCE).await?;
    alice.expect_nothing().await?;
    ns.kubectl.run(&["delete", "wsc/chat", "--wait=false"]).await?;
    Ok(())
}

#[tokio::test]
async fn a_lost_pod_comes_back_its_records_go_and_its_clients_return() -> Result<()> {
    let stage = Stage::new("lost-pod").await?;
    let chat = TestCluster::create(&stage.ns, "chat", &small_spec(2)).await?;
    chat.ready(2, STARTED).await?;
    let token = chat.token("carol").await?;
    // As behind a load balancer that prefers the second pod.
    let forwards = Arc::new((chat.forward(1, CLIENT_PORT).await?, chat.forward(0, CLIENT_PORT).await?));
    let carol = ReconnectingClient::start(Box::new(move || {
        let (forwards, token) = (Arc::clone(&forwards), token.clone());
        Box::pin(async move {
            let request = WsRequest::token(&token);
            match WsClient::upgrade(forwards.0.address(), &request).await {
                Ok(open @ wsc_tests::ws_client::Upgrade::Open(_)) => Ok(open),
                _ => WsClient::upgrade(forwards.1.address(), &request).await,
            }
        })
    }));
    assert_eq!(carol.connected(1, PATIENCE).await?, "chat-1");
    // This one does not come back.
    let alice = chat.connect("alice", 1).await?;
    let (api, _forward) = chat.api(0).await?;
    assert_eq!(api.user("alice").await?["nodes"], json!(["chat-1"]));

    let old = chat.pod_uid(1).await?;
    // No grace: the process is killed, as when a machine is lost.
    stage.ns.kubectl.run(&["delete", "pod", "chat-1", "--grace-period=0", "--force"]).await?;
    drop(alice);
    eventually("alice is offline", NOTICED, async || {
        // In the first lease of a fresh Redis nobody can be said to be offline.
        let answer = api.get("/v1/users/alice").await?;
        let offline = answer.status == 200 && answer.json()?["online"] == false;
        Ok(Look::when(offline, (), answer.text))
    })
    .await?;
    chat.replaced(1, &old, STARTED).await?;
    chat.ready(2, STARTED).await?;
    carol.connected(2, Duration::from_secs(60)).await?;
    eventually("carol is reached", PATIENCE, async || {
        let sent = api.send("carol", "welcome back").await?;
        Ok(Look::when(sent["status"] == "delivered", (), sent))
    })
    .await?;
    carol.received("welcome back", PATIENCE).await?;
    Ok(())
}

#[tokio::test]
async fn a_pod_that_is_deleted_politely_sends_its_clients_away_first() -> Result<()> {
    let stage = Stage::new("polite").await?;
    let chat = TestCluster::create(&stage.ns, "chat", &small_spec(2)).await?;
    chat.ready(2, STARTED).await?;
    let mut alice = chat.connect("alice", 1).await?;
    let old = chat.pod_uid(1).await?;
    stage.ns.delete(POD, "chat-1").await?;
    let notice = alice.expect("going_away").await?;
    assert!(notice["data"]["retry_after_ms"].is_u64(), "{notice}");
    alice.expect_close(1012, PATIENCE).await?;
    chat.replaced(1, &old, STARTED).await?;
    chat.ready(2, STARTED).await?;
    chat.nodes_are(0, &["chat-0".to_owned(), "chat-1".to_owned()], PATIENCE).await
}
