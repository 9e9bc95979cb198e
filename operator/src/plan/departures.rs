//! Pods that are to go, one decision each: drain, delete or wait, within the budget.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::observed::fleet::Fleet;
use crate::observed::pod::HubPod;
use crate::observed::world::{Standing, World};

use super::census::{Census, LOOK_AGAIN, Seat, victim};
use super::drain_order::{Departure, departure, order};
use super::operation::{Kind, Operation, Watch};
use super::room::{Room, room};
use super::step::{Hold, Step, Victim, Wait};
use super::wish::Wish;

/// What is known when pods are sent away.
#[derive(Debug, Clone, Copy)]
pub struct Scene<'a> {
    /// What is asked for.
    pub wish: &'a Wish,
    /// The StatefulSet.
    pub fleet: &'a Fleet,
    /// What is there.
    pub world: &'a World,
    /// Its ordinals.
    pub census: &'a Census<'a>,
}

impl<'a> Scene<'a> {
    /// How far a pod is with its clients.
    #[must_use]
    pub fn departure(&self, pod: &HubPod) -> Departure {
        departure(pod, self.world, &self.wish.drain, self.census.now)
    }

    /// While Redis is down for some node nothing is drained or deleted, except pods that carry another Redis wiring than
    /// the template: replacing them is the cure for a wrong address.
    #[must_use]
    pub fn redis_allows(&self, pod: &HubPod) -> bool {
        !self.world.redis.is_down() || pod.redis_wiring != self.fleet.redis_wiring
    }

    /// Whether the record names the pod for a step that was to be taken.
    #[must_use]
    pub fn is_claimed(&self, pod: &HubPod) -> bool {
        self.world.claimed.contains(&pod.uid)
    }
}

/// What a pod may do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// A step was added that takes the pod down, or it is down and a step was added.
    Stepped,
    /// It needs no drain any more.
    Ready,
    /// It is waited for.
    Waits,
}

/// Collects the steps of one operation.
#[derive(Debug)]
pub struct Departures<'a> {
    scene: Scene<'a>,
    id: String,
    /// Pods that may still be begun with, that serve clients now.
    pub serving_budget: usize,
    /// Pods that may still be begun with, that are down anyway.
    pub down_budget: usize,
    /// Whether Redis and the capacity of the others matter.
    pub guarded: bool,
    /// Whether pods go for good, so that somebody else's drain that is over serves as well.
    pub for_good: bool,
    /// What is to be done.
    pub steps: Vec<Step>,
    watched: Vec<(Victim, Watch)>,
    notes: Vec<String>,
    hold: Option<Hold>,
    after: Duration,
    leaving: BTreeSet<String>,
}

