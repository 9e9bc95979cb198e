//! What the resource is told: fields of the status, and the patch that writes them.

use std::time::{Duration, Instant};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use serde_json::Value;

use crate::api::WscCluster;
use crate::api::status::{
    ConnectionsStatus, EndpointsStatus, NodeState, NodeStatus, OperationPod, OperationStatus, OperationType,
    WscClusterStatus,
};
use crate::desired;
use crate::observed::world::{Standing, World};
use crate::plan::operation::{Kind, Plan};
use crate::plan::step::{Hold, Victim, Wait};

use super::verdicts::{Findings, conclude};

/// Nodes listed at most, those that are not active first; also pods of an operation.
const NODES_LISTED: usize = 50;

/// Connections are written again at most this often ..
const CONNECTIONS_EVERY: Duration = Duration::from_secs(30);

/// .. and only when they changed by a twentieth of the capacity (5 %).
const CONNECTIONS_SHARE: i64 = 20;

/// Builds the whole status.
#[must_use]
pub fn build(previous: &WscClusterStatus, findings: &Findings<'_>, now: Timestamp) -> WscClusterStatus {
    let cluster = findings.cluster;
    let world = findings.world;
    let revision = world.fleet.as_ref().and_then(|fleet| fleet.update_revision.as_deref());
    let count = |matches: &dyn Fn(&crate::observed::pod::HubPod) -> bool| {
        let count = world.pods.iter().filter(|pod| matches(pod)).count();
        i32::try_from(count).unwrap_or(i32::MAX)
    };
    let (total, capacity) = world.connections();
    let endpoints = desired::endpoints(cluster);
    let mut status = WscClusterStatus {
        observed_generation: cluster.metadata.generation.unwrap_or_default(),
        phase: None,
        selector: desired::labels::selector_string(cluster),
        replicas: count(&|_| true),
        desired_replicas: findings.wish.replicas,
        ready_replicas: count(&|pod| pod.ready && !pod.terminating),
        updated_replicas: count(&|pod| revision == Some(pod.revision.as_str())),
        registered_nodes: count(&|pod| world.hubs.get(&pod.uid).is_some_and(|view| view.registered)),
        image: world.fleet.as_ref().map(|fleet| fleet.image.clone()).filter(|image| !image.is_empty()),
        connections: ConnectionsStatus { total, capacity },
        operation: operation(previous.operation.as_ref(), findings.plan, now),
        rebalanced: world.rebalanced.clone(),
        nodes: nodes(world),
        endpoints: EndpointsStatus { internal: endpoints.internal, external: endpoints.external },
        conditions: previous.conditions.clone(),
    };
    status.phase = Some(conclude(&mut status, previous.phase, findings, now));
    status
}

fn nodes(world: &World) -> Vec<NodeStatus> {
    let mut nodes: Vec<(bool, i32, NodeStatus)> = world
        .pods
        .iter()
        .map(|pod| {
            let state = match world.standing(pod) {
                Standing::Missing | Standing::Terminating | Standing::NotReady => NodeState::NotReady,
                Standing::Unknown => NodeState::Unknown,
                Standing::Unregistered => NodeState::Unregistered,
                Standing::Draining => NodeState::Draining,
                Standing::Active => NodeState::Active,
            };
            let node = NodeStatus { name: pod.name.clone(), state, revision: pod.revision.clone() };
            (state == NodeState::Active, pod.ordinal, node)
        })
        .collect();
    nodes.sort_by_key(|(active, ordinal, _)| (*active, *ordinal));
    nodes.truncate(NODES_LISTED);
    nodes.into_iter().map(|(_, _, node)| node).collect()
}

fn operation(previous: Option<&OperationStatus>, plan: &Plan, now: Timestamp) -> Option<OperationStatus> {
    let Some(planned) = &plan.operation else {
        // The StatefulSet controller has not caught up, so nobody can say that it is over.
        return match plan.wait {
            Some(Wait { hold: Hold::Controller, .. }) => previous.cloned(),
            _ => None,
        };
    };
    let same = previous.filter(|before| before.id == planned.id);
    let pod = |pod: &Victim, step: &str| OperationPod {
        name: pod.name.clone(),
        uid: pod.uid.clone(),
        step: step.to_owned(),
    };
    let stepped = plan.steps.iter().flat_map(|step| {
        let word = step.kind().word();
        step.victims().into_iter().map(move |victim| (victim, word))
    });
    let watched = planned.watched.iter().map(|(victim, watch)| (victim, watch.word()));
    Some(OperationStatus {
        id: planned.id.clone(),
        type_: match planned.kind {
            Kind::Repair => OperationType::Repair,
            Kind::ScaleUp => OperationType::ScaleUp,
            Kind::Rollout => OperationType::Rollout,
            Kind::ScaleDown | Kind::Stop => OperationType::ScaleDown,
            Kind::Resume => OperationType::Resume,
            Kind::Rebalance => OperationType::Rebalance,
        },
        pods: stepped.chain(watched).map(|(victim, word)| pod(victim, word)).take(NODES_LISTED).collect(),
        done: planned.done,
        total: planned.total,
        started_at: same.map_or(Time(now), |before| before.started_at.clone()),
        message: planned.message.clone(),
    })
}

