//! A small world for property tests: a StatefulSet controller, kubelets, hubs, clients that come back, Redis and an
//! operator that carries out plans, second by second.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::jiff::Timestamp;
use serde_json::json;

use crate::observed::fleet::{Fleet, HeldBack};
use crate::observed::hub::HubView;
use crate::observed::pod::{Fault, FaultKind, HubPod};
use crate::observed::world::{Ongoing, World};

use super::decide::decide;
use super::fixture::down;
use super::operation::Plan;
use super::property_tests::Event;
use super::step::{Step, Victim};
use super::wish::Wish;

#[derive(Debug, Clone)]
struct Drain {
    id: String,
    started: i64,
    deadline_ms: i64,
    rate: i64,
}

#[derive(Debug, Clone)]
struct Pod {
    ordinal: i32,
    uid: String,
    template: usize,
    started: i64,
    life: u32,
    registered: bool,
    ready: bool,
    changed: i64,
    absent: Option<i64>,
    glitch_until: i64,
    ends: Option<i64>,
    lost: Option<i64>,
    connections: i64,
    drain: Option<Drain>,
}

impl Pod {
    fn closed(&self, now: i64) -> bool {
        self.connections == 0 && self.drain.as_ref().is_some_and(|drain| now >= drain.started + SETTLE)
    }

    fn takes_clients(&self) -> bool {
        self.ready && self.registered && self.drain.is_none() && self.ends.is_none()
    }
}

/// Seconds in which a draining hub still takes clients.
const SETTLE: i64 = 5;
/// Seconds from the start of a pod to its hub, and from there to its registration.
const START: i64 = 3;
/// Seconds until the StatefulSet controller has seen a change.
const LAG: i64 = 2;
/// Seconds of a lease.
const LEASE: i64 = 30;
/// Begins the time, so that ages can be subtracted.
pub(super) const DAWN: i64 = 1_000_000;

/// The world.
#[derive(Debug)]
pub(super) struct Simulation {
    pub(super) now: i64,
    pub(super) wish: Wish,
    pub(super) capacity: i64,
    pub(super) plan: Plan,
    bad: BTreeSet<usize>,
    spec: usize,
    pub(super) template: usize,
    held_back: Option<(usize, usize)>,
    replicas: i32,
    changed: i64,
    pods: Vec<Pod>,
    homeless: i64,
    redis_until: i64,
    away_until: i64,
    dies_until: i64,
    uids: u32,
    ongoing: Option<Ongoing>,
    claimed: BTreeSet<String>,
    last_wish: Option<i32>,
    rebalanced: Option<String>,
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

impl Simulation {
    pub(super) fn new(wish: Wish, clients: i64, capacity: i64) -> Self {
        Self {
            now: DAWN,
            replicas: wish.replicas,
            last_wish: Some(wish.replicas),
            wish,
            capacity,
            plan: Plan::rest(),
            bad: BTreeSet::new(),
            spec: 0,
            template: 0,
            held_back: None,
            changed: 0,
            pods: Vec::new(),
            homeless: clients,
            redis_until: 0,
            away_until: 0,
            dies_until: 0,
            uids: 0,
            ongoing: None,
            claimed: BTreeSet::new(),
            rebalanced: None,
        }
    }

    fn pod(&mut self, ordinal: i32) -> Option<&mut Pod> {
        self.pods.iter_mut().find(|pod| pod.ordinal == ordinal && pod.ends.is_none())
    }