impl<'a> Departures<'a> {
    /// Nothing yet, with the budget that the seats leave.
    #[must_use]
    pub fn new(scene: Scene<'a>, id: String, seats: &[Seat<'a>]) -> Self {
        let most = scene.wish.max_unavailable.max(1);
        let unavailable = seats.iter().filter(|seat| seat.is_unavailable()).count();
        let in_flight = seats.iter().filter(|seat| seat.is_in_flight()).count();
        let mut departures = Self {
            scene,
            id,
            serving_budget: most.saturating_sub(unavailable),
            down_budget: most.saturating_sub(in_flight),
            guarded: true,
            for_good: false,
            steps: Vec::new(),
            watched: Vec::new(),
            notes: Vec::new(),
            hold: None,
            after: LOOK_AGAIN,
            leaving: BTreeSet::new(),
        };
        for seat in seats.iter().filter(|seat| seat.is_in_flight() && !seat.own_drain) {
            departures.wait_for(seat);
        }
        departures
    }

    /// Says that a seat is waited for.
    pub fn wait_for(&mut self, seat: &Seat<'_>) {
        let Some(pod) = seat.pod else {
            self.held(
                Hold::PodDown,
                format!("waiting for the StatefulSet controller to make pod {}", seat.ordinal),
            );
            return;
        };
        let what = match seat.standing {
            Standing::Active => {
                self.after = self.after.max(LOOK_AGAIN.max(seat.min_ready_left));
                self.watched.push((victim(pod), Watch::Starting));
                let seconds = self.scene.wish.min_ready.as_secs();
                self.held(
                    Hold::MinReady,
                    format!("waiting until {} has been Ready for {seconds} s", pod.name),
                );
                return;
            }
            Standing::Terminating => "end",
            Standing::Unknown => "answer on its admin port",
            Standing::Unregistered => "register with the other nodes",
            Standing::Draining => "finish its drain",
            Standing::Missing | Standing::NotReady => "become Ready",
        };
        let watch = if seat.standing == Standing::Terminating { Watch::Ending } else { Watch::Starting };
        self.watched.push((victim(pod), watch));
        let why =
            pod.fault.as_ref().map(|fault| fault.message.as_str()).filter(|message| !message.is_empty());
        let why = why.map(|message| format!(" ({message})")).unwrap_or_default();
        self.held(Hold::PodDown, format!("waiting for {} to {what}{why}", pod.name));
    }

    /// Says why nothing more is done. The first reason stays.
    pub fn held(&mut self, hold: Hold, note: String) {
        self.hold.get_or_insert(hold);
        self.notes.push(note);
    }

    /// Waits for the end of a time during which a wish may still be corrected.
    pub fn settle(&mut self, left: Duration, note: String) {
        if self.hold.is_none() {
            self.after = left;
        }
        self.held(Hold::Settle, note);
    }

    /// Adds a step and says so.
    pub fn step(&mut self, step: Step, note: String) {
        self.leaving.extend(step.victims().into_iter().map(|victim| victim.uid.clone()));
        self.steps.push(step);
        self.notes.push(note);
    }

    /// Moves the clients of a pod away, as far as that is due. `down` tells whether the pod is down anyway.
    pub fn send_away(&mut self, pod: &HubPod, down: bool) -> Verdict {
        if !self.scene.redis_allows(pod) && self.guarded {
            self.held(
                Hold::Redis,
                "held: no pod goes while Redis is down; see the RedisReady condition".to_owned(),
            );
            return Verdict::Waits;
        }
        match self.scene.departure(pod) {
            Departure::Free | Departure::Drained | Departure::Overdue => Verdict::Ready,
            Departure::Moving { .. } => {
                self.watched.push((victim(pod), Watch::Draining));
                self.held(Hold::Draining, format!("moving the clients of {} to other nodes", pod.name));
                Verdict::Waits
            }
            Departure::Foreign { over: true, .. } if self.for_good => Verdict::Ready,
            Departure::Foreign { id, .. } => {
                self.held(
                    Hold::PodDown,
                    format!("waiting for {}, which '{id}' drains and which is left alone", pod.name),
                );
                Verdict::Waits
            }
            Departure::Silent if !self.guarded => Verdict::Ready,
            Departure::Silent => {
                self.held(Hold::PodDown, format!("waiting for {} to answer on its admin port", pod.name));
                Verdict::Waits
            }
            Departure::Due { id } => self.drain(pod, id, down),
        }
    }

    fn drain(&mut self, pod: &HubPod, under_way: Option<String>, down: bool) -> Verdict {
        let fresh = under_way.is_none();
        if fresh && self.guarded && self.budget(down) == 0 {
            // What is down says so itself.
            self.hold.get_or_insert(Hold::PodDown);
            if self.notes.is_empty() {
                self.notes.push(format!("{} is next; waiting because another pod is down", pod.name));
            }
            return Verdict::Waits;
        }
        let verdict = room(pod, &self.leaving, self.scene.world, self.scene.census);
        let paced = match verdict {
            Room::NobodyYet if fresh && self.guarded => {
                self.begin_no_more();
                self.held(Hold::PodDown, format!("{} is next, once another node serves", pod.name));
                return Verdict::Waits;
            }
            Room::Short { need, room } if fresh && self.guarded => {
                self.begin_no_more();
                self.held(
                    Hold::NoRoom,
                    format!(
                        "held: {need} connections of {} need a place and the other nodes have room for {room} up to {} % of their maxConnections; add replicas or raise hub.maxConnections",
                        pod.name,
                        super::room::FILL
                    ),
                );
                return Verdict::Waits;
            }
            Room::NobodyElse => false,
            Room::Enough | Room::NobodyYet | Room::Short { .. } => true,
        };
        let order = order(pod, self.scene.world, &self.id, under_way, &self.scene.wish.drain, paced);
        self.step(
            Step::Drain { victim: victim(pod), order },
            format!("moving the clients of {} to other nodes", pod.name),
        );
        if fresh {
            self.spend(down);
        }
        Verdict::Stepped
    }

    /// The order of pods is kept: where one must wait, none after it is begun with.
    pub fn begin_no_more(&mut self) {
        (self.serving_budget, self.down_budget) = (0, 0);
    }

    /// How many more pods may be begun with.
    #[must_use]
    pub fn budget(&self, down: bool) -> usize {
        if down { self.down_budget } else { self.serving_budget }
    }

    /// Counts one more pod that was begun with.
    pub fn spend(&mut self, down: bool) {
        self.down_budget = self.down_budget.saturating_sub(1);
        if !down {
            self.serving_budget = self.serving_budget.saturating_sub(1);
        }
    }

    /// Whether a drain is under way.
    #[must_use]
    pub fn moves_clients(&self) -> bool {
        self.watched.iter().any(|(_, watch)| *watch == Watch::Draining)
    }

    /// Whether nothing is to be done and nothing is waited for.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.steps.is_empty() && self.hold.is_none()
    }

    /// The operation, its steps, and what is waited for.
    #[must_use]
    pub fn plan(self, kind: Kind, done: i32, total: i32) -> (Operation, Vec<Step>, Option<Wait>) {
        let stepped: BTreeSet<&str> =
            self.steps.iter().flat_map(Step::victims).map(|victim| victim.uid.as_str()).collect();
        let watched =
            self.watched.into_iter().filter(|(pod, _)| !stepped.contains(pod.uid.as_str())).collect();
        let mut notes = self.notes;
        notes.dedup();
        notes.truncate(NOTES);
        let wait = self.hold.map(|hold| Wait { hold, after: self.after });
        let operation = Operation { id: self.id, kind, done, total, message: notes.join("; "), watched };
        (operation, self.steps, wait)
    }
}

/// Sentences in the message of an operation at most.
const NOTES: usize = 4;
