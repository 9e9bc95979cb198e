//! Pods that cannot run, and a latest template that does not come up.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use crate::observed::fleet::Fleet;
use crate::observed::hub::HubPhase;
use crate::observed::pod::{FaultKind, HubPod};
use crate::observed::world::{Standing, World};

use super::census::{Census, FAULT_AFTER, Seat, elapsed, victim};
use super::step::Step;
use super::wish::Wish;

/// A pod that was not Ready for this long is broken even if the cluster names no fault. The
/// startup probe gives a hub 120 s.
pub const NEVER_READY_AFTER: Duration = Duration::from_secs(120);

/// A pod of the latest template that does not come up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadPod<'a> {
    /// The pod.
    pub pod: &'a HubPod,
    /// Why, in the cluster's words where it has any.
    pub cause: String,
    /// Whether an older template would help. A pod that finds no node waits for one until the
    /// deadline is over.
    pub template_at_fault: bool,
}

/// Whether a pod cannot run and will not by itself, and holds no client.
#[must_use]
pub fn is_broken(pod: &HubPod, world: &World, now: Timestamp) -> bool {
    if pod.ready || pod.terminating {
        return false;
    }
    let report = world.hubs.get(&pod.uid).and_then(|view| view.report());
    if report.is_some_and(|report| report.connections > 0) {
        return false;
    }
    let unready = elapsed(now, pod.ready_changed);
    match &pod.fault {
        Some(_) => unready >= FAULT_AFTER,
        // A hub that says that it starts has not been Ready before.
        None => {
            unready >= NEVER_READY_AFTER
                && (!pod.running || report.is_some_and(|report| report.phase == HubPhase::Starting))
        }
    }
}

/// The first pod of the latest template that does not come up.
#[must_use]
pub fn bad_pod<'a>(wish: &Wish, world: &World, census: &Census<'a>) -> Option<BadPod<'a>> {
    census.seats.iter().filter(|seat| seat.latest).find_map(|seat| {
        let pod = seat.pod.filter(|pod| !pod.terminating)?;
        let deadline = wish.progress_deadline;
        if pod.ready {
            return unregistered(seat, pod, world, census.now, deadline);
        }
        // A drained pod is not Ready by intention.
        if seat.standing == Standing::Draining {
            return None;
        }
        let unready = elapsed(census.now, pod.ready_changed);
        let overdue = unready >= deadline && !redis_is_to_blame(world, pod);
        match &pod.fault {
            Some(fault) if unready >= FAULT_AFTER => {
                let kind = match fault.kind {
                    FaultKind::ImagePull => "cannot pull its image",
                    FaultKind::Config => "cannot be configured",
                    FaultKind::CrashLoop => "keeps crashing",
                    FaultKind::Unschedulable => "cannot be scheduled",
                };
                let cause = match fault.message.as_str() {
                    "" => kind.to_owned(),
                    message => format!("{kind}: {message}"),
                };
                let template_at_fault = fault.kind != FaultKind::Unschedulable || overdue;
                Some(BadPod { pod, cause, template_at_fault })
            }
            _ if overdue => Some(BadPod {
                pod,
                cause: format!("is not Ready after {}", readable(unready)),
                template_at_fault: true,
            }),
            _ => None,
        }
    })
}

fn unregistered<'a>(
    seat: &Seat<'a>,
    pod: &'a HubPod,
    world: &World,
    now: Timestamp,
    deadline: Duration,
) -> Option<BadPod<'a>> {
    if !matches!(seat.standing, Standing::Unregistered | Standing::Unknown) {
        return None;
    }
    let absent = elapsed(now, world.hubs.get(&pod.uid)?.absent_since?);
    (absent >= deadline && !redis_is_to_blame(world, pod)).then(|| BadPod {
        pod,
        cause: format!("is not registered after {}", readable(absent)),
        template_at_fault: true,
    })
}

fn readable(time: Duration) -> String {
    match time.as_secs() {
        seconds if seconds < 120 => format!("{seconds} s"),
        seconds => format!("{} minutes", seconds / 60),
    }
}

/// While Redis is down for pods of the same wiring, no template would make this one Ready.
fn redis_is_to_blame(world: &World, pod: &HubPod) -> bool {
    world.redis.is_down() && world.pods.iter().all(|other| other.redis_wiring == pod.redis_wiring)
}

/// Puts the last good template back: the one most Ready pods run, if it is not the latest. Never
/// twice, for then the pods of the refused template would look like the good ones.
#[must_use]
pub fn put_back(fleet: &Fleet, world: &World, bad: &BadPod<'_>) -> Option<Step> {
    if !bad.template_at_fault || !fleet.current || fleet.held_back.is_some() {
        return None;
    }
    let latest = fleet.update_revision.as_deref()?;
    let mut ready: BTreeMap<&str, usize> = BTreeMap::new();
    for pod in &world.pods {
        if pod.ready && !pod.terminating && pod.revision != latest && !pod.revision.is_empty() {
            *ready.entry(&pod.revision).or_default() += 1;
        }
    }
    let (revision, _) = ready.into_iter().max_by_key(|(_, pods)| *pods)?;
    Some(Step::PutBack { revision: revision.to_owned(), victim: victim(bad.pod), cause: bad.cause.clone() })
}
