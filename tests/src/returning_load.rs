//! Clients that come back by themselves, and a backend that sends to them at a steady rate, live and stored, while what
//! carries them is replaced; and what became of each message.

use std::{
    collections::BTreeMap,
    fmt::{self, Display},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use futures::future::BoxFuture;
use serde_json::{Value, json};
use tokio::{
    sync::mpsc,
    task::{JoinHandle, JoinSet},
};
use tokio_util::sync::CancellationToken;

use crate::{
    api_client::ApiClient,
    reconnecting_client::{Event, ReconnectingClient},
    wait::{Look, eventually},
    ws_client::Upgrade,
};

/// Between two handfuls of sends.
const TICK: Duration = Duration::from_millis(10);
/// Before a send without an answer is repeated.
const REPEAT: Duration = Duration::from_millis(100);
/// How long a send is repeated.
const REPEATED: Duration = Duration::from_secs(20);
/// Until all clients are there, or back, on a busy machine.
const BACK: Duration = Duration::from_secs(60);
/// An answer may overtake its frame on the way to the client.
const ARRIVED: Duration = Duration::from_secs(10);

/// Opens a connection for the user of a number, at an offset if it has one.
pub type Open = Arc<dyn Fn(usize, Option<String>) -> BoxFuture<'static, Result<Upgrade>> + Send + Sync>;

/// Where the next send goes; none when no node is there.
pub type PickApi = Arc<dyn Fn() -> Option<ApiClient> + Send + Sync>;

/// Name of the user of a number.
#[must_use]
pub fn user(number: usize) -> String {
    format!("roller-{number}")
}

/// Clients that come back by themselves, say which offset they have, and acknowledge what they get.
#[derive(Debug)]
pub struct ReturningClients(Vec<ReconnectingClient>);

impl ReturningClients {
    /// Connects `count` users.
    ///
    /// # Errors
    /// When not all are there within a minute.
    pub async fn start(count: usize, open: &Open) -> Result<Self> {
        let mut clients = Vec::new();
        for number in 0..count {
            let open = Arc::clone(open);
            clients.push(ReconnectingClient::resuming(Box::new(move |offset| open(number, offset))));
            // Not a load test of the harness.
            if number % 50 == 49 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        let clients = Self(clients);
        clients.all_connected().await?;
        Ok(clients)
    }

    /// Waits until all are connected.
    ///
    /// # Errors
    /// After a minute, with how many are not.
    pub async fn all_connected(&self) -> Result<()> {
        eventually("all clients are connected", BACK, async || {
            let missing = self.0.iter().filter(|client| client.node().is_none()).count();
            Ok(Look::when(missing == 0, (), format!("{missing} are not")))
        })
        .await
    }

    /// How many are connected to each node.
    #[must_use]
    pub fn nodes(&self) -> BTreeMap<String, usize> {
        let mut nodes = BTreeMap::new();
        for node in self.0.iter().filter_map(ReconnectingClient::node) {
            *nodes.entry(node).or_default() += 1;
        }
        nodes
    }

    /// How many clients have connected more often than once.
    #[must_use]
    pub fn moved(&self) -> usize {
        self.0.iter().filter(|client| client.connects() > 1).count()
    }

    /// How often they connected beyond the first time, in all.
    #[must_use]
    pub fn reconnects(&self) -> usize {
        self.0.iter().map(|client| client.connects().saturating_sub(1)).sum()
    }

    /// How connections and attempts ended, with how often.
    #[must_use]
    pub fn ends(&self) -> BTreeMap<String, usize> {
        let mut ends = BTreeMap::<String, usize>::new();
        for event in self.0.iter().flat_map(ReconnectingClient::events) {
            let end = match event {
                Event::Lost(code) => format!("{code:?}"),
                Event::Failed(why) => why.split(':').next().unwrap_or_default().to_owned(),
                _ => continue,
            };
            *ends.entry(end).or_default() += 1;
        }
        ends
    }

    /// How often each text came to its user, by what the client let through.
    fn received(&self) -> BTreeMap<String, usize> {
        let mut contents = BTreeMap::new();
        for (number, client) in self.0.iter().enumerate() {
            for content in client.contents() {
                *contents.entry(format!("{} {content}", user(number))).or_default() += 1;
            }
        }
        contents
    }

    /// Stored messages that came again after they had come, and were dropped by their offset.
    fn repeated(&self) -> usize {
        self.0.iter().map(|client| client.place().doubled).sum()
    }

    /// Gaps in inboxes that clients were told of.
    fn gaps(&self) -> usize {
        self.0.iter().map(|client| client.place().gaps.len()).sum()
    }
}

/// What became of a send.
#[derive(Debug, Clone)]
pub struct Sent {
    /// The user and the content.
    message: String,
    stored: bool,
    answer: Value,
    /// How often it was sent before there was an answer.
    attempts: usize,
    began: Instant,
    took: Duration,
}

/// A backend that sends to random users at a steady rate.
#[derive(Debug)]
pub struct SteadySends {
    stop: CancellationToken,
    task: JoinHandle<Vec<Sent>>,
}

impl SteadySends {
    /// Sends `live` messages a second with `wait: delivered`, and `stored` ones. What has no answer is repeated with its
    /// `message_id`.
    #[must_use]
    pub fn start(clients: usize, live: usize, stored: usize, pick: PickApi) -> Self {
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let (began, mut count) = (Instant::now(), 0usize);
            let (answered, mut answers) = mpsc::unbounded_channel();
            let (mut sends, mut sending) = (Vec::new(), JoinSet::new());
            let mut tick = tokio::time::interval(TICK);
            while !stopped.is_cancelled() {
                tick.tick().await;
                let due = usize::try_from(began.elapsed().as_millis()).unwrap_or(0) * (live + stored) / 1000;
                while count < due {
                    let is_stored = count % (live + stored) < stored;
                    let (user, pick) = (user(rand::random_range(0..clients)), Arc::clone(&pick));
                    let answered = answered.clone();
                    sending.spawn(async move {
                        // The receiver lives as long as this.
                        drop(answered.send(send(user, count, is_stored, &pick).await));
                    });
                    count += 1;
                }
                while sending.try_join_next().is_some() {}
                while let Ok(sent) = answers.try_recv() {
                    sends.push(sent);
                }
            }
            while sending.join_next().await.is_some() {}
            while let Ok(sent) = answers.try_recv() {
                sends.push(sent);
            }
            sends
        });
        Self { stop, task }
    }

    /// Ends sending, and waits for the last answers.
    ///
    /// # Errors
    /// When the sender panicked.
    pub async fn finish(self) -> Result<Vec<Sent>> {
        self.stop.cancel();
        self.task.await.context("the sender panicked")
    }
}

