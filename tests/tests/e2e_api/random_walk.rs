//! `kubectl wait --for=condition=Ready` never returns early, whatever is changed and however quickly.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context as _, Result, ensure};
use futures::future::try_join_all;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};
use wsc_tests::{
    argo_health::ArgoHealth,
    kubernetes::{
        fake_fleet::{FakeFleet, Pace},
        namespace::TestNamespace,
        resource::{CONFIG_MAP, DISRUPTION_BUDGET, POD, SERVICE, STATEFUL_SET},
        wsc_cluster::{TestCluster, condition},
    },
    wait::at_most,
};

use crate::stage::with_operator;

/// Walks at the same time and steps of each: 200 changes in all.
const WALKS: u64 = 10;
const STEPS: usize = 20;
/// Every so many steps the wait is long enough for a busy machine too; else such a one would reach Ready too seldom.
const PATIENT: usize = 4;
const PATIENCE: Duration = Duration::from_secs(30);

/// What the spec asks for, as far as a walk changes it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wanted {
    replicas: u64,
    tag: String,
    inbox: u64,
    connections: u64,
    rate: u64,
    unavailable: u64,
    port: u64,
}

impl Wanted {
    fn spec(&self) -> Value {
        json!({
            "replicas": self.replicas,
            "image": {"repository": "wsc-hub", "tag": self.tag},
            "hub": {"inbox": {"maxMessages": self.inbox}, "maxConnections": self.connections},
            "drain": {"ratePerSecond": self.rate},
            "rollout": {"minReadySeconds": 0},
            "disruption": {"maxUnavailable": self.unavailable},
            "services": {"client": {"port": self.port}},
            "redis": {"managed": {}}
        })
    }

    /// Another wish, and how long it is waited for: sometimes too short, so that the next change comes in between.
    fn step(&mut self, random: &mut StdRng) -> Duration {
        let mut wait = Duration::from_millis(random.random_range(200..12_000));
        for _ in 0..random.random_range(1..=2) {
            match random.random_range(0..9) {
                0 => self.tag = format!("v{}", random.random_range(0..4)),
                1 => self.inbox = random.random_range(1..9),
                2..=4 => self.connections = random.random_range(10..20),
                5 => self.rate = random.random_range(100..105),
                6 => self.unavailable = random.random_range(1..3),
                7 => self.port = random.random_range(80..83),
                _ => {
                    let replicas = random.random_range(1..=3);
                    if replicas < self.replicas {
                        // Pods go only after a minute.
                        wait = Duration::from_millis(500);
                    }
                    self.replicas = replicas;
                }
            }
        }
        wait
    }
}

/// What is not as asked for; empty when all is.
async fn untrue(ns: &TestNamespace, fleet: &FakeFleet, name: &str, wanted: &Wanted) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    let mut check = |holds: bool, what: String| {
        if !holds {
            wrong.push(what);
        }
    };
    let set = ns.get(STATEFUL_SET, name).await?;
    let container = &set["spec"]["template"]["spec"]["containers"][0];
    check(set["spec"]["replicas"] == wanted.replicas, format!("replicas {}", set["spec"]["replicas"]));
    check(
        container["image"] == format!("wsc-hub:{}", wanted.tag),
        format!("template {}", container["image"]),
    );
    let revision = &set["status"]["updateRevision"];
    let pods: Vec<Value> = ns
        .list(POD)
        .await?
        .into_iter()
        .filter(|pod| pod["metadata"]["labels"]["wsc.dev/cluster"] == name)
        .filter(|pod| pod["metadata"]["labels"]["app.kubernetes.io/name"] == "wsc-hub")
        .collect();
    check(pods.len() as u64 == wanted.replicas, format!("{} pods", pods.len()));
    for pod in &pods {
        let named = &pod["metadata"]["name"];
        let container = &pod["spec"]["containers"][0];
        let env = container["env"].as_array().into_iter().flatten();
        let mut inbox = env.filter(|one| one["name"] == "WSC_INBOX_MAX_MESSAGES");
        let inbox = inbox.next().map_or(&Value::Null, |one| &one["value"]);
        check(condition(pod, "Ready")["status"] == "True", format!("{named} is not Ready"));
        check(pod["metadata"]["deletionTimestamp"].is_null(), format!("{named} ends"));
        check(&pod["metadata"]["labels"]["controller-revision-hash"] == revision, format!("{named} is old"));
        check(
            container["image"] == format!("wsc-hub:{}", wanted.tag),
            format!("{named} {}", container["image"]),
        );
        check(inbox == &json!(wanted.inbox.to_string()), format!("{named} inbox {inbox}"));
    }
    let map = ns.get(CONFIG_MAP, &format!("{name}-hot")).await?;
    let text = map["data"]["settings.yaml"].as_str().context("no hot settings")?;
    for line in
        [format!("max_connections: {}\n", wanted.connections), format!("rate_per_second: {}\n", wanted.rate)]
    {
        check(text.contains(&line), format!("hot settings lack {line}"));
    }
    let hash: String =
        <sha2::Sha256 as sha2::Digest>::digest(text).iter().map(|byte| format!("{byte:02x}")).collect();
    // The hub of a pod that is gone may be remembered for a moment.
    let lives = |uid: &str| pods.iter().any(|pod| pod["metadata"]["uid"] == uid);
    let hubs: Vec<_> = {
        let fleet = fleet.hubs();
        let hubs = fleet.hubs.iter().filter(|(uid, hub)| hub.cluster == name && lives(uid));
        hubs.map(|(_, hub)| (hub.name.clone(), hub.phase(), hub.hot_hash.clone())).collect()
    };
    check(hubs.len() as u64 == wanted.replicas, format!("{} hubs", hubs.len()));
    for (named, phase, hot_hash) in hubs {
        check(phase == "active", format!("{named} is {phase}"));
        check(hot_hash.as_deref() == Some(&hash), format!("{named} has other settings"));
    }
    let budget = ns.get(DISRUPTION_BUDGET, name).await?;
    check(budget["spec"]["maxUnavailable"] == wanted.unavailable, "the budget is old".to_owned());
    let service = ns.get(SERVICE, name).await?;
    check(service["spec"]["ports"][0]["port"] == wanted.port, "the Service is old".to_owned());
    Ok(wrong)
}

