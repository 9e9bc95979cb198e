//! More pods, fewer pods, no pods.

use std::time::Duration;

use crate::observed::pod::HubPod;
use crate::observed::world::Standing;

use super::census::{Census, LOOK_AGAIN, Seat, elapsed, serving, victim};
use super::departures::{Departures, Scene, Verdict};
use super::drain_order::{OWN, own_drain};
use super::operation::{Kind, Operation, Plan, Watch};
use super::step::{Hold, Step, Victim, Wait};

/// A smaller number of replicas must be wished for this long before pods go, so that a
/// correction right after a mistake costs nobody a connection.
pub const SCALE_DOWN_HOLD: Duration = Duration::from_secs(60);

/// Begins the ids of scale-downs.
const DOWN: &str = "scale-down-";

fn up_id(replicas: i32) -> String {
    format!("scale-up-{replicas}")
}

/// More pods; they cost nobody anything, so there is no waiting.
#[must_use]
pub fn scale_up(scene: Scene<'_>) -> Plan {
    let (from, to) = (scene.fleet.replicas, scene.wish.replicas);
    let pods = (from..to)
        .map(|ordinal| Victim { name: format!("{}-{ordinal}", scene.fleet.name), uid: String::new() })
        .collect();
    Plan {
        operation: Some(Operation {
            id: up_id(to),
            kind: Kind::ScaleUp,
            done: serving(&scene.census.seats),
            total: to,
            message: format!("scaling up from {from} to {to}"),
            watched: Vec::new(),
        }),
        steps: vec![Step::SetReplicas { from, to, pods }],
        wait: None,
        stuck: None,
    }
}

/// Whether clients of a pod that is to go for good are being moved, for whatever reason that began; it is brought to its
/// end first, or the pod would stand in the way of everything else.
#[must_use]
pub fn scale_down_has_begun(scene: Scene<'_>) -> bool {
    scene.census.leaving(scene.wish.replicas).iter().any(|seat| seat.own_drain)
}

/// Whether the clients of a seat's pod are being moved by the operator for an operation of this id, or of any id that
/// begins with [`DOWN`].
fn drains_as(scene: Scene<'_>, seat: &Seat<'_>, operation: &str) -> bool {
    let pod = seat.pod.filter(|pod| !pod.terminating);
    let drain = pod.and_then(|pod| own_drain(pod, scene.world)).and_then(|report| report.drain.as_ref());
    drain
        .and_then(|drain| drain.id.strip_prefix(OWN))
        .is_some_and(|id| id == operation || (operation == DOWN && id.starts_with(DOWN)))
}

/// Fewer pods: the highest ordinals first, drained, then the number is lowered step by step. Until the wish has held for
/// long enough only what was begun for an earlier one goes on.
#[must_use]
pub fn scale_down(scene: Scene<'_>) -> Plan {
    let (from, wanted) = (scene.fleet.replicas, scene.wish.replicas);
    let id = format!("{DOWN}{wanted}");
    let left = hold_left(scene, &id);
    let remaining = from - wanted;
    let record = scene.world.ongoing.as_ref().filter(|going| going.id == id);
    let total = record.map_or(remaining, |going| going.total.max(remaining));
    let mut departures = Departures::new(scene, id, &scene.census.seats);
    departures.for_good = true;
    let mut to = from;
    if scene.world.redis.is_down() {
        let note = "held: no pod is removed while Redis is down; see the RedisReady condition";
        departures.held(Hold::Redis, note.to_owned());
    } else {
        let mut contiguous = true;
        let mut drained_below: Option<&HubPod> = None;
        for seat in scene.census.leaving(wanted).iter().rev() {
            if !left.is_zero() && !drains_as(scene, seat, DOWN) {
                departures.settle(
                    left,
                    format!(
                        "scaling down from {from} to {wanted} once that has been wished for {} s",
                        SCALE_DOWN_HOLD.as_secs()
                    ),
                );
                break;
            }
            let gone = match seat.pod.filter(|_| seat.standing != Standing::Terminating) {
                None => true,
                Some(pod) => departures.send_away(pod, seat.is_down()) == Verdict::Ready,
            };
            contiguous &= gone;
            if contiguous {
                to = seat.ordinal;
            } else if gone && seat.own_drain {
                drained_below = drained_below.or(seat.pod);
            }
        }
        // Drained for another reason, it would be in the way for ever: pods go from the highest ordinal on, and it
        // counts as down. So it comes back first.
        if departures.steps.is_empty()
            && to == from
            && !departures.moves_clients()
            && let Some(pod) = drained_below
        {
            departures.step(
                Step::Delete { victim: victim(pod) },
                format!("restarting {}, since higher ordinals go first", pod.name),
            );
        }
    }
    if to < from {
        let going = scene.census.leaving(to).iter().filter_map(|seat| seat.pod);
        let pods = going.map(victim).collect();
        departures.step(Step::SetReplicas { from, to, pods }, format!("scaling down from {from} to {to}"));
    }
    let (operation, steps, wait) = departures.plan(Kind::ScaleDown, total - remaining, total);
    Plan { operation: Some(operation), steps, wait, stuck: None }
}

