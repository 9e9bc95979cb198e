//! Pods are brought to the latest template, and pods that cannot run are replaced.

use crate::observed::pod::HubPod;
use crate::observed::world::Standing;

use super::census::{Seat, updated, victim};
use super::departures::{Departures, Scene, Verdict};
use super::fault::is_broken;
use super::operation::{Kind, Operation, Plan};
use super::step::{Hold, Step, Wait};

/// Replaces old pods that cannot run: nothing is lost by it, so it goes before everything else.
#[must_use]
pub fn repair(scene: Scene<'_>) -> Option<Plan> {
    let revision = trusted_revision(&scene)?;
    let seats = &scene.census.seats;
    let in_flight = seats.iter().filter(|seat| seat.is_in_flight()).count();
    let budget = scene.wish.max_unavailable.max(1).saturating_sub(in_flight);
    let mut broken: Vec<&HubPod> = old(seats)
        .rev()
        .map(|(pod, _)| pod)
        .filter(|pod| is_broken(pod, scene.world, scene.census.now) && scene.redis_allows(pod))
        .collect();
    broken.sort_by_key(|pod| !scene.is_claimed(pod));
    broken.truncate(budget);
    let first = broken.first()?;
    let names: Vec<&str> = broken.iter().map(|pod| pod.name.as_str()).collect();
    Some(Plan {
        operation: Some(Operation {
            id: format!("repair-{}-{revision}", first.name),
            kind: Kind::Repair,
            done: 0,
            total: i32::try_from(broken.len()).unwrap_or(i32::MAX),
            message: format!("replacing {}, which cannot run, from the latest template", names.join(", ")),
            watched: Vec::new(),
        }),
        steps: broken.iter().map(|pod| Step::Delete { victim: victim(pod) }).collect(),
        wait: None,
        stuck: None,
    })
}

/// The next steps to the latest template; `None` when every pod that stays has it and serves.
#[must_use]
pub fn rollout(scene: Scene<'_>) -> Option<Plan> {
    if scene.fleet.replicas == 0 {
        return None;
    }
    let Some(revision) = trusted_revision(&scene) else {
        let wait = Wait { hold: Hold::Controller, after: super::census::LOOK_AGAIN };
        return Some(Plan { wait: Some(wait), ..Plan::rest() });
    };
    let id = format!("rollout-{revision}");
    let seats = scene.census.staying(scene.wish.replicas);
    let continues = scene.world.ongoing.as_ref().is_some_and(|going| going.id == id);
    let candidates = candidates(&scene, seats);
    if candidates.is_empty() && !continues {
        return None;
    }
    let mut departures = Departures::new(scene, id, seats);
    let nobody = candidates.is_empty();
    for (pod, seat) in candidates {
        // Deleting a pod that is drained changes nothing about who is down; one that is down for other reasons is
        // begun with here.
        let begun = seat.own_drain;
        let down = seat.is_down();
        if departures.send_away(pod, down) != Verdict::Ready {
            continue;
        }
        if !begun && departures.budget(down) == 0 {
            continue;
        }
        departures.step(
            Step::Delete { victim: victim(pod) },
            match seat.standing {
                Standing::Draining => format!("replacing {}", pod.name),
                standing => format!("replacing {} ({})", pod.name, standing.word()),
            },
        );
        if !begun {
            departures.spend(down);
        }
    }
    if nobody && departures.is_idle() {
        return None;
    }
    let total = i32::try_from(seats.len()).unwrap_or(i32::MAX);
    let (operation, steps, wait) = departures.plan(Kind::Rollout, updated(seats), total);
    Some(Plan { operation: Some(operation), steps, wait, stuck: None })
}

/// Pods of an older template that are not going away already, in ordinal order.
fn old<'a, 'b>(
    seats: &'b [Seat<'a>],
) -> impl DoubleEndedIterator<Item = (&'a HubPod, &'b Seat<'a>)> + use<'a, 'b> {
    seats.iter().filter_map(|seat| {
        let pod = seat.pod?;
        (!seat.latest && seat.standing != Standing::Terminating).then_some((pod, seat))
    })
}

/// Old pods in the order in which they go: what was begun, what the record names, what is down anyway, then the highest
/// ordinals. While the template of the spec is refused, pods that run it and serve are left in peace.
fn candidates<'a, 'b>(scene: &Scene<'a>, seats: &'b [Seat<'a>]) -> Vec<(&'a HubPod, &'b Seat<'a>)> {
    let refused = scene.fleet.held_back.is_some();
    let mut all: Vec<_> = old(seats).rev().filter(|(_, seat)| !refused || seat.is_down()).collect();
    all.sort_by_key(|(pod, seat)| {
        (!seat.own_drain, !scene.is_claimed(pod), !seat.is_down(), seat.standing != Standing::NotReady)
    });
    all
}

/// The latest revision, once the StatefulSet controller speaks of the latest template.
fn trusted_revision<'a>(scene: &Scene<'a>) -> Option<&'a str> {
    scene.fleet.current.then_some(scene.fleet.update_revision.as_deref()).flatten()
}