async fn send(user: String, number: usize, stored: bool, pick: &PickApi) -> Sent {
    let content = format!("{}{number}", if stored { 's' } else { 'm' });
    let body = json!({"content": content, "message_id": content, "options": {"store": stored}});
    let path = format!("/v1/users/{user}/messages");
    let (began, mut attempts) = (Instant::now(), 0);
    let answer = loop {
        attempts += 1;
        let answer = match pick() {
            Some(api) => api.post(&path, &body).await.and_then(|answer| answer.ok()),
            None => Err(anyhow::anyhow!("no node is there")),
        };
        match answer {
            Ok(answer) => break answer,
            Err(error) if began.elapsed() > REPEATED => {
                break json!({"status": "no answer", "error": format!("{error:#}")});
            }
            Err(_) => tokio::time::sleep(REPEAT).await,
        }
    };
    Sent { message: format!("{user} {content}"), stored, answer, attempts, began, took: began.elapsed() }
}

/// What the answers and the clients say together.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Messages sent live.
    pub live: usize,
    /// Messages to be stored.
    pub stored: usize,
    /// Answers to live sends by their status.
    pub live_statuses: BTreeMap<String, usize>,
    /// Answers to stored sends by their status.
    pub stored_statuses: BTreeMap<String, usize>,
    /// Called delivered, and no client has it.
    pub lost: Vec<String>,
    /// Called offline or failed at the first attempt, and a client has it.
    pub denied: Vec<String>,
    /// Live sends called neither delivered nor anything that was found wrong.
    pub undelivered: Vec<String>,
    /// Answered with an offset, and no client has it.
    pub stored_lost: Vec<String>,
    /// Not answered with an offset.
    pub not_stored: Vec<String>,
    /// Live messages that came to a client more often than once.
    pub doubled: usize,
    /// Stored messages that did so.
    pub stored_doubled: usize,
    /// Stored messages that came again, and that the client dropped by their offset.
    pub dropped_again: usize,
    /// Gaps in inboxes that clients were told of.
    pub gaps: usize,
    /// Sends repeated because there was no answer.
    pub repeated: usize,
    /// How long sends took.
    pub p50: Duration,
    /// Of a hundred sends one took longer.
    pub p99: Duration,
    /// The longest.
    pub longest: Duration,
}