    pub(super) fn happens(&mut self, event: Event) {
        let now = self.now;
        match event {
            Event::Scale(replicas) => self.wish.replicas = replicas,
            Event::Template { bad } => {
                self.spec = self.spec.max(self.template) + 1;
                if bad {
                    self.bad.insert(self.spec);
                }
                (self.template, self.held_back, self.changed) = (self.spec, None, now);
            }
            Event::RestartContainer(ordinal) => self.restart(ordinal),
            Event::DeletePod(ordinal) => self.end(ordinal),
            Event::Glitch(ordinal, seconds) => {
                if let Some(pod) = self.pod(ordinal) {
                    pod.glitch_until = now + seconds;
                }
            }
            Event::LoseNode(ordinal) => {
                if let Some(pod) = self.pod(ordinal) {
                    (pod.lost, pod.ends) = (Some(now), Some(now + 30));
                    let gone = std::mem::take(&mut pod.connections);
                    self.homeless += gone;
                }
            }
            Event::ForeignDrain(ordinal) => {
                if let Some(pod) = self.pod(ordinal)
                    && pod.drain.is_none()
                {
                    pod.drain =
                        Some(Drain { id: "somebody".into(), started: now, deadline_ms: 60_000, rate: 10 });
                }
            }
            Event::RedisAway(seconds) => self.redis_until = now + seconds,
            Event::OperatorAway(seconds) => self.away_until = now + seconds,
            Event::OperatorDiesActing(seconds) => self.dies_until = now + seconds,
            Event::Rebalance(run) => self.wish.rebalance = Some(format!("run-{run}")),
        }
    }

    /// Everybody else behaves from now on: what was drained by others is deleted by them, the spec is good.
    pub(super) fn calm(&mut self) {
        if self.bad.contains(&self.spec) {
            self.happens(Event::Template { bad: false });
        }
        let foreign: Vec<i32> = self
            .pods
            .iter()
            .filter(|pod| pod.drain.as_ref().is_some_and(|drain| drain.id == "somebody"))
            .map(|pod| pod.ordinal)
            .collect();
        foreign.into_iter().for_each(|ordinal| self.end(ordinal));
        // With nobody left who could tell, somebody removes the lost Kubernetes nodes.
        if self.wish.replicas == 0 || !self.pods.iter().any(|pod| pod.registered) {
            self.pods.retain(|pod| pod.lost.is_none());
        }
        (self.redis_until, self.away_until, self.dies_until) = (0, 0, 0);
    }

    fn restart(&mut self, ordinal: i32) {
        let now = self.now;
        if let Some(pod) = self.pod(ordinal) {
            pod.life += 1;
            (pod.drain, pod.registered, pod.started) = (None, false, now);
            let gone = std::mem::take(&mut pod.connections);
            self.homeless += gone;
        }
    }

    fn end(&mut self, ordinal: i32) {
        let now = self.now;
        if let Some(pod) = self.pod(ordinal) {
            pod.ends = Some(now + 2);
            let gone = std::mem::take(&mut pod.connections);
            self.homeless += gone;
        }
    }

    fn redis_up(&self) -> bool {
        self.now >= self.redis_until
    }

    /// One second passes.
    pub(super) fn tick(&mut self) {
        self.now += 1;
        self.controller();
        self.kubelets_and_hubs();
        self.clients();
        self.operator();
    }

    fn controller(&mut self) {
        let now = self.now;
        self.pods.retain(|pod| pod.lost.is_some() || pod.ends.is_none_or(|ends| ends > now));
        if now < self.changed + LAG {
            return;
        }
        for ordinal in self.replicas..1000 {
            if self.pods.iter().all(|pod| pod.ordinal < ordinal) {
                break;
            }
            self.end(ordinal);
        }
        for ordinal in 0..self.replicas {
            if self.pods.iter().any(|pod| pod.ordinal == ordinal) {
                continue;
            }
            self.uids += 1;
            self.pods.push(Pod {
                ordinal,
                uid: format!("uid-{}", self.uids),
                template: self.template,
                started: now,
                life: 1,
                registered: false,
                ready: false,
                changed: now,
                absent: Some(now),
                glitch_until: 0,
                ends: None,
                lost: None,
                connections: 0,
                drain: None,
            });
        }
    }

