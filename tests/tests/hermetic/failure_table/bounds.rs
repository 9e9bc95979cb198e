//! Too much of anything: each bound has a named answer and a metric.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use wsc_tests::{
    api_client::ApiClient,
    lone_hub::LoneHub,
    ws_client::{Incoming, PATIENCE, WsClient, WsRequest},
};

/// Runs something and gives how much a metric rose by it.
async fn rise(api: &ApiClient, name: &str, work: impl Future<Output = Result<()>>) -> Result<u64> {
    let before = api.counted(name).await?;
    work.await?;
    Ok(api.counted(name).await? - before)
}

/// Counts the answers to what is sent by how they are named.
async fn answers(client: &mut WsClient, frames: &[Value]) -> Result<(usize, usize)> {
    for frame in frames {
        client.send(frame).await?;
    }
    let (mut good, mut limited) = (0, 0);
    for _ in frames {
        match client.next(PATIENCE).await? {
            Incoming::Frame(frame) if frame["code"] == "rate_limited" => limited += 1,
            Incoming::Frame(frame) if frame["message_type"] == "pong" => good += 1,
            other => anyhow::bail!("{other:?}"),
        }
    }
    Ok((good, limited))
}

#[tokio::test]
async fn too_many_connections_too_many_frames_and_too_much_in_a_body_are_answered_by_name_and_counted()
-> Result<()> {
    let lone = LoneHub::trusted(|options| {
        options
            .set("WSC_MAX_CONNECTIONS", "3")
            .set("WSC_CLIENT_RATE", "5")
            .set("WSC_MAX_MESSAGE_BYTES", "1024")
    })
    .await?;
    let api = lone.api()?;
    let mut clients = Vec::new();
    for number in 0..3 {
        clients.push(lone.hub.connect(&format!("user-{number}")).await?);
    }

    let refused = rise(&api, "wsc_handshake_refusals_total{code=\"node_full\"}", async {
        let answer = WsClient::refused(lone.hub.client, &WsRequest::user("late")).await?;
        answer.problem(503, "node_full")?;
        ensure!(answer.headers.contains_key("retry-after"), "no Retry-After");
        Ok(())
    });
    assert_eq!(refused.await?, 1, "a connection too many");

    let ping = json!({"message_type": "ping", "message_id": "p"});
    let frames = vec![ping; 40];
    let limited = rise(&api, "wsc_bad_frames_total{code=\"rate_limited\"}", async {
        let (good, limited) = answers(&mut clients[0], &frames).await?;
        println!("40 frames at 5/s: {good} answered, {limited} refused");
        ensure!(good >= 10 && limited >= 10 && good + limited == 40, "{good} good, {limited} limited");
        Ok(())
    });
    assert!(limited.await? >= 10, "frames too many");

    let too_big = rise(&api, "wsc_closes_total{code=\"1009\",reason=\"too_big\"}", async {
        clients[1].send(&json!({"content": "x".repeat(1024)})).await?;
        clients[1].expect_close(1009, PATIENCE).await.map(drop)
    });
    assert_eq!(too_big.await?, 1, "a message too big");

    let bad = rise(&api, "wsc_closes_total{code=\"1008\",reason=\"bad_frames\"}", async {
        for _ in 0..10 {
            clients[2].send_text("no json").await?;
        }
        clients[2].expect_close(1008, PATIENCE).await.map(drop)
    });
    assert_eq!(bad.await?, 1, "bad frames too many");

    let large = json!({"content": "x".repeat(1024 + 64 * 1024)});
    for path in ["/v1/users/user-0/messages", "/v1/broadcast", "/v1/users/user-0/kick"] {
        api.post(path, &large).await?.problem(413, "payload_too_large")?;
    }
    let crowd: Vec<Value> = (0..1001).map(|number| json!({"receiver": format!("u{number}")})).collect();
    let answer = api.post("/v1/messages", &json!({"messages": crowd})).await?;
    ensure!(
        (400..500).contains(&answer.status.as_u16()),
        "1,001 messages: {} {}",
        answer.status,
        answer.text
    );
    lone.hub.client_http()?.get("/health").await?.ok()?;
    Ok(())
}

#[tokio::test]
async fn a_client_too_slow_for_its_queue_in_messages_or_in_bytes_is_closed_and_what_it_lost_is_counted()
-> Result<()> {
    for (setting, value, content) in
        [("WSC_MESSAGE_BUFFER_SIZE", "8", 30_000), ("WSC_OUTBOUND_QUEUE_BYTES", "70000", 30_000)]
    {
        let lone = LoneHub::trusted(|options| options.set(setting, value)).await?;
        let api = lone.api()?;
        let mut slow = lone.hub.connect("slow").await?;
        let before = api.counted("wsc_frames_dropped_total").await?;
        let body = json!({"content": "x".repeat(content), "options": {"wait": "none"}});
        let (mut sent, mut refused) = (0, String::new());
        // What the kernel takes on loopback is some megabytes.
        while sent < 1500 && refused.is_empty() {
            let answer = api.post("/v1/users/slow/messages", &body).await?.ok()?;
            if answer["status"] == "accepted" {
                sent += 1;
            } else {
                refused = answer["status"].as_str().unwrap_or("?").to_owned();
            }
        }
        ensure!(!refused.is_empty(), "{setting}: {sent} messages of {content} bytes were queued");
        let mut read = 0;
        let end = loop {
            match slow.next(PATIENCE).await? {
                Incoming::Frame(_) => read += 1,
                end => break end,
            }
        };
        let Incoming::Close { code: 4004, .. } = end else { anyhow::bail!("{setting}: {end:?}") };
        lone.connections(0, PATIENCE).await?;
        let dropped = api.metric("wsc_frames_dropped_total").await? - before;
        println!(
            "{setting}={value}: {sent} accepted, then {refused}; {read} read, {dropped} counted as dropped"
        );
        assert!(dropped > 0, "{setting}");
        assert!(read + usize::try_from(dropped)? >= sent, "{read} read and {dropped} dropped of {sent}");
    }
    Ok(())
}

#[tokio::test]
async fn too_many_sockets_before_the_upgrade_wait_and_those_that_say_nothing_are_closed() -> Result<()> {
    use tokio::{io::AsyncReadExt as _, net::TcpStream};
    let lone = LoneHub::trusted(|options| options.set("WSC_HANDSHAKE_TIMEOUT", "500ms")).await?;
    let mut silent = Vec::new();
    for _ in 0..500 {
        silent.push(TcpStream::connect(lone.hub.client).await?);
    }
    // Others are served meanwhile.
    lone.hub.connect("alice").await?.expect_nothing().await?;
    let mut closed = 0;
    for socket in &mut silent {
        let mut byte = [0];
        let read = tokio::time::timeout(Duration::from_secs(10), socket.read(&mut byte)).await?;
        closed += usize::from(!matches!(read, Ok(1)));
    }
    println!("{closed} of 500 silent sockets were closed");
    assert_eq!(closed, 500);
    Ok(())
}