/// What tools that know nothing of this resource are told: `Reconciling` and `Stalled` are there only when True, never
/// both, and neither beside a True Ready.
fn kstatus_is_sound(object: &Value) -> Result<()> {
    let conditions = object["status"]["conditions"].as_array().context("no conditions")?;
    let types: BTreeSet<&str> = conditions.iter().filter_map(|one| one["type"].as_str()).collect();
    ensure!(types.len() == conditions.len(), "a condition is there twice: {conditions:?}");
    let present = |kind: &str| !condition(object, kind).is_null();
    for kind in ["Reconciling", "Stalled"] {
        ensure!(!present(kind) || condition(object, kind)["status"] == "True", "{kind}: {conditions:?}");
    }
    ensure!(!(present("Reconciling") && present("Stalled")), "both: {conditions:?}");
    let ready = condition(object, "Ready")["status"] == "True";
    ensure!(!ready || !(present("Reconciling") || present("Stalled")), "beside Ready: {conditions:?}");
    // kstatus looks at observedGeneration first, and at nothing else while it lags.
    let lags = object["status"]["observedGeneration"] != object["metadata"]["generation"];
    let argo = ArgoHealth::of(object)?;
    ensure!((argo.status == "Healthy") == (ready && !lags), "Argo CD shows {argo:?}: {conditions:?}");
    ensure!(
        lags || ready || present("Reconciling") || present("Stalled") || is_off(object),
        "{conditions:?}"
    );
    Ok(())
}

/// States that nothing works on, though the resource is not Ready.
fn is_off(object: &Value) -> bool {
    ["Stopped", "Paused"].iter().any(|phase| object["status"]["phase"] == *phase)
}

/// One walk. Gives how often Ready was waited for with success.
async fn walk(ns: &TestNamespace, fleet: &FakeFleet, name: &str, seed: u64) -> Result<usize> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut wanted = Wanted {
        replicas: 2,
        tag: "v0".to_owned(),
        inbox: 5,
        connections: 10,
        rate: 100,
        unavailable: 1,
        port: 80,
    };
    let chat = TestCluster::create(ns, name, &wanted.spec()).await?;
    let mut succeeded = 0;
    for step in 0..=STEPS {
        let wait = if step == STEPS {
            Duration::from_secs(240)
        } else {
            let wait = wanted.step(&mut random);
            chat.change(&wanted.spec()).await?;
            if step % PATIENT == 0 { wait.max(PATIENCE) } else { wait }
        };
        let timeout = format!("--timeout={}ms", wait.as_millis());
        let resource = format!("wsc/{name}");
        let outcome = ns.kubectl.run(&["wait", &resource, "--for=condition=Ready", &timeout]).await;
        if outcome.is_ok() {
            succeeded += 1;
            let wrong = untrue(ns, fleet, name, &wanted).await?;
            ensure!(wrong.is_empty(), "step {step}: Ready was said early: {wrong:?}; wanted {wanted:?}");
        } else if step == STEPS {
            let status = chat.object().await?["status"].clone();
            outcome
                .with_context(|| format!("never Ready in the end: {status}; fleet: {:?}", fleet.trouble()))?;
        }
        let object = chat.object().await?;
        if object["status"]["observedGeneration"] != -1 {
            kstatus_is_sound(&object).with_context(|| format!("step {step}"))?;
        }
    }
    Ok(succeeded)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ready_is_never_said_early_in_two_hundred_steps() -> Result<()> {
    let (ns, _operator) = with_operator("walk").await?;
    let fleet = FakeFleet::start(&ns, Pace::default()).await?;
    let seed = std::env::var("WSC_TEST_SEED").ok().and_then(|text| text.parse().ok());
    let seed: u64 = seed.unwrap_or_else(rand::random);
    eprintln!("WSC_TEST_SEED={seed}");
    let names: Vec<String> = (0..WALKS).map(|walk| format!("walk-{walk}")).collect();
    let walks = (0..WALKS).zip(&names).map(|(number, name)| {
        let seed = seed.wrapping_add(number);
        let (ns, fleet) = (&ns, &fleet);
        async move { walk(ns, fleet, name, seed).await.with_context(|| format!("{name}, seed {seed}")) }
    });
    let succeeded = at_most("all walks end", Duration::from_secs(560), try_join_all(walks)).await??;
    let total: usize = succeeded.iter().sum();
    eprintln!("{total} of {} waits succeeded, {succeeded:?}", WALKS as usize * (STEPS + 1));
    ensure!(total >= 40, "only {total} waits succeeded: the walk proves little");
    Ok(())
}
