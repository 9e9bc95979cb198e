//! The order of priorities: replace broken pods, scale up, rollout, scale down.

use k8s_openapi::jiff::Timestamp;

use crate::observed::world::World;

use super::census::{Census, LOOK_AGAIN, updated};
use super::departures::Scene;
use super::fault::{BadPod, bad_pod, put_back};
use super::operation::{Kind, Operation, Plan, Stuck};
use super::rebalance::rebalance;
use super::release::{lost, release, resume};
use super::rollout::{repair, rollout};
use super::scale::{scale_down, scale_down_has_begun, scale_up, settle, stop};
use super::step::{Hold, Step, Wait};
use super::wish::Wish;

/// Decides the one operation and its next steps.
#[must_use]
pub fn decide(wish: &Wish, world: &World, now: Timestamp) -> Plan {
    let Some(fleet) = &world.fleet else {
        return Plan::rest();
    };
    if wish.paused {
        return Plan::rest();
    }
    let census = Census::take(wish, fleet, world, now);
    let scene = Scene { wish, fleet, world, census: &census };
    if let Some(plan) = lost(scene) {
        return plan;
    }
    if wish.replicas == 0 {
        return stop(scene);
    }
    let bad = bad_pod(wish, world, &census);
    let released = release(scene, bad.is_some());
    let mut plan = match bad.as_ref().and_then(|bad| Some((bad, put_back(fleet, world, bad)?))) {
        Some((bad, step)) => putting_back(scene, bad, step),
        None => prioritise(scene, bad.as_ref()),
    };
    if !released.is_empty() {
        plan.operation.get_or_insert_with(|| resume(&released));
        plan.steps.splice(0..0, released);
    }
    if plan.stuck.is_none() {
        plan.stuck = stuck(scene, bad.as_ref());
    }
    plan
}

fn prioritise(scene: Scene<'_>, bad: Option<&BadPod<'_>>) -> Plan {
    let (wanted, there) = (scene.wish.replicas, scene.fleet.replicas);
    // A latest pod that does not come up either would only multiply the fault.
    if bad.is_none()
        && let Some(plan) = repair(scene)
    {
        return plan;
    }
    if wanted > there {
        return scale_up(scene);
    }
    if wanted < there && scale_down_has_begun(scene) {
        return scale_down(scene);
    }
    let rollout = match bad {
        Some(bad) => stopped(scene, bad),
        None => rollout(scene),
    };
    if wanted < there {
        // A stuck rollout must not keep pods that nobody wants.
        return match rollout {
            Some(plan) if bad.is_none() && plan.operation.is_some() => plan,
            _ => scale_down(scene),
        };
    }
    rollout.or_else(|| settle(scene)).or_else(|| rebalance(scene)).unwrap_or_else(Plan::rest)
}

/// A rollout that does not go on by itself and has no good template to go back to.
fn stopped(scene: Scene<'_>, bad: &BadPod<'_>) -> Option<Plan> {
    let revision = scene.fleet.update_revision.as_deref()?;
    let id = format!("rollout-{revision}");
    let seats = &scene.census.seats;
    let old = seats.iter().any(|seat| seat.pod.is_some() && !seat.latest);
    let continues = scene.world.ongoing.as_ref().is_some_and(|going| going.id == id);
    if scene.fleet.held_back.is_some() || !(old || continues) {
        return None;
    }
    Some(Plan {
        operation: Some(Operation {
            id,
            kind: Kind::Rollout,
            done: updated(seats),
            total: scene.fleet.replicas,
            message: format!(
                "stopped: {} {}; correct the spec, the rollout then goes on by itself",
                bad.pod.name, bad.cause
            ),
            watched: Vec::new(),
        }),
        steps: Vec::new(),
        wait: Some(Wait { hold: Hold::PodDown, after: LOOK_AGAIN }),
        stuck: None,
    })
}

fn putting_back(scene: Scene<'_>, bad: &BadPod<'_>, step: Step) -> Plan {
    let latest = scene.fleet.update_revision.as_deref().unwrap_or_default();
    Plan {
        operation: Some(Operation {
            id: format!("rollout-{latest}"),
            kind: Kind::Rollout,
            done: updated(&scene.census.seats),
            total: scene.fleet.replicas,
            message: format!("stopped: {} {}; putting the last good template back", bad.pod.name, bad.cause),
            watched: Vec::new(),
        }),
        steps: vec![step],
        wait: None,
        stuck: None,
    }
}

/// What is wrong with the template of the spec, as long as it is.
fn stuck(scene: Scene<'_>, bad: Option<&BadPod<'_>>) -> Option<Stuck> {
    match &scene.fleet.held_back {
        Some(held) => Some(Stuck { pod: held.pod.clone(), cause: held.cause.clone(), put_back: true }),
        None => bad.map(|bad| Stuck { pod: bad.pod.name.clone(), cause: bad.cause.clone(), put_back: false }),
    }
}