    fn kubelets_and_hubs(&mut self) {
        let (now, redis_up) = (self.now, self.redis_up());
        for pod in &mut self.pods {
            if pod.lost.is_some() {
                (pod.ready, pod.registered) = (false, false);
                continue;
            }
            let runs = !self.bad.contains(&pod.template) && now >= pod.started + START;
            pod.registered |= runs && redis_up;
            pod.registered &= runs;
            let ready = runs && pod.registered && pod.drain.is_none() && now >= pod.glitch_until;
            if ready != pod.ready {
                (pod.ready, pod.changed) = (ready, now);
            }
            pod.absent = if pod.registered { None } else { pod.absent.or(Some(now)) };
            if let Some(drain) = &pod.drain {
                let over = (now - drain.started) * 1000 >= drain.deadline_ms;
                let due = match now - drain.started {
                    _ if over => pod.connections,
                    since if since >= SETTLE => drain.rate.min(pod.connections),
                    _ => 0,
                };
                pod.connections -= due;
                self.homeless += due;
            }
        }
    }

    fn clients(&mut self) {
        let most = self.capacity;
        let mut open: Vec<&mut Pod> =
            self.pods.iter_mut().filter(|pod| pod.takes_clients() && pod.connections < most).collect();
        open.sort_by_key(|pod| pod.connections);
        let nodes = i64::try_from(open.len()).unwrap();
        for pod in open {
            let share = (self.homeless + nodes - 1) / nodes;
            let came = share.min(most - pod.connections).min(self.homeless);
            pod.connections += came;
            self.homeless -= came;
        }
    }

    /// What the operator sees.
    pub(super) fn world(&self) -> World {
        let revision = |template: usize| format!("r{template}");
        let held_back = self.held_back.map(|(refused, good)| HeldBack {
            refused: revision(refused),
            revision: revision(good),
            pod: "x".into(),
            cause: "because".into(),
        });
        let fleet = Fleet {
            name: "chat".into(),
            replicas: self.replicas,
            current: self.now >= self.changed + LAG,
            update_revision: Some(revision(self.template)),
            held_back,
            ..Fleet::default()
        };
        let mut hubs = BTreeMap::new();
        let mut listed = BTreeSet::new();
        let mut pods = Vec::new();
        for pod in &self.pods {
            let name = format!("chat-{}", pod.ordinal);
            let bad = self.bad.contains(&pod.template);
            let running = pod.lost.is_some() || (!bad && self.now >= pod.started + START);
            if pod.registered || pod.lost.is_some_and(|lost| self.now < lost + LEASE) {
                listed.insert(name.clone());
            }
            if running {
                hubs.insert(pod.uid.clone(), self.view(pod, &name));
            }
            pods.push(HubPod {
                name,
                uid: pod.uid.clone(),
                ordinal: pod.ordinal,
                ip: Some("10.0.0.1".into()),
                revision: revision(pod.template),
                terminating: pod.ends.is_some(),
                deletion: pod.ends.map(at),
                ready: pod.ready,
                ready_changed: at(pod.changed),
                running,
                fault: bad.then(|| Fault { kind: FaultKind::ImagePull, message: String::new() }),
                redis_wiring: BTreeMap::new(),
            });
        }
        let witnesses = hubs.values().any(|view| view.registered);
        let mut world = World::new(Some(fleet), pods, hubs, self.ongoing.clone());
        if !self.redis_up() {
            world.redis = down();
        }
        world.claimed = self.claimed.clone();
        world.last_wish = self.last_wish;
        world.rebalanced = self.rebalanced.clone();
        world.listed = (witnesses && self.redis_up()).then_some(listed);
        world
    }

    fn view(&self, pod: &Pod, name: &str) -> HubView {
        if pod.lost.is_some() {
            return HubView {
                answer: Err("silent".into()),
                registered: false,
                absent_since: pod.lost.map(at),
            };
        }
        let phase = match (&pod.drain, pod.registered) {
            (Some(_), _) if pod.closed(self.now) => "closed",
            (Some(_), _) => "draining",
            (None, true) => "active",
            (None, false) => "starting",
        };
        let drain = pod.drain.as_ref().map(|drain| {
            json!({
                "id": drain.id, "started_at": at(drain.started).to_string(), "remaining": pod.connections,
                "deadline": Timestamp::from_millisecond(drain.started * 1000 + drain.deadline_ms).unwrap().to_string(),
                "rate_per_second": if self.now < drain.started + SETTLE { 0 } else { drain.rate },
            })
        });
        let report = json!({
            "phase": phase, "redis": "up", "registered": pod.registered, "node_id": name,
            "incarnation": format!("life.{}", pod.life), "connections": pod.connections,
            "max_connections": self.capacity, "drain": drain,
        });
        HubView {
            answer: Ok(serde_json::from_value(report).unwrap()),
            registered: pod.registered,
            absent_since: pod.absent.map(at),
        }
    }

