//! The operator is killed with SIGKILL at every kind of step there is, right after the step was put on record; the next
//! one brings everything to its end.

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use futures::{StreamExt as _, TryStreamExt as _, future::try_join_all};
use http::Method;
use kube::{
    Api,
    api::{ApiResource, DynamicObject, WatchEvent, WatchParams},
};
use serde_json::json;
use wsc_tests::{
    kubernetes::{
        fake_fleet::FakeFleet,
        namespace::TestNamespace,
        operator_process::OperatorProcess,
        resource::{POD, STATEFUL_SET, WSC_CLUSTER, call},
        wsc_cluster::{TestCluster, condition},
    },
    source_tree,
    wait::{Look, eventually},
};

use crate::{
    lifecycle::{living, spec, until_told},
    stage::{SOON, namespace},
};

/// How long an operation may take until it comes to the step; a fault must last a minute before it counts.
const REACHED: Duration = Duration::from_secs(110);
/// How long the next operator may take to bring everything to its end.
const CONVERGED: Duration = Duration::from_secs(90);

/// What is done to a cluster so that a step is taken, and how it ends.
#[derive(Debug, Clone, Copy)]
enum Story {
    Rollout,
    RevertedRollout,
    BadImage,
    ScaleUp,
    ScaleDown,
    Stop,
    LostNode,
    Rebalance,
}

/// Operation and step in which the operator is killed.
const KILLS: [(Story, &str); 12] = [
    // Those that take more than a minute run beside each other.
    (Story::BadImage, "PutBack"),
    (Story::BadImage, "Delete"),
    (Story::LostNode, "ForceDelete"),
    (Story::RevertedRollout, "CancelDrain"),
    (Story::Rollout, "Drain"),
    (Story::Rollout, "Delete"),
    (Story::ScaleUp, "SetReplicas"),
    (Story::Rebalance, "Rebalance"),
    (Story::ScaleDown, "Drain"),
    (Story::ScaleDown, "SetReplicas"),
    (Story::Stop, "Drain"),
    (Story::Stop, "SetReplicas"),
];

/// The words of the plan's own enum, from its source: nothing here links to the operator.
fn step_kinds() -> Result<Vec<String>> {
    let text = std::fs::read_to_string(source_tree::root().join("operator/src/plan/step.rs"))?;
    let (_, list) = text.split_once("pub const ALL: [Self; ").context("no list of all kinds")?;
    let (count, list) = list.split_once("] = [").context("no list of all kinds")?;
    let (list, _) = list.split_once(']').context("the list has no end")?;
    let kinds: Vec<String> =
        list.split(',').filter_map(|kind| kind.trim().strip_prefix("Self::")).map(str::to_owned).collect();
    ensure!(kinds.len() == count.parse::<usize>()?, "{count} kinds, but {kinds:?}");
    Ok(kinds)
}

#[tokio::test]
async fn an_operator_killed_at_any_step_is_succeeded_by_one_that_ends_the_work() -> Result<()> {
    for kind in step_kinds()? {
        ensure!(KILLS.iter().any(|(_, step)| *step == kind), "no operator is killed at step {kind}");
    }
    // A few at a time: each has an operator, a fleet and some hundred requests a second.
    for some in KILLS.chunks(4) {
        try_join_all(some.iter().map(|(story, step)| async move {
            killed(*story, step).await.map_err(|error| error.context(format!("{story:?}, killed at {step}")))
        }))
        .await?;
    }
    Ok(())
}

async fn operator(ns: &TestNamespace) -> Result<OperatorProcess> {
    // The lease of a killed operator would only have to be waited for.
    OperatorProcess::start_with(ns, &[("WSC_LEADER_ELECT", "false")]).await
}

async fn killed(story: Story, step: &str) -> Result<()> {
    let ns = namespace("killed").await?;
    let mut first = operator(&ns).await?;
    let mut spec = spec(if matches!(story, Story::ScaleDown) { 2 } else { 3 });
    if matches!(story, Story::RevertedRollout) {
        spec["drain"] = json!({"ratePerSecond": 1});
    }
    let (cluster, fleet) = living(&ns, &spec, 300.0).await?;
    let on_record = kill_at(&ns, step, &mut first);
    let reached = tokio::try_join!(on_record, begin(story, &ns, &cluster, &fleet));
    let (killed, ()) =
        reached.map_err(|error| error.context(format!("{:?}\n{}", fleet.log(), first.output())))?;
    ensure!(killed, "the watch ended before the step");
    let second = operator(&ns).await?;
    end(story, &ns, &cluster, &fleet).await.map_err(|error| error.context(second.output()))
}

