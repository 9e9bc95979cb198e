//! How every ordinal stands, and which pods are broken or stuck.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use crate::observed::fleet::Fleet;
use crate::observed::pod::{FaultKind, HubPod};
use crate::observed::world::{Standing, World};

use super::step::Stuck;

/// A fault must last this long before a pod counts as broken: pulls and starts fail briefly.
pub const FAULT_AFTER: Duration = Duration::from_secs(60);

/// A pod that was not Ready for this long is broken even if the cluster names no fault. The
/// startup probe gives a hub 120 s.
pub const NEVER_READY_AFTER: Duration = Duration::from_secs(120);

/// A pod of the latest template that is not Ready after this time makes the rollout stuck.
pub const PROGRESS_DEADLINE: Duration = Duration::from_secs(20 * 60);

/// One ordinal that the StatefulSet should have.
#[derive(Debug, Clone, Copy)]
pub struct Seat<'a> {
    /// The pod, if there is one.
    pub pod: Option<&'a HubPod>,
    /// How it stands.
    pub standing: Standing,
    /// Whether it is made from the latest template; false for a missing pod.
    pub latest: bool,
}

impl Seat<'_> {
    /// Whether the seat serves no clients reliably.
    #[must_use]
    pub fn is_down(&self) -> bool {
        self.standing != Standing::Active
    }
}

/// All ordinals from 0 to replicas - 1.
#[derive(Debug)]
pub struct Census<'a> {
    /// By ordinal.
    pub seats: Vec<Seat<'a>>,
    /// When the census was taken.
    pub now: Timestamp,
}

impl<'a> Census<'a> {
    /// Counts the seats of a fleet.
    #[must_use]
    pub fn take(fleet: &Fleet, world: &'a World, now: Timestamp) -> Self {
        let seats = (0..fleet.replicas)
            .map(|ordinal| match world.pod(ordinal) {
                None => Seat { pod: None, standing: Standing::Missing, latest: false },
                Some(pod) => Seat {
                    pod: Some(pod),
                    standing: world.standing(pod),
                    latest: fleet.update_revision.as_deref() == Some(pod.revision.as_str()),
                },
            })
            .collect();
        Self { seats, now }
    }

    /// Seats that are down, whoever caused it.
    pub fn down(&self) -> impl Iterator<Item = &Seat<'a>> {
        self.seats.iter().filter(|seat| seat.is_down())
    }

    /// Pods of an older template that are not going away already.
    pub fn old(&self) -> impl DoubleEndedIterator<Item = (&'a HubPod, &Seat<'a>)> {
        self.seats.iter().filter_map(|seat| {
            let pod = seat.pod?;
            (!seat.latest && seat.standing != Standing::Terminating).then_some((pod, seat))
        })
    }

    /// Seats that are latest and serve.
    #[must_use]
    pub fn updated(&self) -> i32 {
        let count = self.seats.iter().filter(|seat| seat.latest && !seat.is_down()).count();
        i32::try_from(count).unwrap_or(i32::MAX)
    }

    /// How long the Ready condition of a pod has had its value.
    #[must_use]
    pub fn ready_for(&self, pod: &HubPod) -> Duration {
        elapsed(self.now, pod.ready_changed)
    }

    /// Whether a pod cannot run and will not by itself.
    #[must_use]
    pub fn is_broken(&self, pod: &HubPod) -> bool {
        if pod.ready || pod.terminating {
            return false;
        }
        let unready = self.ready_for(pod);
        match &pod.fault {
            Some(_) => unready >= FAULT_AFTER,
            None => unready >= NEVER_READY_AFTER && !pod.running,
        }
    }

    /// The first pod of the latest template that does not come up.
    #[must_use]
    pub fn stuck(&self) -> Option<Stuck> {
        self.seats.iter().filter(|seat| seat.latest).find_map(|seat| {
            let pod = seat.pod.filter(|pod| !pod.ready && !pod.terminating)?;
            let unready = self.ready_for(pod);
            let cause = match &pod.fault {
                Some(fault) if unready >= FAULT_AFTER => {
                    let kind = match fault.kind {
                        FaultKind::ImagePull => "cannot pull its image",
                        FaultKind::Config => "cannot be configured",
                        FaultKind::CrashLoop => "keeps crashing",
                        FaultKind::Unschedulable => "cannot be scheduled",
                    };
                    if fault.message.is_empty() {
                        kind.to_owned()
                    } else {
                        format!("{kind}: {}", fault.message)
                    }
                }
                _ if unready >= PROGRESS_DEADLINE => {
                    format!("is not Ready after {} minutes", unready.as_secs() / 60)
                }
                _ => return None,
            };
            Some(Stuck { pod: pod.name.clone(), cause })
        })
    }
}

/// Time from `then` to `now`; zero when `then` lies ahead, which skewed clocks can cause.
#[must_use]
pub fn elapsed(now: Timestamp, then: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(then)).unwrap_or(Duration::ZERO)
}