fn hold_left(scene: Scene<'_>, id: &str) -> Duration {
    let world = scene.world;
    let leaving = scene.census.leaving(scene.wish.replicas);
    let held = match world.ongoing.as_ref().filter(|going| going.id == id) {
        // It has lowered the number before, or begun to move clients.
        Some(going) if usize::try_from(going.total).is_ok_and(|total| total > leaving.len()) => {
            SCALE_DOWN_HOLD
        }
        Some(_) if leaving.iter().any(|seat| drains_as(scene, seat, id)) => SCALE_DOWN_HOLD,
        Some(going) => elapsed(scene.census.now, going.started_at),
        // The wish is an old one: somebody edited the StatefulSet, and there is nothing to correct.
        None if world.last_wish == Some(scene.wish.replicas) => SCALE_DOWN_HOLD,
        None => Duration::ZERO,
    };
    SCALE_DOWN_HOLD.saturating_sub(held)
}

/// No pods: all are drained at once, whatever room there is, then the number is 0.
#[must_use]
pub fn stop(scene: Scene<'_>) -> Plan {
    let (fleet, world) = (scene.fleet, scene.world);
    let left = i32::try_from(world.pods.len()).unwrap_or(i32::MAX);
    if fleet.replicas == 0 && left == 0 {
        return Plan::rest();
    }
    let mut departures = Departures::new(scene, "stop".to_owned(), &[]);
    (departures.guarded, departures.for_good) = (false, true);
    let mut all_moved = true;
    for pod in world.pods.iter().rev().filter(|pod| !pod.terminating) {
        all_moved &= departures.send_away(pod, false) == Verdict::Ready;
    }
    if fleet.replicas == 0 {
        departures.held(Hold::PodDown, format!("waiting for {left} pods to end"));
    } else if all_moved {
        let pods = world.pods.iter().map(victim).collect();
        departures.step(
            Step::SetReplicas { from: fleet.replicas, to: 0, pods },
            format!("ending all pods, {left} left"),
        );
    }
    let (operation, steps, wait) = departures.plan(Kind::Stop, 0, left.max(fleet.replicas));
    Plan { operation: Some(operation), steps, wait, stuck: None }
}

/// Nothing is left to start; an operation stays on record until its pods serve or are gone.
#[must_use]
pub fn settle(scene: Scene<'_>) -> Option<Plan> {
    let (world, wanted) = (scene.world, scene.wish.replicas);
    let going = world.ongoing.as_ref()?;
    let serving = serving(&scene.census.seats);
    let extra = world.pods.iter().filter(|pod| pod.ordinal >= wanted);
    let count = i32::try_from(extra.clone().count()).unwrap_or(i32::MAX);
    let (kind, done, total, message, watched) = if going.id == up_id(wanted) && serving < wanted {
        let watched = starting(scene.census);
        (Kind::ScaleUp, serving, wanted, format!("{serving} of {wanted} pods serve"), watched)
    } else if going.id.starts_with(DOWN) && count > 0 {
        let total = going.total.max(count);
        let watched = extra.map(|pod| (victim(pod), Watch::Ending)).collect();
        (Kind::ScaleDown, total - count, total, format!("waiting for {count} pods to end"), watched)
    } else {
        return None;
    };
    Some(Plan {
        operation: Some(Operation { id: going.id.clone(), kind, done, total, message, watched }),
        steps: Vec::new(),
        wait: Some(Wait { hold: Hold::PodDown, after: LOOK_AGAIN }),
        stuck: None,
    })
}

fn starting(census: &Census<'_>) -> Vec<(Victim, Watch)> {
    let down = census.seats.iter().filter(|seat| seat.is_down());
    down.filter_map(|seat| seat.pod).map(|pod| (victim(pod), Watch::Starting)).collect()
}
