//! One pod at a time to the latest template.

use std::time::Duration;

use crate::observed::fleet::Fleet;
use crate::observed::pod::HubPod;
use crate::observed::world::{Standing, World};

use super::census::{Census, FAULT_AFTER, Seat, elapsed};
use super::step::{Hold, Kind, Operation, Plan, Step, Victim};
use super::wish::Wish;

/// How soon to look again while pods come and go; their own events usually come first.
pub const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Replaces an old pod that cannot run: nothing is lost by it, so it goes before everything else.
#[must_use]
pub fn repair(fleet: &Fleet, world: &World, census: &Census<'_>) -> Option<Plan> {
    let revision = trusted_revision(fleet)?;
    // A latest pod that does not come up either would only multiply the fault.
    if census.stuck().is_some() || in_flight(census).is_some() {
        return None;
    }
    let (pod, _) =
        census.old().rev().find(|(pod, _)| census.is_broken(pod) && redis_allows(fleet, world, pod))?;
    Some(Plan {
        operation: Some(Operation {
            id: format!("repair-{}-{revision}", pod.name),
            kind: Kind::Repair,
            done: 0,
            total: 1,
            message: format!("replacing {}, which cannot run, from the latest template", pod.name),
        }),
        step: Step::DeletePod(victim(pod)),
        stuck: None,
    })
}

/// The next step to the latest template; `None` when every pod has it and serves.
#[must_use]
pub fn rollout(wish: &Wish, fleet: &Fleet, world: &World, census: &Census<'_>) -> Option<Plan> {
    if fleet.replicas == 0 {
        return None;
    }
    let Some(revision) = trusted_revision(fleet) else {
        return Some(Plan { operation: None, step: wait(Hold::Controller), stuck: None });
    };
    let id = format!("rollout-{revision}");
    let old = census.old().count();
    let continues = world.ongoing.as_ref().is_some_and(|going| going.id == id);
    if old == 0 && !continues {
        return None;
    }
    let plan = |message: String, step: Step| {
        Some(Plan {
            operation: Some(Operation {
                id: id.clone(),
                kind: Kind::Rollout,
                done: census.updated(),
                total: fleet.replicas,
                message,
            }),
            step,
            stuck: census.stuck(),
        })
    };
    if let Some(stuck) = census.stuck() {
        return plan(
            format!(
                "stopped: {} {}; correct the spec, the rollout then goes on by itself",
                stuck.pod, stuck.cause
            ),
            wait(Hold::PodDown),
        );
    }
    if let Some(seat) = in_flight(census) {
        return plan(waiting_for(seat, census), wait(Hold::PodDown));
    }
    // Pods that serve nobody go first: replacing them costs nothing.
    let mut down: Vec<(&HubPod, &Seat<'_>)> = census.old().filter(|(_, seat)| seat.is_down()).collect();
    down.sort_by_key(|(pod, seat)| (seat.standing == Standing::NotReady, pod.ordinal));
    if let Some((pod, seat)) = down.pop() {
        if !redis_allows(fleet, world, pod) {
            return plan(held_by_redis(), wait(Hold::Redis));
        }
        if !settled_down(world, fleet, pod, seat, census) {
            return plan(waiting_for(seat, census), wait(Hold::PodDown));
        }
        return plan(
            format!("replacing {} ({})", pod.name, seat.standing.word()),
            Step::DeletePod(victim(pod)),
        );
    }
    if let Some(left) = min_ready_left(wish, census) {
        return plan(
            format!("waiting until the replaced pod has been Ready for {} s", wish.min_ready.as_secs()),
            Step::Wait { hold: Hold::MinReady, after: left },
        );
    }
    let (pod, _) = census.old().next_back()?;
    if !redis_allows(fleet, world, pod) {
        return plan(held_by_redis(), wait(Hold::Redis));
    }
    plan(format!("replacing {}", pod.name), Step::DeletePod(victim(pod)))
}

/// The latest revision, once the StatefulSet controller speaks of the latest template.
fn trusted_revision(fleet: &Fleet) -> Option<&str> {
    fleet.current.then_some(fleet.update_revision.as_deref()).flatten()
}

/// A seat that is on its way: missing, going away, or latest but not serving yet.
fn in_flight<'a, 'b>(census: &'b Census<'a>) -> Option<&'b Seat<'a>> {
    census
        .down()
        .find(|seat| seat.latest || matches!(seat.standing, Standing::Missing | Standing::Terminating))
}

/// While Redis is down for some node nothing is deleted, except pods that carry another Redis
/// wiring than the template: replacing them is the cure for a wrong address.
fn redis_allows(fleet: &Fleet, world: &World, pod: &HubPod) -> bool {
    !world.redis.is_down() || pod.redis_wiring != fleet.redis_wiring
}

/// A pod that is not Ready may go at once. One that is Ready but silent or unregistered has
/// clients and may only be slow, so it must have been so for a while; a foreign drain is left
/// alone until it ends.
fn settled_down(world: &World, fleet: &Fleet, pod: &HubPod, seat: &Seat<'_>, census: &Census<'_>) -> bool {
    match seat.standing {
        Standing::NotReady => true,
        Standing::Unknown | Standing::Unregistered => {
            (world.redis.is_down() && pod.redis_wiring != fleet.redis_wiring)
                || world
                    .hubs
                    .get(&pod.uid)
                    .and_then(|view| view.absent_since)
                    .is_some_and(|since| elapsed(census.now, since) >= FAULT_AFTER)
        }
        Standing::Missing | Standing::Terminating | Standing::Draining | Standing::Active => false,
    }
}

fn min_ready_left(wish: &Wish, census: &Census<'_>) -> Option<Duration> {
    census
        .seats
        .iter()
        .filter(|seat| seat.latest)
        .filter_map(|seat| {
            wish.min_ready.checked_sub(census.ready_for(seat.pod?)).filter(|left| !left.is_zero())
        })
        .max()
}

fn waiting_for(seat: &Seat<'_>, census: &Census<'_>) -> String {
    let Some(pod) = seat.pod else {
        let ordinal =
            census.seats.iter().position(|other| other.standing == Standing::Missing).unwrap_or_default();
        return format!("waiting for the StatefulSet controller to make pod {ordinal}");
    };
    let what = match seat.standing {
        Standing::Terminating => "to end",
        Standing::Unknown => "to answer on its admin port",
        Standing::Unregistered => "to register with the other nodes",
        Standing::Draining => "to finish draining",
        Standing::Missing | Standing::NotReady | Standing::Active => "to become Ready",
    };
    match &pod.fault {
        Some(fault) if !fault.message.is_empty() => {
            format!("waiting for {} {what} ({})", pod.name, fault.message)
        }
        _ => format!("waiting for {} {what}", pod.name),
    }
}

fn held_by_redis() -> String {
    "held: no pod is replaced while Redis is down; see the RedisReady condition".to_owned()
}

fn victim(pod: &HubPod) -> Victim {
    Victim { name: pod.name.clone(), uid: pod.uid.clone() }
}

fn wait(hold: Hold) -> Step {
    Step::Wait { hold, after: LOOK_AGAIN }
}
