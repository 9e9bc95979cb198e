//! The order of priorities: replace broken pods, scale up, rollout, scale down.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use crate::observed::fleet::Fleet;
use crate::observed::world::World;

use super::census::{Census, elapsed};
use super::rollout::{LOOK_AGAIN, repair, rollout};
use super::step::{Hold, Kind, Operation, Plan, Step};
use super::wish::Wish;

/// A smaller number of replicas must be wished for this long before pods go, so that a
/// correction right after a mistake costs nobody a connection.
pub const SCALE_DOWN_HOLD: Duration = Duration::from_secs(60);

/// Decides the one operation and its next step.
#[must_use]
pub fn decide(wish: &Wish, world: &World, now: Timestamp) -> Plan {
    let Some(fleet) = &world.fleet else {
        return Plan::rest();
    };
    if wish.paused {
        return Plan::rest();
    }
    if wish.replicas == 0 {
        return stop(fleet, world);
    }
    let census = Census::take(fleet, world, now);
    let mut plan = prioritise(wish, fleet, world, &census);
    plan.stuck = plan.stuck.or_else(|| census.stuck());
    plan
}

fn prioritise(wish: &Wish, fleet: &Fleet, world: &World, census: &Census<'_>) -> Plan {
    if let Some(plan) = repair(fleet, world, census) {
        return plan;
    }
    if wish.replicas > fleet.replicas {
        return scale_up(wish, fleet, census);
    }
    let rollout = rollout(wish, fleet, world, census);
    if wish.replicas < fleet.replicas {
        // A stuck rollout must not keep pods that nobody wants.
        return match rollout {
            Some(plan) if plan.stuck.is_none() && plan.operation.is_some() => plan,
            _ => scale_down(wish, fleet, world, census.now),
        };
    }
    if let Some(plan) = rollout {
        return plan;
    }
    settle(wish, world, census)
}

fn stop(fleet: &Fleet, world: &World) -> Plan {
    let left = i32::try_from(world.pods.len()).unwrap_or(i32::MAX);
    if fleet.replicas == 0 && left == 0 {
        return Plan::rest();
    }
    let step = if fleet.replicas == 0 {
        Step::Wait { hold: Hold::PodDown, after: LOOK_AGAIN }
    } else {
        Step::SetReplicas { from: fleet.replicas, to: 0 }
    };
    Plan {
        operation: Some(Operation {
            id: "stop".to_owned(),
            kind: Kind::Stop,
            done: 0,
            total: left.max(fleet.replicas),
            message: format!("ending all pods, {left} left"),
        }),
        step,
        stuck: None,
    }
}

fn scale_up_id(replicas: i32) -> String {
    format!("scale-up-{replicas}")
}

fn scale_up(wish: &Wish, fleet: &Fleet, census: &Census<'_>) -> Plan {
    Plan {
        operation: Some(Operation {
            id: scale_up_id(wish.replicas),
            kind: Kind::ScaleUp,
            done: serving(census),
            total: wish.replicas,
            message: format!("scaling up from {} to {}", fleet.replicas, wish.replicas),
        }),
        step: Step::SetReplicas { from: fleet.replicas, to: wish.replicas },
        stuck: None,
    }
}

fn scale_down(wish: &Wish, fleet: &Fleet, world: &World, now: Timestamp) -> Plan {
    let id = format!("scale-down-{}", wish.replicas);
    let record = world.ongoing.as_ref().filter(|going| going.id == id);
    let held = match record {
        Some(going) => elapsed(now, going.started_at),
        // The wish is an old one: somebody edited the StatefulSet, and there is nothing to correct.
        None if world.last_wish == Some(wish.replicas) => SCALE_DOWN_HOLD,
        None => Duration::ZERO,
    };
    let (message, step) = if world.redis.is_down() {
        (
            "held: no pod is removed while Redis is down; see the RedisReady condition".to_owned(),
            Step::Wait { hold: Hold::Redis, after: LOOK_AGAIN },
        )
    } else if held < SCALE_DOWN_HOLD {
        (
            format!(
                "scaling down from {} to {} once that has been wished for {} s",
                fleet.replicas,
                wish.replicas,
                SCALE_DOWN_HOLD.as_secs()
            ),
            Step::Wait { hold: Hold::Settle, after: SCALE_DOWN_HOLD - held },
        )
    } else {
        (
            format!("scaling down from {} to {}", fleet.replicas, wish.replicas),
            Step::SetReplicas { from: fleet.replicas, to: wish.replicas },
        )
    };
    Plan {
        operation: Some(Operation {
            id,
            kind: Kind::ScaleDown,
            done: 0,
            total: fleet.replicas - wish.replicas,
            message,
        }),
        step,
        stuck: None,
    }
}

/// Nothing is left to start; an operation stays on record until its pods serve or are gone.
fn settle(wish: &Wish, world: &World, census: &Census<'_>) -> Plan {
    let Some(going) = &world.ongoing else {
        return Plan::rest();
    };
    let serving = serving(census);
    let extra = world.pods.iter().filter(|pod| pod.ordinal >= wish.replicas).count();
    let (kind, done, total, message) = if going.id == scale_up_id(wish.replicas) && serving < wish.replicas {
        (Kind::ScaleUp, serving, wish.replicas, format!("{serving} of {} pods serve", wish.replicas))
    } else if going.id.starts_with("scale-down-") && extra > 0 {
        let extra = i32::try_from(extra).unwrap_or(i32::MAX);
        (Kind::ScaleDown, 0, extra, format!("waiting for {extra} pods to end"))
    } else {
        return Plan::rest();
    };
    Plan {
        operation: Some(Operation { id: going.id.clone(), kind, done, total, message }),
        step: Step::Wait { hold: Hold::PodDown, after: LOOK_AGAIN },
        stuck: census.stuck(),
    }
}

fn serving(census: &Census<'_>) -> i32 {
    let count = census.seats.iter().filter(|seat| !seat.is_down()).count();
    i32::try_from(count).unwrap_or(i32::MAX)
}