    fn operator(&mut self) {
        if self.now < self.away_until {
            return;
        }
        let world = self.world();
        let plan = decide(&self.wish, &world, at(self.now));
        super::property_tests::audit(&self.wish, &world, &plan);
        // The record is written before anything is done.
        let lagging = plan.operation.is_none() && plan.wait.is_some();
        if !lagging {
            self.ongoing = plan.operation.as_ref().map(|operation| Ongoing {
                id: operation.id.clone(),
                started_at: match &self.ongoing {
                    Some(before) if before.id == operation.id => before.started_at,
                    _ => at(self.now),
                },
                total: operation.total,
            });
            self.claimed = plan
                .steps
                .iter()
                .filter(|step| matches!(step, Step::Drain { .. } | Step::Delete { .. }))
                .flat_map(Step::victims)
                .map(|victim| victim.uid.clone())
                .collect();
        }
        self.last_wish = Some(self.wish.replicas);
        if self.now >= self.dies_until {
            for step in &plan.steps {
                self.take(step);
            }
        }
        self.plan = plan;
    }

    fn take(&mut self, step: &Step) {
        let now = self.now;
        match step {
            Step::Drain { victim, order } => {
                let Some(pod) = self.meant(victim) else { return };
                if order.incarnation != format!("life.{}", pod.life) {
                    return;
                }
                let started = pod
                    .drain
                    .as_ref()
                    .filter(|drain| drain.id == order.id)
                    .map_or(now, |drain| drain.started);
                pod.drain = Some(Drain {
                    id: order.id.clone(),
                    started,
                    deadline_ms: i64::try_from(order.deadline.as_millis()).unwrap(),
                    rate: i64::from(order.rate),
                });
            }
            Step::CancelDrain { victim } => {
                if let Some(pod) = self.meant(victim)
                    && !pod.closed(now)
                {
                    pod.drain = None;
                }
            }
            Step::Delete { victim } => {
                if let Some(ordinal) = self.meant(victim).map(|pod| pod.ordinal) {
                    self.end(ordinal);
                }
            }
            Step::ForceDelete { victim } => self.pods.retain(|pod| pod.uid != victim.uid),
            Step::SetReplicas { to, .. } => (self.replicas, self.changed) = (*to, now),
            Step::PutBack { revision, .. } => {
                let good = revision.trim_start_matches('r').parse().unwrap();
                self.held_back = Some((self.spec, good));
                (self.template, self.changed) = (good, now);
            }
            Step::Rebalance { run, excess, .. } => {
                for (victim, close) in excess {
                    let Some(pod) = self.meant(victim) else { continue };
                    let moved = i64::from(*close).min(pod.connections);
                    pod.connections -= moved;
                    self.homeless += moved;
                }
                self.rebalanced = Some(run.clone());
            }
        }
    }

    fn meant(&mut self, victim: &Victim) -> Option<&mut Pod> {
        self.pods.iter_mut().find(|pod| pod.uid == victim.uid && pod.ends.is_none())
    }

    /// Why the wish is not fulfilled; `None` when it is.
    pub(super) fn unfulfilled(&self) -> Option<String> {
        if self.plan.acts() || self.plan.operation.is_some() || self.plan.wait.is_some() {
            return Some(format!("the plan goes on: {:?}", self.plan));
        }
        let wanted = usize::try_from(self.wish.replicas).unwrap();
        let good = |pod: &Pod| pod.takes_clients() && pod.template == self.spec;
        let fulfilled =
            self.replicas == self.wish.replicas && self.pods.len() == wanted && self.pods.iter().all(good);
        (!fulfilled).then(|| format!("{} of {wanted} replicas: {:?}", self.replicas, self.pods))
    }
}
