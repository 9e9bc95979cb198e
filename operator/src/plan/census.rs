//! How every ordinal stands.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use crate::observed::fleet::Fleet;
use crate::observed::pod::HubPod;
use crate::observed::world::{Standing, World};

use super::drain_order::own_drain;
use super::step::Victim;
use super::wish::Wish;

/// A fault must last this long before a pod counts as broken: pulls and starts fail briefly.
pub const FAULT_AFTER: Duration = Duration::from_secs(60);

/// How soon to look again while pods come and go; their own events usually come first.
pub const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// One ordinal that the StatefulSet should have.
#[derive(Debug, Clone, Copy)]
pub struct Seat<'a> {
    /// Its number.
    pub ordinal: i32,
    /// The pod, if there is one.
    pub pod: Option<&'a HubPod>,
    /// How it stands.
    pub standing: Standing,
    /// Whether it is made from the latest template; false for a missing pod.
    pub latest: bool,
    /// Whether the operator moves its clients away.
    pub own_drain: bool,
    /// How long it must stay Ready until it counts; zero when it does, or when it is not Ready.
    pub min_ready_left: Duration,
}

impl Seat<'_> {
    /// Whether the seat serves no clients reliably.
    #[must_use]
    pub fn is_down(&self) -> bool {
        self.standing != Standing::Active
    }

    /// Whether the seat must be waited for: it is down, or new and not Ready for long enough.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        self.is_down() || !self.min_ready_left.is_zero()
    }

    /// Whether the seat is on its way: missing, going away, or new and not available yet.
    #[must_use]
    pub fn is_in_flight(&self) -> bool {
        self.own_drain
            || matches!(self.standing, Standing::Missing | Standing::Terminating)
            || (self.latest && self.is_unavailable())
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
    pub fn take(wish: &Wish, fleet: &Fleet, world: &'a World, now: Timestamp) -> Self {
        let seat = |ordinal| match world.pod(ordinal) {
            None => Seat {
                ordinal,
                pod: None,
                standing: Standing::Missing,
                latest: false,
                own_drain: false,
                min_ready_left: Duration::ZERO,
            },
            Some(pod) => {
                let latest = fleet.update_revision.as_deref() == Some(pod.revision.as_str());
                let young = latest && pod.ready;
                Seat {
                    ordinal,
                    pod: Some(pod),
                    standing: world.standing(pod),
                    latest,
                    own_drain: !pod.terminating && own_drain(pod, world).is_some(),
                    min_ready_left: if young {
                        wish.min_ready.saturating_sub(elapsed(now, pod.ready_changed))
                    } else {
                        Duration::ZERO
                    },
                }
            }
        };
        Self { seats: (0..fleet.replicas).map(seat).collect(), now }
    }

    /// The seats that stay when there shall be so many pods.
    #[must_use]
    pub fn staying(&self, replicas: i32) -> &[Seat<'a>] {
        let count = usize::try_from(replicas).unwrap_or_default();
        &self.seats[..count.min(self.seats.len())]
    }

    /// The seats that go when there shall be so many pods.
    #[must_use]
    pub fn leaving(&self, replicas: i32) -> &[Seat<'a>] {
        let count = usize::try_from(replicas).unwrap_or_default();
        &self.seats[count.min(self.seats.len())..]
    }
}

/// Seats that are latest and serve.
#[must_use]
pub fn updated(seats: &[Seat<'_>]) -> i32 {
    count(seats, |seat| seat.latest && !seat.is_down())
}

/// Seats that serve.
#[must_use]
pub fn serving(seats: &[Seat<'_>]) -> i32 {
    count(seats, |seat| !seat.is_down())
}

fn count(seats: &[Seat<'_>], which: impl Fn(&Seat<'_>) -> bool) -> i32 {
    i32::try_from(seats.iter().filter(|seat| which(seat)).count()).unwrap_or(i32::MAX)
}

/// Names a pod for a step.
#[must_use]
pub fn victim(pod: &HubPod) -> Victim {
    Victim { name: pod.name.clone(), uid: pod.uid.clone() }
}

/// Time from `then` to `now`; zero when `then` lies ahead, which skewed clocks can cause.
#[must_use]
pub fn elapsed(now: Timestamp, then: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(then)).unwrap_or(Duration::ZERO)
}
