//! Connections cut at random while messages are stored: all of them arrive, in order, none twice.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use futures::FutureExt as _;
use serde_json::{Value, json};
use wsc_tests::{
    hub_fleet::HubFleet,
    reconnecting_client::ReconnectingClient,
    wait::{Look, eventually},
    ws_client::{WsClient, WsRequest},
};

const USERS: usize = 40;
/// After the last message all are back and have everything within this.
const CAUGHT_UP: Duration = Duration::from_secs(30);

/// How long it goes on, and how long a cut connection stays away: longer by `WSC_JITTER_SECONDS`.
fn extent() -> Result<(Duration, Duration, Duration)> {
    let ms = Duration::from_millis;
    match std::env::var("WSC_JITTER_SECONDS") {
        Ok(seconds) => Ok((Duration::from_secs(seconds.parse()?), ms(500), ms(5000))),
        Err(_) => Ok((ms(6000), ms(100), ms(1500))),
    }
}

#[tokio::test]
async fn stored_messages_reach_devices_whose_connections_are_cut_at_random() -> Result<()> {
    let (lasts, shortest, longest) = extent()?;
    let fleet = HubFleet::start(3).await?;
    let hubs: Arc<[_]> = fleet.hubs.iter().map(|hub| hub.client).collect();
    let clients: Vec<ReconnectingClient> = (0..USERS)
        .map(|n| {
            let hubs = Arc::clone(&hubs);
            ReconnectingClient::resuming(Box::new(move |offset| {
                let at = hubs[rand::random_range(0..hubs.len())];
                let offset = offset.map_or_else(String::new, |offset| format!("&offset={offset}"));
                let target = format!("/ws?user_id=user-{n}&client_id=phone{offset}");
                async move { WsClient::upgrade(at, &WsRequest::new(&target)).await }.boxed()
            }))
        })
        .collect();
    for client in &clients {
        client.connected(1, CAUGHT_UP).await?;
    }
    let began = Instant::now();
    let cutting = async {
        let mut cuts = 0;
        while began.elapsed() < lasts {
            // About a third of them are away at any time.
            tokio::time::sleep(longest.mul_f64(rand::random::<f64>() * 2.0 / USERS as f64)).await;
            let client = &clients[rand::random_range(0..USERS)];
            if client.node().is_some() {
                client.cut(rand::random_range(shortest..longest));
                cuts += 1;
            }
        }
        cuts
    };
    let sending = async |asked: usize| {
        let api = fleet.api(asked)?;
        // Each sender has its own users, so that their order is known.
        let mine: Vec<usize> = (0..USERS).filter(|user| user % 3 == asked).collect();
        let mut sent = vec![0usize; USERS];
        while began.elapsed() < lasts {
            // Not so many that an inbox is over its limits before its device is back.
            tokio::time::sleep(Duration::from_millis(20)).await;
            let messages: Vec<Value> = (0..20)
                .map(|_| {
                    let user = mine[rand::random_range(0..mine.len())];
                    sent[user] += 1;
                    let content = (sent[user] - 1).to_string();
                    json!({"receiver": format!("user-{user}"), "content": content,
                        "options": {"store": true, "timeout_ms": 20_000}})
                })
                .collect();
            let answer = api.post("/v1/messages", &json!({ "messages": messages })).await?.ok()?;
            for result in answer["results"].as_array().context("no results")? {
                ensure!(result["offset"].is_string(), "not stored: {result}");
            }
        }
        anyhow::Ok(sent)
    };
    let (cuts, a, b, c) = tokio::join!(cutting, sending(0), sending(1), sending(2));
    let (a, b, c) = (a?, b?, c?);
    let sent: Vec<usize> = (0..USERS).map(|user| a[user] + b[user] + c[user]).collect();
    let total: usize = sent.iter().sum();
    eventually("all have everything", CAUGHT_UP, async || {
        let got: usize = clients.iter().map(|client| client.contents().len()).sum();
        Ok(Look::when(got >= total, (), format!("{got} of {total}")))
    })
    .await?;
    let (mut doubled, mut replays) = (0, Vec::new());
    for (user, client) in clients.iter().enumerate() {
        let expected: Vec<String> = (0..sent[user]).map(|n| n.to_string()).collect();
        assert_eq!(client.contents(), expected, "user-{user}, in order");
        let place = client.place();
        assert!(place.gaps.is_empty(), "user-{user} was told of {:?}", place.gaps);
        doubled += place.doubled;
        replays.extend(place.replays);
    }
    replays.sort();
    let at = |percent: usize| replays[(replays.len() - 1) * percent / 100];
    println!(
        "{total} stored messages to {USERS} devices, {cuts} cuts, {} replays: p50 {:?}, p99 {:?}; {doubled} came twice",
        replays.len(),
        at(50),
        at(99)
    );
    assert_eq!(doubled, 0, "messages came twice to clients that say what they have");
    ensure!(replays.len() > USERS, "hardly any connection was cut: {}", replays.len());
    Ok(())
}