impl Verdict {
    /// Waits until whatever was called delivered or stored has come, and judges; what does not come is in the verdict.
    pub async fn of(sends: &[Sent], clients: &ReturningClients) -> Self {
        let judged = eventually("all that was delivered has come", ARRIVED, async || {
            let verdict = Self::now(sends, clients);
            let missing = verdict.lost.len() + verdict.stored_lost.len();
            Ok(Look::when(missing == 0, verdict, missing))
        });
        judged.await.unwrap_or_else(|_| Self::now(sends, clients))
    }

    /// Checks what is promised while every node goes in turn, politely: nothing lost, nothing wrongly reported, all live
    /// sends delivered, all others stored, and nothing stored twice.
    ///
    /// # Panics
    /// When anything else was found, with it.
    pub fn keeps_every_promise(&self) {
        let none = Vec::<String>::new();
        assert!(self.live > 0 && self.stored > 0, "{self}");
        assert_eq!(self.lost, none, "called delivered and never received: {self}");
        assert_eq!(self.denied, none, "called undelivered and received: {self}");
        assert_eq!(self.stored_lost, none, "stored and never received: {self}");
        assert_eq!(self.not_stored, none, "not stored: {self}");
        assert_eq!(self.undelivered, none, "not delivered: {self}");
        assert_eq!((self.stored_doubled, self.dropped_again, self.gaps), (0, 0, 0), "{self}");
    }

    fn now(sends: &[Sent], clients: &ReturningClients) -> Self {
        let received = clients.received();
        let mut verdict = Self { dropped_again: clients.repeated(), gaps: clients.gaps(), ..Self::default() };
        for sent in sends {
            let status = sent.answer["status"].as_str().unwrap_or("?");
            let came = received.get(&sent.message).copied().unwrap_or(0);
            let said = || format!("{}: {}", sent.message, sent.answer);
            verdict.repeated += usize::from(sent.attempts > 1);
            if sent.stored {
                verdict.stored += 1;
                *verdict.stored_statuses.entry(status.to_owned()).or_default() += 1;
                verdict.stored_doubled += usize::from(came > 1);
                match (sent.answer["offset"].is_string(), came) {
                    (true, 0) => verdict.stored_lost.push(said()),
                    (true, _) => {}
                    (false, _) => verdict.not_stored.push(said()),
                }
            } else {
                verdict.live += 1;
                *verdict.live_statuses.entry(status.to_owned()).or_default() += 1;
                verdict.doubled += usize::from(came > 1);
                match status {
                    "delivered" if came == 0 => verdict.lost.push(said()),
                    "delivered" => {}
                    "offline" | "failed" if came > 0 && sent.attempts == 1 => verdict.denied.push(said()),
                    _ => verdict.undelivered.push(format!("{} after {:?}", said(), sent.took)),
                }
            }
        }
        (verdict.p50, verdict.p99, verdict.longest) = times(sends.iter());
        verdict
    }
}

/// The median, the 99th percentile and the longest of the times of the sends that began in a period.
#[must_use]
pub fn times_between(sends: &[Sent], from: Instant, until: Instant) -> (Duration, Duration, Duration) {
    times(sends.iter().filter(|sent| sent.began >= from && sent.began < until))
}

fn times<'a>(sends: impl Iterator<Item = &'a Sent>) -> (Duration, Duration, Duration) {
    let mut took: Vec<Duration> = sends.map(|sent| sent.took).collect();
    took.sort_unstable();
    let at = |part: usize| took.get(took.len() * part / 100).copied().unwrap_or_default();
    (at(50), at(99), took.last().copied().unwrap_or_default())
}

impl Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} sent live {:?}, {} stored {:?}; lost {}, denied {}, doubled {}; stored: lost {}, refused {}, doubled {}, \
             dropped again {}, gaps {}; repeated {}; took p50 {:?} p99 {:?} longest {:?}",
            self.live,
            self.live_statuses,
            self.stored,
            self.stored_statuses,
            self.lost.len(),
            self.denied.len(),
            self.doubled,
            self.stored_lost.len(),
            self.not_stored.len(),
            self.stored_doubled,
            self.dropped_again,
            self.gaps,
            self.repeated,
            self.p50,
            self.p99,
            self.longest
        )
    }
}
