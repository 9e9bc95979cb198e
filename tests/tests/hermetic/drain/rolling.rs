//! Every node is restarted, or killed in the middle of its drain, while messages are sent to clients that come back.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use futures::FutureExt;
use rustix::process::Signal;
use serde_json::json;
use wsc_tests::{
    api_client::ApiClient,
    hub_fleet::{API_KEY, HubFleet},
    hub_process::{HubOptions, HubProcess},
    returning_clients::{Open, ReturningClients, user},
    steady_sends::{PickApi, SteadySends},
    verdict::Verdict,
    wait::{Look, eventually},
    ws_client::{WsClient, WsRequest},
};

use super::leavers::drain;

/// How long a load balancer needs to see that a node drains; shorter than the node settles.
const BALANCER: Duration = Duration::from_millis(300);
const SETTLE: &str = "600ms";

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

    /// How clients connect through it.
    fn open(&self) -> Open {
        let balancer = self.clone();
        Arc::new(move |number, offset: Option<String>| {
            let balancer = balancer.clone();
            async move {
                let (address, _) = balancer.pick().context("no node is there")?;
                let offset = offset.map_or_else(String::new, |offset| format!("&offset={offset}"));
                let target = format!("/ws?user_id={}&client_id=phone{offset}", user(number));
                WsClient::upgrade(address, &WsRequest::new(&target)).await
            }
            .boxed()
        })
    }

    /// How a backend sends through it.
    fn api(&self) -> PickApi {
        let balancer = self.clone();
        Arc::new(move || balancer.pick().map(|(_, api)| api))
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

/// `WSC_ROLL_CLIENTS`, `WSC_ROLL_SENDS` and `WSC_ROLL_STORES` (each per second) make it larger.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_loses_nothing_and_reports_nothing_wrongly() -> Result<()> {
    let count = scale("WSC_ROLL_CLIENTS", 300);
    let (live, stored) = (scale("WSC_ROLL_SENDS", 250), scale("WSC_ROLL_STORES", 50));
    let mut fleet = HubFleet::start_with(3, options).await?;
    let balancer = Balancer::default();
    fleet.hubs.iter().try_for_each(|hub| balancer.add(hub))?;
    let clients = ReturningClients::start(count, &balancer.open()).await?;
    let sends = SteadySends::start(count, live, stored, balancer.api());
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
    let verdict = Verdict::of(&sends.finish().await?, &clients).await;
    println!(
        "{count} clients, {live} live and {stored} stored sends a second, three nodes restarted in {rolled:.1?}, {} reconnects, ends {:?}: {verdict}",
        clients.reconnects(),
        clients.ends(),
    );
    assert!(clients.reconnects() >= count, "everybody moved at least once: {}", clients.reconnects());
    verdict.keeps_every_promise();
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_killed_in_the_middle_of_its_drain_never_calls_delivered_what_was_not() -> Result<()> {
    let (count, live, stored) = (200, 160, 40);
    let mut fleet = HubFleet::start_with(2, options).await?;
    let balancer = Balancer::default();
    balancer.add(&fleet.hubs[0])?;
    let clients = ReturningClients::start(count, &balancer.open()).await?;
    balancer.add(&fleet.hubs[1])?;
    let first = fleet.hubs[0].client;
    let sends = SteadySends::start(count, live, stored, balancer.api());
    drain(&fleet.hubs[0], json!({"id": "d1", "rate_per_second": 40})).await?;
    tokio::time::sleep(BALANCER).await;
    balancer.remove(first);
    let before = eventually("half of them moved", Duration::from_secs(20), async || {
        let moved = clients.moved();
        Ok(Look::when(moved >= count / 2, moved, moved))
    })
    .await?;
    fleet.hubs[0].kill().await?;
    clients.all_connected().await?;
    // Past the lease of the dead node.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let verdict = Verdict::of(&sends.finish().await?, &clients).await;
    println!("killed after {before} of {count} had moved: {verdict}; ends {:?}", clients.ends());
    assert_eq!(verdict.lost, Vec::<String>::new());
    assert_eq!(verdict.stored_lost, Vec::<String>::new());
    assert_eq!(verdict.stored_doubled, 0);
    assert!(verdict.live_statuses.get("delivered").is_some_and(|delivered| *delivered > verdict.live / 2));
    assert!(
        verdict.stored > 0 && verdict.not_stored.len() < verdict.stored / 2,
        "{:?}",
        verdict.stored_statuses
    );
    Ok(())
}
