//! Sends between hubs at a steady rate while something breaks, and what became of each.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::{
    hub_process::HubProcess,
    wait::at_most,
    ws_client::{Incoming, WsClient},
};

/// Between two handfuls of sends.
const TICK: Duration = Duration::from_millis(5);
/// Longest wait for the answers to what was sent last: a send may take 5 s, and the machine may be busy.
const LAST_ANSWERS: Duration = Duration::from_secs(15);

/// What was sent, answered and received.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Frames sent.
    pub sent: u64,
    /// Answers by their status; errors by their code.
    pub answers: BTreeMap<String, u64>,
    /// Messages that the hub called delivered.
    pub confirmed: BTreeSet<String>,
    /// How often each message came.
    pub received: BTreeMap<String, u64>,
    /// How long was sent.
    pub took: Duration,
    /// Longest time in which no answer said delivered.
    pub longest_silence: Duration,
}

impl Ledger {
    fn add(&mut self, other: Self) {
        self.sent += other.sent;
        for (answer, count) in other.answers {
            *self.answers.entry(answer).or_default() += count;
        }
        self.confirmed.extend(other.confirmed);
        for (message, count) in other.received {
            *self.received.entry(message).or_default() += count;
        }
        self.took = self.took.max(other.took);
        self.longest_silence = self.longest_silence.max(other.longest_silence);
    }

    /// Checks that whatever the hub called delivered did come, and that nothing came twice.
    ///
    /// # Errors
    /// With those that did not, or came twice.
    pub fn is_true(&self) -> Result<()> {
        let lost: Vec<_> = self.confirmed.iter().filter(|id| !self.received.contains_key(*id)).collect();
        ensure!(
            lost.is_empty(),
            "{} confirmed and never received: {:?}",
            lost.len(),
            &lost[..lost.len().min(5)]
        );
        let twice: Vec<_> = self.received.iter().filter(|(_, count)| **count > 1).collect();
        ensure!(twice.is_empty(), "{} received twice: {:?}", twice.len(), &twice[..twice.len().min(5)]);
        Ok(())
    }

    /// A line for the test's output.
    #[must_use]
    pub fn summary(&self) -> String {
        let rate =
            f64::from(u32::try_from(self.sent).unwrap_or(u32::MAX)) / self.took.as_secs_f64().max(0.001);
        format!(
            "sent {} in {:.1} s ({rate:.0}/s), confirmed {}, received {}, longest silence {:.1} s, answers {:?}",
            self.sent,
            self.took.as_secs_f64(),
            self.confirmed.len(),
            self.received.len(),
            self.longest_silence.as_secs_f64(),
            self.answers
        )
    }
}

/// A sender and a receiver at each hub; each sender writes to the receiver of the next hub.
#[derive(Debug)]
pub struct Traffic {
    senders: Vec<JoinHandle<Result<Ledger>>>,
    receivers: Vec<JoinHandle<Result<Ledger>>>,
    stop_sending: CancellationToken,
    stop_reading: CancellationToken,
}

impl Traffic {
    /// Starts to send, `per_second` in all. The hubs' limits for one client must allow it.
    ///
    /// # Errors
    /// When a client cannot connect.
    pub async fn start(hubs: &[HubProcess], per_second: u32) -> Result<Self> {
        let (stop_sending, stop_reading) = (CancellationToken::new(), CancellationToken::new());
        let mut traffic = Self { senders: Vec::new(), receivers: Vec::new(), stop_sending, stop_reading };
        for (number, hub) in hubs.iter().enumerate() {
            let client = hub.connect(&format!("receiver-{number}")).await?;
            traffic.receivers.push(tokio::spawn(read(client, traffic.stop_reading.clone())));
        }
        let each = f64::from(per_second) / f64::from(u32::try_from(hubs.len())?);
        for (number, hub) in hubs.iter().enumerate() {
            let client = hub.connect(&format!("sender-{number}")).await?;
            let receiver = format!("receiver-{}", (number + 1) % hubs.len());
            traffic.senders.push(tokio::spawn(send(
                client,
                number,
                receiver,
                each,
                traffic.stop_sending.clone(),
            )));
        }
        Ok(traffic)
    }

