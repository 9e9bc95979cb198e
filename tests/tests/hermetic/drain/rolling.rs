//! Every node is restarted, or killed in the middle of its drain, while messages are sent to clients that come back.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use futures::FutureExt;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use wsc_tests::{
    api_client::ApiClient,
    hub_fleet::{API_KEY, HubFleet},
    hub_process::{HubOptions, HubProcess},
    reconnecting_client::{Event, ReconnectingClient},
    wait::{Look, eventually},
    ws_client::{WsClient, WsRequest},
};

use super::leavers::drain;

/// Between two handfuls of sends.
const TICK: Duration = Duration::from_millis(10);
/// How long a load balancer needs to see that a node drains; shorter than the node settles.
const BALANCER: Duration = Duration::from_millis(300);
const SETTLE: &str = "600ms";
/// Until all clients are there, or back, on a busy machine.
const BACK: Duration = Duration::from_secs(60);

/// Where clients and backends are sent: the nodes that a load balancer believes to be well.
#[derive(Debug, Clone, Default)]
struct Balancer(Arc<Mutex<Vec<(SocketAddr, ApiClient)>>>);

impl Balancer {
    fn add(&self, hub: &HubProcess) -> Result<()> {
        let backend = (hub.client, hub.api(API_KEY)?);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(backend);
        Ok(())
    }

    fn remove(&self, client: SocketAddr) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|(address, _)| *address != client);
    }

    fn pick(&self) -> Option<(SocketAddr, ApiClient)> {
        let backends = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (!backends.is_empty()).then(|| backends[rand::random_range(0..backends.len())].clone())
    }
}

/// Clients that come back by themselves.
struct Clients(Vec<ReconnectingClient>);

impl Clients {
    async fn start(count: usize, balancer: &Balancer) -> Result<Self> {
        let mut clients = Vec::new();
        for number in 0..count {
            let (balancer, request) = (balancer.clone(), WsRequest::user(&user(number)));
            clients.push(ReconnectingClient::start(Box::new(move || {
                let (balancer, request) = (balancer.clone(), request.clone());
                async move {
                    let (address, _) = balancer.pick().context("no node is there")?;
                    WsClient::upgrade(address, &request).await
                }
                .boxed()
            })));
            // Not a load test of the harness.
            if number % 50 == 49 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        let clients = Self(clients);
        clients.all_connected().await?;
        Ok(clients)
    }

    async fn all_connected(&self) -> Result<()> {
        eventually("all clients are connected", BACK, async || {
            let missing = self.0.iter().filter(|client| client.node().is_none()).count();
            Ok(Look::when(missing == 0, (), format!("{missing} are not")))
        })
        .await
    }

    /// How often each content came to each client, and the end of what went wrong with connections.
    fn received(&self) -> (BTreeMap<String, usize>, BTreeMap<String, usize>) {
        let (mut contents, mut ends) = (BTreeMap::new(), BTreeMap::<String, usize>::new());
        for (number, client) in self.0.iter().enumerate() {
            for event in client.events() {
                match event {
                    Event::Frame(frame) if frame["message_type"] == "text" => {
                        let content = frame["content"].as_str().unwrap_or_default();
                        *contents.entry(format!("{} {content}", user(number))).or_default() += 1;
                    }
                    Event::Lost(code) => *ends.entry(format!("{code:?}")).or_default() += 1,
                    Event::Failed(why) => {
                        let why = why.split(':').next().unwrap_or_default().to_owned();
                        *ends.entry(why).or_default() += 1;
                    }
                    _ => {}
                }
            }
        }
        (contents, ends)
    }
}

fn user(number: usize) -> String {
    format!("roller-{number}")
}

/// Sends of a backend, and what was said of each.
struct Sends {
    stop: CancellationToken,
    task: tokio::task::JoinHandle<Vec<(String, Value, Duration)>>,
}

impl Sends {
    /// Sends to random users, so many per second, with `wait: delivered`.
    fn start(clients: usize, per_second: usize, balancer: &Balancer) -> Self {
        let stop = CancellationToken::new();
        let (stopped, balancer) = (stop.clone(), balancer.clone());
        let task = tokio::spawn(async move {
            let (began, mut sent, mut answers) = (Instant::now(), 0usize, Vec::new());
            let mut sending = JoinSet::new();
            let mut tick = tokio::time::interval(TICK);
            while !stopped.is_cancelled() {
                tick.tick().await;
                let due = usize::try_from(began.elapsed().as_millis()).unwrap_or(0) * per_second / 1000;
                while sent < due {
                    let (user, content) = (user(rand::random_range(0..clients)), format!("m{sent}"));
                    let balancer = balancer.clone();
                    sending.spawn(async move {
                        let began = Instant::now();
                        let answer = match balancer.pick() {
                            Some((_, api)) => {
                                let body = json!({"content": content, "message_id": content});
                                let path = format!("/v1/users/{user}/messages");
                                api.post(&path, &body).await.and_then(|answer| answer.ok())
                            }
                            None => Err(anyhow::anyhow!("no node is there")),
                        };
                        let answer = answer.unwrap_or_else(
                            |error| json!({"status": "no answer", "error": format!("{error:#}")}),
                        );
                        (format!("{user} {content}"), answer, began.elapsed())
                    });
                    sent += 1;
                }
                while let Some(Ok(answer)) = sending.try_join_next() {
                    answers.push(answer);
                }
            }
            while let Some(Ok(answer)) = sending.join_next().await {
                answers.push(answer);
            }
            answers
        });
        Self { stop, task }
    }

