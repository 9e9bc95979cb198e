//! Drains that the operator began and nobody needs any more, and pods of nodes that are lost.

use std::time::Duration;

use crate::observed::hub::HubPhase;
use crate::observed::pod::HubPod;

use super::census::{elapsed, victim};
use super::departures::Scene;
use super::drain_order::{OWN, own_drain};
use super::operation::{Kind, Operation, Plan};
use super::step::Step;

/// A pod that is still there this long after the end of its grace is on a node that does not answer.
pub const LOST_AFTER: Duration = Duration::from_secs(60);

/// Takes back own drains of pods that stay. One whose last connection is gone cannot be taken back: that pod is
/// replaced, unless it would come back from a template that does not come up (`spoilt`).
#[must_use]
pub fn release(scene: Scene<'_>, spoilt: bool) -> Vec<Step> {
    let staying = scene.world.pods.iter().filter(|pod| !pod.terminating && !has_to_go(scene, pod, spoilt));
    staying
        .filter_map(|pod| {
            let report = own_drain(pod, scene.world)?;
            if report.phase != HubPhase::Closed {
                return Some(Step::CancelDrain { victim: victim(pod) });
            }
            (!spoilt && scene.redis_allows(pod)).then(|| Step::Delete { victim: victim(pod) })
        })
        .collect()
}

/// Whether the operator has a reason to drain a pod.
fn has_to_go(scene: Scene<'_>, pod: &HubPod, spoilt: bool) -> bool {
    let fleet = scene.fleet;
    if pod.ordinal >= scene.wish.replicas {
        return true;
    }
    let (true, Some(latest)) = (fleet.current, fleet.update_revision.as_deref()) else {
        return true;
    };
    // While a template is refused, only its pods that do not serve are replaced; drains of its own rollout end.
    let begun_since = || {
        let drain = own_drain(pod, scene.world).and_then(|report| report.drain.as_ref());
        drain.is_some_and(|drain| drain.id == format!("{OWN}rollout-{latest}"))
    };
    !spoilt && pod.revision != latest && (fleet.held_back.is_none() || begun_since())
}

/// The operation of taking drains back, where there is no other one.
#[must_use]
pub fn resume(steps: &[Step]) -> Operation {
    let names: Vec<&str> =
        steps.iter().flat_map(Step::victims).map(|victim| victim.name.as_str()).take(5).collect();
    Operation {
        id: "resume".to_owned(),
        kind: Kind::Resume,
        done: 0,
        total: i32::try_from(steps.len()).unwrap_or(i32::MAX),
        message: format!("{} may stay: taking the drain back", names.join(", ")),
        watched: Vec::new(),
    }
}

/// Removes pods of lost nodes: long past the end of their grace, silent, and no longer listed by the other nodes. Until
/// then they may still hold clients, and a second pod of the same name must not start.
#[must_use]
pub fn lost(scene: Scene<'_>) -> Option<Plan> {
    let world = scene.world;
    let listed = world.listed.as_ref()?;
    let lost: Vec<&HubPod> = world
        .pods
        .iter()
        .filter(|pod| {
            let answers = world.hubs.get(&pod.uid).is_some_and(|view| view.answer.is_ok());
            let overdue =
                pod.deletion.is_some_and(|deletion| elapsed(scene.census.now, deletion) >= LOST_AFTER);
            overdue && !answers && !listed.contains(&pod.name)
        })
        .collect();
    let first = lost.first()?;
    let names: Vec<&str> = lost.iter().map(|pod| pod.name.as_str()).take(5).collect();
    Some(Plan {
        operation: Some(Operation {
            id: format!("lost-{}", first.name),
            kind: Kind::Repair,
            done: 0,
            total: i32::try_from(lost.len()).unwrap_or(i32::MAX),
            message: format!("removing {}, whose Kubernetes node is lost", names.join(", ")),
            watched: Vec::new(),
        }),
        steps: lost.iter().map(|pod| Step::ForceDelete { victim: victim(pod) }).collect(),
        wait: None,
        stuck: None,
    })
}
