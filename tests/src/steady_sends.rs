//! A backend that sends to many users at a steady rate, live and stored, while what carries them is replaced.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use tokio::{
    sync::mpsc,
    task::{JoinHandle, JoinSet},
};
use tokio_util::sync::CancellationToken;

use crate::{api_client::ApiClient, returning_clients::user};

/// Between two handfuls of sends.
const TICK: Duration = Duration::from_millis(10);
/// Before a send without an answer is repeated.
const REPEAT: Duration = Duration::from_millis(100);
/// How long a send is repeated.
const REPEATED: Duration = Duration::from_secs(20);

/// Where the next send goes; none when no node is there.
pub type PickApi = Arc<dyn Fn() -> Option<ApiClient> + Send + Sync>;

/// What became of a send.
#[derive(Debug, Clone)]
pub struct Sent {
    /// The user and the content.
    pub(crate) message: String,
    pub(crate) stored: bool,
    pub(crate) answer: Value,
    /// How often it was sent before there was an answer.
    pub(crate) attempts: usize,
    began: Instant,
    pub(crate) took: Duration,
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

/// The median, the 99th percentile and the longest of the times of the sends that began in a period.
#[must_use]
pub fn times_between(sends: &[Sent], from: Instant, until: Instant) -> (Duration, Duration, Duration) {
    times(sends.iter().filter(|sent| sent.began >= from && sent.began < until))
}

pub(crate) fn times<'a>(sends: impl Iterator<Item = &'a Sent>) -> (Duration, Duration, Duration) {
    let mut took: Vec<Duration> = sends.map(|sent| sent.took).collect();
    took.sort_unstable();
    let at = |part: usize| took.get(took.len() * part / 100).copied().unwrap_or_default();
    (at(50), at(99), took.last().copied().unwrap_or_default())
}
