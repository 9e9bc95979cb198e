//! Three pods with a thousand clients each and a backend that sends to them, while pods go; and what is promised then.

use std::{
    collections::BTreeMap,
    fmt::{self, Display},
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
    /// Where they were before anything happened.
    before: BTreeMap<String, usize>,
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
        let before = clients.nodes();
        Ok(Self { cluster, clients, sends, before, quiet, began: Instant::now(), _alone: alone })
    }

    /// Waits until all clients are there.
    pub(crate) async fn is_back(&self) -> Result<()> {
        self.clients.all_connected().await
    }

    /// What has become of clients and messages while `gone` pods went, each once.
    pub(crate) async fn figures(self, gone: &[String]) -> Result<Figures> {
        self.clients.all_connected().await?;
        let ended = Instant::now();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let sent = self.sends.finish().await?;
        let verdict = Verdict::of(&sent, &self.clients).await;
        Ok(Figures {
            gone: gone.to_vec(),
            before: self.before,
            after: self.clients.nodes(),
            took: ended - self.began,
            verdict,
            quiet: times_between(&sent, self.quiet, self.began),
            busy: times_between(&sent, self.began, ended),
            moves: self.clients.moves_since(self.began),
            farewells: self.clients.farewells_since(self.began),
            ends: self.clients.ends(),
            in_order: self.clients.left_in_order(),
        })
    }
}

/// The median, the 99th percentile and the longest of the times of sends.
type Times = (Duration, Duration, Duration);

/// What became of clients and messages while pods went.
pub(crate) struct Figures {
    gone: Vec<String>,
    before: BTreeMap<String, usize>,
    after: BTreeMap<String, usize>,
    took: Duration,
    verdict: Verdict,
    quiet: Times,
    busy: Times,
    /// Of each client.
    moves: Vec<usize>,
    farewells: BTreeMap<String, Farewells>,
    ends: BTreeMap<String, usize>,
    in_order: Result<()>,
}

impl Figures {
    /// Checks every promise.
    pub(crate) fn keep_every_promise(self) -> Result<()> {
        self.verdict.keeps_every_promise();
        let most = self.moves.iter().max().copied().unwrap_or(0);
        ensure!(most <= self.gone.len(), "somebody moved {most} times: {self}");
        ensure!(mean(&self.moves) <= MOVES, "clients moved too often: {self}");
        let mut gone = self.gone.clone();
        gone.sort_unstable();
        ensure!(self.farewells.keys().eq(&gone), "others sent clients away: {self}");
        self.farewells.iter().try_for_each(|(pod, farewells)| is_paced(pod, farewells))?;
        self.in_order
    }
}

impl Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:?} went in {:.1?}; clients {:?}, then {:?}",
            self.gone, self.took, self.before, self.after
        )?;
        writeln!(f, "  {}", self.verdict)?;
        for (phase, (p50, p99, longest)) in [("before", self.quiet), ("meanwhile", self.busy)] {
            writeln!(f, "  sends {phase}: p50 {p50:?} p99 {p99:?} longest {longest:?}")?;
        }
        let mut often = BTreeMap::<usize, usize>::new();
        for count in &self.moves {
            *often.entry(*count).or_default() += 1;
        }
        write!(
            f,
            "  moves of a client: mean {:.2}, how often {often:?}; ends {:?}",
            mean(&self.moves),
            self.ends
        )?;
        self.farewells
            .iter()
            .try_for_each(|(pod, farewells)| write!(f, "\n  sent away by {pod}: {farewells}"))
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
