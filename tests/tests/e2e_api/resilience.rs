//! The operator is killed with SIGKILL at every kind of step there is, right after the step was put on record; the next
//! one brings everything to its end.

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use futures::{StreamExt as _, TryStreamExt as _};
use http::Method;
use kube::{
    Api,
    api::{ApiResource, DynamicObject, WatchEvent, WatchParams},
};
use serde_json::json;
use wsc_tests::{
    kubernetes::{
        fake_fleet::{FakeFleet, Pace},
        namespace::TestNamespace,
        operator_process::OperatorProcess,
        resource::{POD, STATEFUL_SET, WSC_CLUSTER, call},
        wsc_cluster::{TestCluster, condition},
    },
    source_tree,
    wait::{Look, eventually},
};

use crate::{
    lifecycle::{living_at, spec, until_told},
    stage::{SOON, namespace},
};

/// How long an operation may take until it comes to the step: a lost node must be so for a minute before it counts, the
/// rest is for a busy machine.
const REACHED: Duration = Duration::from_secs(180);
/// How long the next operator may take to bring everything to its end.
const CONVERGED: Duration = Duration::from_secs(180);
/// A pod that cannot run says that it has been so for nearly the minute after which that counts; the test of bad images
/// waits for the whole of it.
const FAULTY_FOR: Duration = Duration::from_secs(55);

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

/// One test for each operation and step in which the operator is killed.
macro_rules! kills {
    ($($name:ident: $story:ident, $step:literal;)*) => {
        const KILLS: &[(Story, &str)] = &[$((Story::$story, $step)),*];

        $(
            #[tokio::test]
            async fn $name() -> Result<()> {
                killed(Story::$story, $step).await
            }
        )*
    };
}

kills! {
    killed_as_the_pod_of_a_lost_node_is_removed: LostNode, "ForceDelete";
    killed_as_a_bad_template_is_put_back: BadImage, "PutBack";
    killed_as_the_pod_of_a_bad_template_is_deleted: BadImage, "Delete";
    killed_as_a_drain_is_taken_back: RevertedRollout, "CancelDrain";
    killed_as_a_rollout_drains: Rollout, "Drain";
    killed_as_a_rollout_deletes: Rollout, "Delete";
    killed_as_pods_are_added: ScaleUp, "SetReplicas";
    killed_as_connections_are_moved: Rebalance, "Rebalance";
    killed_as_a_scale_down_drains: ScaleDown, "Drain";
    killed_as_a_scale_down_removes_a_pod: ScaleDown, "SetReplicas";
    killed_as_all_is_drained_to_stop: Stop, "Drain";
    killed_as_the_last_pods_are_removed_to_stop: Stop, "SetReplicas";
}

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

#[test]
fn at_every_kind_of_step_there_is_an_operator_is_killed() -> Result<()> {
    for kind in step_kinds()? {
        ensure!(KILLS.iter().any(|(_, step)| *step == kind), "no operator is killed at step {kind}");
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
    let pace = Pace { fault_age: FAULTY_FOR, ..Pace::default() };
    let (cluster, fleet) = living_at(&ns, &spec, 300.0, pace).await?;
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
    let mut events = api.watch(&WatchParams::default().timeout(290), "0").await?.boxed();
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
