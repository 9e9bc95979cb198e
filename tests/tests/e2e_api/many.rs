//! Many resources at once, each with pods that live: time until all are Ready, memory of the operator, and that nothing is
//! written once all is as it should be.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures::{StreamExt as _, TryStreamExt as _};
use serde_json::json;
use wsc_tests::{
    kubernetes::{
        api_server::ApiServer,
        fake_fleet::{FakeFleet, Pace},
        operator_process::OperatorProcess,
        resource::WSC_CLUSTER,
        wsc_cluster::{TestCluster, stands},
    },
    wait::{Look, eventually_each},
};

use crate::{quiet::writes, stage::namespace};

/// Nodes of each.
const NODES: u32 = 2;
/// Resources made at a time.
const AT_ONCE: usize = 8;

/// What is allowed.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    ready: Duration,
    quiet: Duration,
    resident_mib: u64,
}

async fn many(resources: u32, bounds: Bounds) -> Result<()> {
    let ns = namespace("many").await?;
    let operator = OperatorProcess::start_with(&ns, &[("WSC_LEADER_ELECT", "false")]).await?;
    let idle = operator.resident_bytes()?;
    let fleet = FakeFleet::start(&ns, Pace::default()).await?;
    let spec = json!({"replicas": NODES, "redis": {"managed": {}}, "rollout": {"minReadySeconds": 0}});
    let names: Vec<String> = (0..resources).map(|number| format!("many-{number}")).collect();
    let began = Instant::now();
    futures::stream::iter(&names)
        .map(|name| TestCluster::create(&ns, name, &spec))
        .buffer_unordered(AT_ONCE)
        .try_collect::<Vec<_>>()
        .await?;
    let made = began.elapsed();
    let second = Duration::from_secs(1);
    let all = eventually_each(second, "all are Ready", bounds.ready, async || {
        let objects = ns.list(WSC_CLUSTER).await?;
        let ready = objects.iter().filter(|object| stands(object, "Ready", "True")).count();
        let seen = format!("{ready} of {resources}, fleet: {:?}", fleet.trouble());
        Ok(Look::when(ready == resources as usize, (), seen))
    });
    all.await.map_err(|error| error.context(tail(&operator.output())))?;
    let ready = began.elapsed();
    let resident = operator.resident_bytes()?;

    let server = ApiServer::shared()?;
    let mut offset = 0;
    let made_by = writes(&server.audit_from(&mut offset, &ns.name)?).len();
    let passes = async || operator.metric("wsc_operator_reconciles_total{result=\"ok\"}").await;
    let (mut since, mut counted) = (passes().await?, operator.metric("wsc_operator_writes_total").await?);
    let wanted = f64::from(2 * resources);
    let quiet =
        eventually_each(second * 2, "all are looked at twice with no write", bounds.quiet, async || {
            let now = passes().await?;
            let written = writes(&server.audit_from(&mut offset, &ns.name)?);
            let writes = operator.metric("wsc_operator_writes_total").await?;
            if !written.is_empty() || writes > counted {
                (since, counted) = (now, writes);
            }
            let last = written.last().cloned().unwrap_or_default();
            Ok(Look::when(now - since >= wanted, now - since, format!("{} passes since {last}", now - since)))
        });
    let quiet = quiet.await.with_context(|| tail(&operator.output()))?;
    eprintln!(
        "{resources} resources of {NODES} nodes: made in {:.1} s, all Ready after {:.1} s, {made_by} writes by then (operator, \
         fleet and test); operator {} MiB at first, {} MiB when all were Ready, {} MiB at rest; {quiet} passes with 0 writes",
        made.as_secs_f64(),
        ready.as_secs_f64(),
        idle >> 20,
        resident >> 20,
        operator.resident_bytes()? >> 20,
    );
    ensure!(resident >> 20 < bounds.resident_mib, "{} MiB", resident >> 20);
    ensure!(!operator.output().contains("panicked"), "{}", operator.output());
    Ok(())
}

/// The last lines of an output.
fn tail(output: &str) -> String {
    let lines: Vec<&str> = output.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_resources_become_ready_and_then_nothing_is_written() -> Result<()> {
    let bounds =
        Bounds { ready: Duration::from_secs(300), quiet: Duration::from_secs(240), resident_mib: 200 };
    many(100, bounds).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a quarter of an hour; make bench-operator"]
async fn a_thousand_resources_become_ready_and_then_nothing_is_written() -> Result<()> {
    let bounds =
        Bounds { ready: Duration::from_secs(1500), quiet: Duration::from_secs(600), resident_mib: 1024 };
    many(1000, bounds).await
}
