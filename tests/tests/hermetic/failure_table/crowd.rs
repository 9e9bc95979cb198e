//! Clients that stay and read, and clients that come and go, while something fails. All is counted.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use wsc_tests::{
    hub_process::HubProcess,
    wait::{Look, at_most, eventually},
    ws_client::{Incoming, WsClient, WsRequest},
};

/// Longest a read waits before it looks whether the test is over.
const ROUND: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
struct Heard {
    /// How often each content came.
    contents: BTreeMap<String, usize>,
    /// Why the connection ended, if it did.
    ended: Option<String>,
}

/// A client that stays and reads.
#[derive(Debug)]
pub(crate) struct Member {
    /// Its user.
    pub(crate) user: String,
    heard: Arc<Mutex<Heard>>,
    reader: JoinHandle<()>,
}

impl Drop for Member {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// Clients that stay.
#[derive(Debug, Default)]
pub(crate) struct Crowd(pub(crate) Vec<Member>);

impl Crowd {
    /// Connects `count` users `<name>-<number>` to one hub.
    pub(crate) async fn connect(hub: &HubProcess, name: &str, count: usize) -> Result<Self> {
        let mut members = Vec::new();
        for number in 0..count {
            let user = format!("{name}-{number}");
            let mut client = hub.connect(&user).await?;
            let heard = Arc::new(Mutex::new(Heard::default()));
            let shared = Arc::clone(&heard);
            let reader = tokio::spawn(async move {
                loop {
                    let next = client.next(ROUND).await;
                    let mut heard = shared.lock().unwrap_or_else(PoisonError::into_inner);
                    match next {
                        Ok(Incoming::Frame(frame)) => {
                            let content = frame["content"].as_str().unwrap_or_default().to_owned();
                            *heard.contents.entry(content).or_default() += 1;
                        }
                        Ok(end) => {
                            heard.ended = Some(format!("{end:?}"));
                            return;
                        }
                        // Nothing came for a while.
                        Err(_) => {}
                    }
                }
            });
            members.push(Member { user, heard, reader });
        }
        Ok(Self(members))
    }

    /// Users whose connection ended, and how.
    pub(crate) fn ended(&self) -> Vec<String> {
        let ended = self.0.iter().filter_map(|member| {
            let heard = member.heard.lock().unwrap_or_else(PoisonError::into_inner);
            heard.ended.as_ref().map(|end| format!("{}: {end}", member.user))
        });
        ended.collect()
    }

    /// How often a content came to each client, in order.
    pub(crate) fn counts(&self, content: &str) -> Vec<usize> {
        let counts = self.0.iter().map(|member| {
            let heard = member.heard.lock().unwrap_or_else(PoisonError::into_inner);
            heard.contents.get(content).copied().unwrap_or(0)
        });
        counts.collect()
    }

    /// How many frames came whose content begins like this, at all clients.
    pub(crate) fn beginning(&self, with: &str) -> usize {
        let counts = self.0.iter().map(|member| {
            let heard = member.heard.lock().unwrap_or_else(PoisonError::into_inner);
            heard
                .contents
                .iter()
                .filter(|(content, _)| content.starts_with(with))
                .map(|(_, n)| n)
                .sum::<usize>()
        });
        counts.sum()
    }

    /// Waits until a content came to each client once, and no client got it twice.
    pub(crate) async fn each_got_once(&self, content: &str, within: Duration) -> Result<()> {
        eventually(&format!("each of {} clients gets {content:?}", self.0.len()), within, async || {
            let counts = self.counts(content);
            ensure!(counts.iter().all(|count| *count <= 1), "{content:?} came twice: {counts:?}");
            Ok(Look::when(counts.iter().all(|count| *count == 1), (), format!("{counts:?}")))
        })
        .await
    }
}

/// What clients that come and go found.
#[derive(Debug, Default)]
pub(crate) struct Visits {
    /// Connected, got the answer to a ping, and left with an answered close.
    pub(crate) good: usize,
    /// The longest visit.
    pub(crate) longest: Duration,
    /// What went wrong in the others.
    pub(crate) bad: Vec<String>,
}

/// Clients that come and go at one hub, one after the other.
#[derive(Debug)]
pub(crate) struct Visitors {
    stop: CancellationToken,
    visits: JoinHandle<Visits>,
}

impl Visitors {
    /// Starts; each visitor is a user of its own.
    pub(crate) fn start(address: SocketAddr, name: &'static str) -> Self {
        let stop = CancellationToken::new();
        let told = stop.clone();
        let visits = tokio::spawn(async move {
            let mut visits = Visits::default();
            for number in 0.. {
                if told.is_cancelled() {
                    break;
                }
                let began = Instant::now();
                match visit(address, &format!("{name}-visitor-{number}")).await {
                    Ok(()) => visits.good += 1,
                    Err(error) => visits.bad.push(format!("{error:#}")),
                }
                visits.longest = visits.longest.max(began.elapsed());
                // A steady trickle, not a load test.
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            visits
        });
        Self { stop, visits }
    }

    /// Ends after the visit that is under way.
    pub(crate) async fn finish(self) -> Result<Visits> {
        self.stop.cancel();
        at_most("the last visit ends", Duration::from_secs(30), self.visits)
            .await?
            .context("a visitor panicked")
    }
}

async fn visit(address: SocketAddr, user: &str) -> Result<()> {
    let mut client = WsClient::connect(address, &WsRequest::user(user)).await?;
    client.send(&json!({"message_type": "ping", "message_id": "here"})).await?;
    loop {
        match client.next(Duration::from_secs(10)).await? {
            Incoming::Frame(frame) if frame["message_type"] == "pong" => break,
            // A broadcast to everyone.
            Incoming::Frame(_) => {}
            end => anyhow::bail!("{end:?}"),
        }
    }
    client.close().await
}