    async fn finish(self) -> Result<Vec<(String, Value, Duration)>> {
        self.stop.cancel();
        self.task.await.context("the sender panicked")
    }
}

/// What the answers and the clients say together.
#[derive(Debug, Default)]
struct Verdict {
    sent: usize,
    statuses: BTreeMap<String, usize>,
    /// Called delivered, and no client has it.
    lost: Vec<String>,
    /// Not called delivered, and a client has it.
    denied: Vec<String>,
    twice: usize,
    waited: usize,
    p50: Duration,
    p99: Duration,
    longest: Duration,
}

impl Verdict {
    fn of(answers: &[(String, Value, Duration)], received: &BTreeMap<String, usize>) -> Self {
        let mut verdict = Self { sent: answers.len(), ..Self::default() };
        let mut took: Vec<Duration> = Vec::with_capacity(answers.len());
        for (message, answer, after) in answers {
            let status = answer["status"].as_str().unwrap_or("?");
            *verdict.statuses.entry(status.to_owned()).or_default() += 1;
            let came = received.get(message).copied().unwrap_or(0);
            verdict.twice += usize::from(came > 1);
            if status == "delivered" && came == 0 {
                verdict.lost.push(format!("{message}: {answer}"));
            }
            if matches!(status, "offline" | "failed") && came > 0 {
                verdict.denied.push(format!("{message}: {answer}"));
            }
            verdict.waited += usize::from(*after > Duration::from_millis(50));
            took.push(*after);
        }
        took.sort_unstable();
        let at = |part: usize| took.get(took.len() * part / 100).copied().unwrap_or_default();
        (verdict.p50, verdict.p99) = (at(50), at(99));
        verdict.longest = took.last().copied().unwrap_or_default();
        verdict
    }
}

fn scale(variable: &str, usual: usize) -> usize {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

fn options(options: HubOptions) -> HubOptions {
    options
        .set("WSC_DRAIN_SETTLE", SETTLE)
        .set("WSC_DRAIN_RATE", "100")
        .set("WSC_GRACE", "25s")
        .set("WSC_LOG", "info")
}

/// `WSC_ROLL_CLIENTS` and `WSC_ROLL_SENDS` (per second) make it larger.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_loses_nothing_and_reports_nothing_wrongly() -> Result<()> {
    let (count, per_second) = (scale("WSC_ROLL_CLIENTS", 300), scale("WSC_ROLL_SENDS", 300));
    let mut fleet = HubFleet::start_with(3, options).await?;
    let balancer = Balancer::default();
    fleet.hubs.iter().try_for_each(|hub| balancer.add(hub))?;
    let clients = Clients::start(count, &balancer).await?;
    let sends = Sends::start(count, per_second, &balancer);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let began = Instant::now();
    for number in 0..fleet.hubs.len() {
        let address = fleet.hubs[number].client;
        fleet.hubs[number].process().signal(Signal::TERM)?;
        tokio::time::sleep(BALANCER).await;
        balancer.remove(address);
        let status = fleet.hubs[number].process().exit(Duration::from_secs(25)).await?;
        ensure!(status.code() == Some(0), "{status}: {}", fleet.hubs[number].output());
        let again = options(fleet.options(&format!("node-{number}")));
        fleet.hubs[number] = HubProcess::ready(&again).await?;
        balancer.add(&fleet.hubs[number])?;
    }
    let rolled = began.elapsed();
    clients.all_connected().await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let answers = sends.finish().await?;
    // The answer to a send may overtake its frame on the way to the client.
    let verdict = eventually("all that was delivered has come", Duration::from_secs(10), async || {
        let verdict = Verdict::of(&answers, &clients.received().0);
        Ok(Look::when(verdict.lost.is_empty(), verdict, "some are missing"))
    })
    .await
    .unwrap_or_else(|_| Verdict::of(&answers, &clients.received().0));
    let moved: usize = clients.0.iter().map(|client| client.connects() - 1).sum();
    let not_delivered: Vec<_> =
        answers.iter().filter(|(_, answer, _)| answer["status"] != "delivered").take(5).collect();
    println!(
        "{count} clients, {} sends at {per_second}/s, three nodes restarted in {rolled:.1?}, {moved} reconnects, ends {:?}: {:?}, \
         lost {}, denied {}, twice {}, took p50 {:?} p99 {:?} longest {:?}, {} over 50 ms; not delivered: {not_delivered:?}",
        verdict.sent,
        clients.received().1,
        verdict.statuses,
        verdict.lost.len(),
        verdict.denied.len(),
        verdict.twice,
        verdict.p50,
        verdict.p99,
        verdict.longest,
        verdict.waited,
    );
    assert!(moved >= count, "everybody moved at least once: {moved}");
    assert_eq!(verdict.lost, Vec::<String>::new());
    assert_eq!(verdict.denied, Vec::<String>::new());
    assert_eq!(verdict.statuses.keys().collect::<Vec<_>>(), ["delivered"], "{not_delivered:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_killed_in_the_middle_of_its_drain_never_calls_delivered_what_was_not() -> Result<()> {
    let (count, per_second) = (200, 200);
    let mut fleet = HubFleet::start_with(2, options).await?;
    let balancer = Balancer::default();
    balancer.add(&fleet.hubs[0])?;
    let clients = Clients::start(count, &balancer).await?;
    balancer.add(&fleet.hubs[1])?;
    let first = fleet.hubs[0].client;
    let sends = Sends::start(count, per_second, &balancer);
    drain(&fleet.hubs[0], json!({"id": "d1", "rate_per_second": 40})).await?;
    tokio::time::sleep(BALANCER).await;
    balancer.remove(first);
    let before = eventually("half of them moved", Duration::from_secs(20), async || {
        let moved = clients.0.iter().filter(|client| client.connects() > 1).count();
        Ok(Look::when(moved >= count / 2, moved, moved))
    })
    .await?;
    fleet.hubs[0].kill().await?;
    clients.all_connected().await?;
    // Past the lease of the dead node.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let answers = sends.finish().await?;
    let verdict = eventually("all that was delivered has come", Duration::from_secs(10), async || {
        let verdict = Verdict::of(&answers, &clients.received().0);
        Ok(Look::when(verdict.lost.is_empty(), verdict, "some are missing"))
    })
    .await
    .unwrap_or_else(|_| Verdict::of(&answers, &clients.received().0));
    println!(
        "killed after {before} of {count} had moved: {} sends, {:?}, called delivered and lost {}, called undelivered and received {}, \
         twice {}, ends {:?}",
        verdict.sent,
        verdict.statuses,
        verdict.lost.len(),
        verdict.denied.len(),
        verdict.twice,
        clients.received().1
    );
    assert_eq!(verdict.lost, Vec::<String>::new());
    assert!(verdict.statuses.get("delivered").is_some_and(|delivered| *delivered > verdict.sent / 2));
    Ok(())
}