    /// Ends sending, waits for the last answers, and sums up.
    ///
    /// # Errors
    /// When a client was disconnected, or an answer is missing.
    pub async fn finish(self) -> Result<Ledger> {
        let mut ledger = Ledger::default();
        self.stop_sending.cancel();
        for sender in self.senders {
            ledger.add(sender.await??);
        }
        // What was confirmed has left its hub; it is read before each receiver's end.
        self.stop_reading.cancel();
        for receiver in self.receivers {
            ledger.add(receiver.await??);
        }
        Ok(ledger)
    }
}

async fn send(
    mut client: WsClient,
    number: usize,
    receiver: String,
    per_second: f64,
    stop: CancellationToken,
) -> Result<Ledger> {
    let (mut ledger, mut open) = (Ledger::default(), BTreeSet::new());
    let began = Instant::now();
    let mut last_good = began;
    let mut tick = tokio::time::interval(TICK);
    while !stop.is_cancelled() {
        tokio::select! {
            () = stop.cancelled() => {}
            _ = tick.tick() => {
                #[expect(clippy::cast_precision_loss, reason = "counts of a test are small")]
                while (ledger.sent as f64) < began.elapsed().as_secs_f64() * per_second {
                    let id = format!("{number}-{}", ledger.sent);
                    client
                        .send(&json!({"message_type": "text", "receiver": receiver, "content": id, "message_id": id}))
                        .await?;
                    open.insert(id);
                    ledger.sent += 1;
                }
            }
            answer = client.next(LAST_ANSWERS) => note(answer?, &mut ledger, &mut open, &mut last_good)?,
        }
    }
    ledger.took = began.elapsed();
    at_most("all answers come", LAST_ANSWERS, async {
        while !open.is_empty() {
            note(client.next(LAST_ANSWERS).await?, &mut ledger, &mut open, &mut last_good)?;
        }
        Ok(())
    })
    .await
    .and_then(|all| all)
    .with_context(|| format!("{} answers are missing", open.len()))?;
    Ok(ledger)
}

fn note(
    answer: Incoming,
    ledger: &mut Ledger,
    open: &mut BTreeSet<String>,
    last_good: &mut Instant,
) -> Result<()> {
    let frame = match answer {
        Incoming::Frame(frame) => frame,
        other => anyhow::bail!("a sender was disconnected: {other:?}"),
    };
    let id = frame["message_id"].as_str().unwrap_or_default().to_owned();
    ensure!(open.remove(&id), "an answer to nothing: {frame}");
    let said = frame["status"].as_str().or(frame["code"].as_str()).unwrap_or("neither status nor code");
    *ledger.answers.entry(said.to_owned()).or_default() += 1;
    if said == "delivered" {
        ledger.confirmed.insert(id);
        ledger.longest_silence = ledger.longest_silence.max(last_good.elapsed());
        *last_good = Instant::now();
    }
    Ok(())
}

async fn read(mut client: WsClient, stop: CancellationToken) -> Result<Ledger> {
    let mut ledger = Ledger::default();
    loop {
        tokio::select! {
            biased;
            frame = client.next(Duration::from_secs(60)) => match frame? {
                Incoming::Frame(frame) => {
                    let content = frame["content"].as_str().unwrap_or_default().to_owned();
                    *ledger.received.entry(content).or_default() += 1;
                }
                other => anyhow::bail!("a receiver was disconnected: {other:?}"),
            },
            () = stop.cancelled() => break,
        }
    }
    // The answer to a ping comes behind all that was queued before it.
    client.send(&json!({"message_type": "ping", "message_id": "last"})).await?;
    loop {
        match client.next(LAST_ANSWERS).await? {
            Incoming::Frame(frame) if frame["message_type"] == "pong" => return Ok(ledger),
            Incoming::Frame(frame) => {
                let content = frame["content"].as_str().unwrap_or_default().to_owned();
                *ledger.received.entry(content).or_default() += 1;
            }
            other => anyhow::bail!("a receiver was disconnected: {other:?}"),
        }
    }
}