/// Kills the operator as soon as the step is on record. The watch brings every state, however short it lasts.
async fn kill_at(ns: &TestNamespace, step: &str, operator: &mut OperatorProcess) -> Result<bool> {
    let resource = ApiResource {
        group: "wsc.dev".into(),
        version: "v1alpha1".into(),
        api_version: "wsc.dev/v1alpha1".into(),
        kind: "WscCluster".into(),
        plural: "wscclusters".into(),
    };
    let api: Api<DynamicObject> = Api::namespaced_with(ns.client.clone(), &ns.name, &resource);
    let mut events = api.watch(&WatchParams::default().timeout(280), "0").await?.boxed();
    let watch = async {
        while let Some(event) = events.try_next().await? {
            let (WatchEvent::Added(object) | WatchEvent::Modified(object)) = event else { continue };
            let pods = object.data["status"]["operation"]["pods"].as_array().cloned().unwrap_or_default();
            if pods.iter().any(|pod| pod["step"] == step) {
                operator.kill().await?;
                return Ok(true);
            }
        }
        Ok(false)
    };
    tokio::time::timeout(REACHED, watch).await.map_err(|_| anyhow!("step {step} was not on record"))?
}

async fn begin(story: Story, ns: &TestNamespace, cluster: &TestCluster<'_>, fleet: &FakeFleet) -> Result<()> {
    match story {
        Story::Rollout => cluster.change(&json!({"image": {"tag": "2"}})).await,
        Story::BadImage => cluster.change(&json!({"image": {"tag": "bad"}})).await,
        Story::ScaleUp => cluster.change(&json!({"replicas": 4})).await,
        Story::Stop => cluster.change(&json!({"stopped": true})).await,
        Story::RevertedRollout => {
            cluster.change(&json!({"image": {"tag": "2"}})).await?;
            until_told(fleet, "the drain began", SOON, |log| {
                log.iter().any(|line| line.starts_with("drain"))
            })
            .await?;
            cluster.change(&json!({"image": {"tag": "1"}})).await
        }
        // An edited StatefulSet is set back at once; a smaller wish would have to be held for a minute.
        Story::ScaleDown => {
            crate::lifecycle::overgrown(ns, cluster, fleet, 3).await?;
            cluster.change(&json!({"paused": false})).await
        }
        Story::LostNode => {
            fleet.lose("chat-1");
            let path = format!("{}?gracePeriodSeconds=1", POD.path(&ns.name, "chat-1"));
            call(&ns.client, Method::DELETE, &path, None).await.map(|_| ())
        }
        Story::Rebalance => {
            if let Some(hub) = fleet.hubs().named("chat-1") {
                hub.connections += 300.0;
            }
            let run = json!({"metadata": {"annotations": {"wsc.dev/rebalance": "run-1"}}});
            ns.merge(WSC_CLUSTER, "chat", &run).await.map(|_| ())
        }
    }
}

async fn end(story: Story, ns: &TestNamespace, cluster: &TestCluster<'_>, fleet: &FakeFleet) -> Result<()> {
    let at_rest = |what: &'static str, holds: fn(&serde_json::Value) -> bool| {
        ns.until(WSC_CLUSTER, "chat", what, CONVERGED, move |object| {
            object["status"]["operation"].is_null() && holds(object)
        })
    };
    match story {
        Story::Stop => {
            at_rest("it is stopped", |object| object["status"]["phase"] == "Stopped").await?;
            return Ok(());
        }
        Story::BadImage => {
            at_rest("the good template is back", |object| {
                condition(object, "Degraded")["reason"] == "RolloutStuck"
                    && object["status"]["readyReplicas"] == 3
            })
            .await?;
        }
        Story::ScaleUp => drop(cluster.ready(4, CONVERGED).await?),
        Story::ScaleDown => {
            cluster.ready(2, CONVERGED).await?;
            let replicas = ns.get(STATEFUL_SET, "chat").await?["spec"]["replicas"].clone();
            ensure!(replicas == 2, "{replicas} replicas");
        }
        Story::Rebalance => {
            at_rest("it is on record", |object| object["status"]["rebalanced"] == "run-1").await?;
            // 600 clients; what was closed comes back to any node, so some return to the full one.
            eventually("the full node is emptier", SOON, async || {
                let open: Vec<f64> = fleet.hubs().hubs.values().map(|hub| hub.connections).collect();
                let even = open.iter().all(|connections| *connections < 300.0);
                Ok(Look::when(even, (), format!("{open:?}")))
            })
            .await?;
        }
        Story::Rollout => {
            cluster.ready(3, CONVERGED).await?;
            let log = fleet.log();
            let ends: Vec<&String> = log.iter().filter(|line| line.starts_with("end")).collect();
            ensure!(
                ends == ["end chat-2 0", "end chat-1 0", "end chat-0 0"],
                "each once, and empty: {log:?}"
            );
        }
        Story::RevertedRollout | Story::LostNode => drop(cluster.ready(3, CONVERGED).await?),
    }
    if fleet.hubs().hubs.values().any(|hub| hub.drain.is_some()) {
        bail!("a drain was forgotten: {:?}", fleet.log());
    }
    // The pod that the story itself takes down is one of them.
    ensure!(fleet.worst() <= 1, "{} pods were down at once: {:?}", fleet.worst(), fleet.log());
    Ok(())
}
