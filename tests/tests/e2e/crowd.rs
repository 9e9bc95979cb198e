//! Three pods with a thousand clients each and a backend that sends to them, while pods go; and what is promised then.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use serde_json::json;
use tokio::sync::{Mutex, MutexGuard};
use wsc_tests::{
    farewells::Farewells,
    kubernetes::{namespace::Namespace, wsc_cluster::TestCluster},
    returning_clients::ReturningClients,
    steady_sends::{SteadySends, times_between},
    verdict::Verdict,
};

use crate::{
    outside::{Outside, open_spec},
    stage::STARTED,
};

/// Pods of the cluster.
pub(crate) const PODS: u32 = 3;
const CLIENTS: usize = 3000;
/// A second, `wait: delivered`.
const LIVE: usize = 100;
/// A second, `store`.
const STORED: usize = 50;
/// `drain.ratePerSecond`: a pod needs seven seconds or more, so that a busy machine changes little about the rate.
const RATE: u32 = 150;
/// How far the rate may be off.
const TOLERANCE: f64 = 0.1;
/// How often a client may move while three pods are replaced. New connections go to any pod with the same chance, so of
/// the clients a third moves with the first pod, a half with the second and three quarters with the third: 1.58.
const MOVES: f64 = 1.8;
/// Sends with no pod going, to compare with.
const QUIET: Duration = Duration::from_secs(3);

/// One crowd at a time, or each would measure the others; and no node may be drained while somebody needs them all.
static ALONE: Mutex<()> = Mutex::const_new(());

/// Waits until no crowd is there, and keeps others away.
pub(crate) async fn without_a_crowd() -> MutexGuard<'static, ()> {
    ALONE.lock().await
}

/// A cluster with its clients and its backend.
pub(crate) struct Crowd<'a> {
    pub(crate) cluster: TestCluster<'a>,
    clients: ReturningClients,
    sends: SteadySends,
    /// Sends since then.
    quiet: Instant,
    /// Something happens to pods since then.
    began: Instant,
    _alone: MutexGuard<'static, ()>,
}

impl<'a> Crowd<'a> {
    /// Makes a cluster, and connects the clients once no other crowd is there. No other test has a cluster of this name.
    pub(crate) async fn gather(namespace: &'a Namespace, name: &'a str) -> Result<Self> {
        let mut spec = open_spec(PODS);
        // What the product asks for by itself: pods that ask for nothing get nothing on a busy machine.
        spec["pod"] = json!({"resources": {"requests": {"cpu": "250m", "memory": "64Mi"}}});
        // A minute leaves every pod the time for its clients at the wanted rate, also one that has most of them.
        spec["drain"] = json!({"ratePerSecond": RATE, "terminationGracePeriod": "60s"});
        let cluster = TestCluster::create(namespace, name, &spec).await?;
        cluster.ready(PODS, STARTED).await?;
        let alone = without_a_crowd().await;
        cluster.ready(PODS, STARTED).await?;
        let outside = Arc::new(Outside::of(&cluster, CLIENTS).await?);
        outside.is_open().await?;
        let clients = ReturningClients::start(CLIENTS, &outside.open()).await?;
        let sends = SteadySends::start(CLIENTS, LIVE, STORED, outside.api());
        let quiet = Instant::now();
        tokio::time::sleep(QUIET).await;
        println!("{CLIENTS} clients: {:?}", clients.nodes());
        Ok(Self { cluster, clients, sends, quiet, began: Instant::now(), _alone: alone })
    }

    /// Waits until all clients are there.
    pub(crate) async fn is_back(&self) -> Result<()> {
        self.clients.all_connected().await
    }

    /// Checks every promise for the time since the clients were there, in which `gone` pods went, each once.
    pub(crate) async fn judge(self, what: &str, gone: &[String]) -> Result<()> {
        self.clients.all_connected().await?;
        let ended = Instant::now();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let sent = self.sends.finish().await?;
        let verdict = Verdict::of(&sent, &self.clients).await;
        let farewells = self.clients.farewells_since(self.began);
        let moves = self.clients.moves_since(self.began);
        let mut often = BTreeMap::<usize, usize>::new();
        for count in &moves {
            *often.entry(*count).or_default() += 1;
        }
        let mean = mean(&moves);

        println!("{what}: {:.1?}; {} clients: {:?}", ended - self.began, moves.len(), self.clients.nodes());
        println!("  {verdict}");
        for (phase, from, until) in [("before", self.quiet, self.began), ("meanwhile", self.began, ended)] {
            let (p50, p99, longest) = times_between(&sent, from, until);
            println!("  sends {phase}: p50 {p50:?} p99 {p99:?} longest {longest:?}");
        }
        println!("  moves of a client: mean {mean:.2}, how often {often:?}; ends {:?}", self.clients.ends());
        for (pod, farewells) in &farewells {
            println!("  sent away by {pod}: {farewells}");
        }

        verdict.keeps_every_promise();
        self.clients.left_in_order()?;
        let most = often.keys().max().copied().unwrap_or(0);
        assert!(most <= gone.len(), "{what}: somebody moved {most} times for {gone:?}");
        assert!(mean <= MOVES, "{what}: {mean:.2} moves of a client for {gone:?}");
        let mut expected = gone.to_vec();
        expected.sort_unstable();
        assert!(farewells.keys().eq(&expected), "{what}: {farewells:?} instead of {gone:?}");
        farewells.iter().try_for_each(|(pod, farewells)| is_paced(pod, farewells))
    }
}

/// Whether clients were sent away at the wanted rate.
fn is_paced(pod: &str, farewells: &Farewells) -> Result<()> {
    // Some seconds, whatever the balancing does.
    ensure!(farewells.count() > CLIENTS / 6, "{pod} had few clients: {farewells}");
    let off = farewells.rate() / f64::from(RATE) - 1.0;
    ensure!(off.abs() <= TOLERANCE, "{pod}: {farewells}, which is {:.0} % off {RATE}", off * 100.0);
    Ok(())
}

fn mean(moves: &[usize]) -> f64 {
    // Far below what a double holds exactly.
    #[expect(clippy::cast_precision_loss, reason = "see above")]
    let (all, count) = (moves.iter().sum::<usize>() as f64, moves.len() as f64);
    all / count
}