/// Keeps the connections of the previous status while they have not moved enough, so that a busy
/// cluster does not write its status every few seconds. Returns whether new ones are in `next`.
pub fn hold_connections(
    previous: &WscClusterStatus,
    next: &mut WscClusterStatus,
    written: Option<Instant>,
    now: Instant,
) -> bool {
    let (old, new) = (previous.connections, next.connections);
    if old == new {
        return false;
    }
    let moved = (old.total - new.total).abs();
    let enough = moved * CONNECTIONS_SHARE >= new.capacity.max(1);
    let idle = (old.total == 0) != (new.total == 0);
    let due = written.is_none_or(|at| now.duration_since(at) >= CONNECTIONS_EVERY);
    if old.capacity != new.capacity || (due && (enough || idle)) {
        return true;
    }
    next.connections = old;
    false
}

/// The merge patch that turns one status into another; `None` when they are the same. It names
/// every field: what was read has defaults for fields that the stored status may lack, so a patch
/// of the differences alone would never write those.
///
/// # Errors
/// When a status cannot be turned into JSON.
pub fn difference(
    previous: &WscClusterStatus,
    next: &WscClusterStatus,
) -> Result<Option<Value>, serde_json::Error> {
    if previous == next {
        return Ok(None);
    }
    Ok(Some(with_removals(&serde_json::to_value(previous)?, serde_json::to_value(next)?)))
}

/// `next`, with null for every field that only `previous` has.
fn with_removals(previous: &Value, next: Value) -> Value {
    let (Value::Object(before), Value::Object(mut after)) = (previous, next.clone()) else {
        return next;
    };
    for (key, old) in before {
        let value = after.remove(key).map_or(Value::Null, |new| with_removals(old, new));
        after.insert(key.clone(), value);
    }
    Value::Object(after)
}

/// The status a resource carries now.
#[must_use]
pub fn current(cluster: &WscCluster) -> WscClusterStatus {
    cluster.status.clone().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use k8s_openapi::jiff::Timestamp;
    use serde_json::json;

    use super::{
        ConnectionsStatus, WscClusterStatus, difference, hold_connections, operation, with_removals,
    };
    use crate::plan::operation::{Kind, Operation, Plan, Watch};
    use crate::plan::step::{Hold, Step, Victim, Wait};

    #[test]
    fn a_patch_names_every_field_and_removes_what_is_gone() {
        let before = json!({"a": 1, "b": {"c": 1, "d": 2}, "gone": {"x": 1}, "list": [1, 2]});
        let after = json!({"a": 1, "b": {"c": 9}, "list": [2], "new": true});
        assert_eq!(
            with_removals(&before, after),
            json!({"a": 1, "b": {"c": 9, "d": null}, "gone": null, "list": [2], "new": true})
        );
        let fresh = WscClusterStatus::default();
        assert_eq!(difference(&fresh, &fresh).unwrap(), None);
        let seen = WscClusterStatus { observed_generation: 1, ..WscClusterStatus::default() };
        let patch = difference(&fresh, &seen).unwrap().unwrap();
        assert_eq!(patch["connections"]["total"], 0, "zeros are written, too");
    }

    #[test]
    fn connections_are_written_when_they_moved_and_not_too_often() {
        let now = Instant::now();
        let long_ago = now.checked_sub(Duration::from_secs(31));
        let status = |total, capacity| WscClusterStatus {
            connections: ConnectionsStatus { total, capacity },
            ..WscClusterStatus::default()
        };
        for (old, new, written, expected) in [
            ((0, 0), (0, 1000), Some(now), true),
            ((100, 1000), (120, 1000), long_ago, false),
            ((100, 1000), (150, 1000), long_ago, true),
            ((100, 1000), (150, 1000), Some(now), false),
            ((100, 1000), (100, 1000), long_ago, false),
            ((1, 1000), (0, 1000), long_ago, true),
        ] {
            let mut next = status(new.0, new.1);
            let held = hold_connections(&status(old.0, old.1), &mut next, written, now);
            assert_eq!(held, expected, "{old:?} -> {new:?}");
            let kept = if expected { new } else { old };
            assert_eq!((next.connections.total, next.connections.capacity), kept);
        }
    }

    #[test]
    fn an_operation_keeps_its_beginning_and_names_its_pods() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let pod = || Victim { name: "chat-2".into(), uid: "u2".into() };
        let plan = |steps, watched| Plan {
            operation: Some(Operation {
                id: "rollout-r2".into(),
                kind: Kind::Rollout,
                done: 0,
                total: 3,
                message: String::new(),
                watched,
            }),
            steps,
            ..Plan::rest()
        };
        let delete = plan(vec![Step::Delete { victim: pod() }], Vec::new());
        let first = operation(None, &delete, at(10)).unwrap();
        assert_eq!(first.pods[0].step, "Delete");
        let wait = plan(Vec::new(), vec![(pod(), Watch::Ending)]);
        let second = operation(Some(&first), &wait, at(20)).unwrap();
        assert_eq!(second.started_at, first.started_at);
        assert_eq!((second.pods[0].name.as_str(), second.pods[0].step.as_str()), ("chat-2", "Ending"));
        let wait = Wait { hold: Hold::Controller, after: Duration::from_secs(1) };
        let lagging = Plan { wait: Some(wait), ..Plan::rest() };
        assert_eq!(operation(Some(&second), &lagging, at(30)), Some(second.clone()));
        assert_eq!(operation(Some(&second), &Plan::rest(), at(30)), None);
    }
}
