//! Fleets in one line, for tests.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::jiff::Timestamp;
use serde_json::json;

use crate::observed::fleet::Fleet;
use crate::observed::hub::{HubReport, HubView};
use crate::observed::pod::{Fault, FaultKind, HubPod};
use crate::observed::redis::{RedisFault, RedisHealth};
use crate::observed::world::World;

use super::decide::decide;
use super::operation::Plan;
use super::step::Step;
use super::wish::Wish;

const NOW: i64 = 1_800_000_000;

/// So many seconds before the moment of all tests.
pub(super) fn ago(seconds: i64) -> Timestamp {
    Timestamp::from_second(NOW - seconds).unwrap()
}

/// One pod by two characters and a number of connections (none: 10; each hub takes 1000). First the revision: `o` old,
/// `n` newest. Then how it stands:
/// - serves: `A` active, `a` for 2 s only
/// - not Ready: `N` for 10 s and the hub says nothing, `E` the same while the hub answers as active, `L` for 130 s and
///   not running, `B` for 130 s and starting all the time, `Z` for 25 minutes and running, `I` image not pulled for
///   90 s, `i` for 20 s, `C` crash-looping for 90 s, `P` no node for 90 s, `p` for 25 minutes
/// - Ready: `U` unregistered for 10 s, `u` for 90 s, `S` silent for 10 s, `s` for 90 s
/// - draining by the operator: `W` for 10 s, `w` for 11 minutes, `X` all gone; by somebody else: `D`, `d` all gone
/// - `T` terminating, `t` since long with its node lost, `--` missing
fn pod(ordinal: i32, code: &str) -> Option<(HubPod, Option<HubView>)> {
    let (revision, rest) = code.split_at(1);
    if revision == "-" {
        return None;
    }
    let (state, connections) = rest.split_at(1);
    let connections: i64 = if connections.is_empty() { 10 } else { connections.parse().unwrap() };
    let fault = |kind| Some(Fault { kind, message: "because".into() });
    let mut pod = HubPod {
        name: format!("chat-{ordinal}"),
        uid: format!("uid-{ordinal}"),
        ordinal,
        ip: Some(format!("10.0.0.{ordinal}")),
        revision: if revision == "n" { "new" } else { "old" }.into(),
        terminating: false,
        deletion: None,
        ready: true,
        ready_changed: ago(600),
        running: true,
        fault: None,
        redis_wiring: wiring("redis://a"),
    };
    let mut unready = |seconds, running, fault| {
        pod.ready = false;
        pod.ready_changed = ago(seconds);
        pod.running = running;
        pod.fault = fault;
    };
    let answer = |phase: &str, connections: i64| {
        report(&pod_name(ordinal), phase, connections, &serde_json::Value::Null)
    };
    let drain = |phase: &str, id: &str, seconds: i64| {
        let drain = json!({
            "id": id, "started_at": ago(seconds).to_string(), "deadline": ago(seconds - 600).to_string(),
            "remaining": if phase == "closed" { 0 } else { connections }, "rate_per_second": 200,
        });
        report(&pod_name(ordinal), phase, if phase == "closed" { 0 } else { connections }, &drain)
    };
    let own = "wsc-operator/rollout-new";
    let heard = |report, registered| {
        let absent_since = if registered { None } else { Some(ago(10)) };
        Some(HubView { answer: Ok(report), registered, absent_since })
    };
    let absent = |seconds| {
        Some(HubView { answer: Err("no answer".into()), registered: false, absent_since: Some(ago(seconds)) })
    };
    let view = match state {
        "A" => heard(answer("active", connections), true),
        "a" => {
            pod.ready_changed = ago(2);
            heard(answer("active", connections), true)
        }
        "N" => {
            unready(10, false, None);
            None
        }
        "E" => {
            unready(10, true, None);
            heard(answer("active", connections), true)
        }
        "L" => {
            unready(130, false, None);
            None
        }
        "B" => {
            unready(130, true, None);
            heard(answer("starting", 0), false)
        }
        "Z" => {
            unready(1500, true, None);
            absent(1500)
        }
        "I" | "i" | "C" | "P" | "p" => {
            let (seconds, kind) = match state {
                "I" => (90, FaultKind::ImagePull),
                "i" => (20, FaultKind::ImagePull),
                "C" => (90, FaultKind::CrashLoop),
                "P" => (90, FaultKind::Unschedulable),
                _ => (1500, FaultKind::Unschedulable),
            };
            unready(seconds, false, fault(kind));
            None
        }
        "U" => heard(answer("active", connections), false),
        "u" => Some(HubView {
            answer: Ok(answer("active", connections)),
            registered: false,
            absent_since: Some(ago(1500)),
        }),
        "S" => absent(10),
        "s" => absent(90),
        "W" => heard(drain("draining", own, 10), true),
        "w" => heard(drain("draining", own, 660), true),
        "X" => heard(drain("closed", own, 10), true),
        "D" => heard(drain("draining", "somebody", 10), true),
        "d" => heard(drain("closed", "somebody", 10), true),
        "T" => {
            pod.terminating = true;
            pod.deletion = Some(ago(-20));
            absent(5)
        }
        "t" => {
            pod.terminating = true;
            pod.deletion = Some(ago(61));
            unready(90, true, None);
            absent(120)
        }
        other => panic!("no such state: {other}"),
    };
    Some((pod, view))
}

fn pod_name(ordinal: i32) -> String {
    format!("chat-{ordinal}")
}

fn report(name: &str, phase: &str, connections: i64, drain: &serde_json::Value) -> HubReport {
    serde_json::from_value(json!({
        "phase": phase, "redis": "up", "registered": phase != "starting", "node_id": name,
        "incarnation": "life.1", "connections": connections, "max_connections": 1000, "drain": drain,
    }))
    .unwrap()
}

pub(super) fn wiring(url: &str) -> BTreeMap<String, String> {
    BTreeMap::from([("WSC_REDIS_URL".to_owned(), url.to_owned())])
}

/// A fleet by its pods in order of their ordinals.
pub(super) fn world(pods: &str) -> World {
    let mut hubs = BTreeMap::new();
    let codes: Vec<&str> = pods.split_whitespace().collect();
    let (mut list, mut listed) = (Vec::new(), BTreeSet::new());
    for (ordinal, code) in codes.iter().enumerate() {
        if let Some((pod, view)) = pod(i32::try_from(ordinal).unwrap(), code) {
            if view.as_ref().is_some_and(|view| view.answer.is_ok()) {
                listed.insert(pod.name.clone());
            }
            if let Some(view) = view {
                hubs.insert(pod.uid.clone(), view);
            }
            list.push(pod);
        }
    }
    let fleet = Fleet {
        name: "chat".into(),
        replicas: i32::try_from(codes.len()).unwrap(),
        current: true,
        update_revision: Some("new".into()),
        image: "hub:2".into(),
        template_version: None,
        redis_wiring: wiring("redis://a"),
        held_back: None,
    };
    let mut world = World::new(Some(fleet), list, hubs, None);
    world.listed = Some(listed);
    world
}

/// Redis as a node that does not reach it says.
pub(super) fn down() -> RedisHealth {
    RedisHealth::Down {
        fault: RedisFault::Unreachable,
        error: "unreachable: refused".into(),
        nodes: vec!["chat-0".into()],
        answered: 3,
    }
}

/// A wish with the defaults of the resource.
pub(super) fn wish(replicas: i32) -> Wish {
    Wish { replicas, ..Wish::default() }
}

pub(super) fn run(wish: &Wish, world: &World) -> Plan {
    decide(wish, world, ago(0))
}

/// A plan in one line: the operation, its steps or what it waits for, and whether it is stuck.
pub(super) fn line(plan: &Plan) -> String {
    let kind = plan.operation.as_ref().map_or("-", |operation| operation.kind.word());
    let steps: Vec<String> = plan.steps.iter().map(step).collect();
    let what = match (&steps[..], &plan.wait) {
        ([], None) => "rest".to_owned(),
        ([], Some(wait)) => format!("wait {:?}", wait.hold),
        (steps, _) => steps.join(", "),
    };
    let stuck = if plan.stuck.is_some() { " stuck" } else { "" };
    format!("{kind} {what}{stuck}")
}

fn step(step: &Step) -> String {
    match step {
        Step::Drain { victim, order } if order.rate > 1000 => format!("empty {}", victim.name),
        Step::Drain { victim, .. } => format!("drain {}", victim.name),
        Step::CancelDrain { victim } => format!("cancel {}", victim.name),
        Step::Delete { victim } => format!("delete {}", victim.name),
        Step::ForceDelete { victim } => format!("force {}", victim.name),
        Step::SetReplicas { from, to, .. } => format!("{from}->{to}"),
        Step::PutBack { revision, victim, .. } => format!("put back {revision} for {}", victim.name),
        Step::Rebalance { excess, .. } => {
            let excess: Vec<String> =
                excess.iter().map(|(victim, count)| format!(" {}:{count}", victim.name)).collect();
            format!("rebalance{}", excess.concat())
        }
    }
}

/// Runs rows of (wish, fleet, plan) and shows all that are wrong.
pub(super) fn check(rows: &[(i32, &str, &str)], prepare: impl Fn(&mut Wish, &mut World)) {
    let mut wrong = Vec::new();
    for (replicas, pods, expected) in rows {
        let (mut wish, mut world) = (wish(*replicas), world(pods));
        prepare(&mut wish, &mut world);
        let found = line(&run(&wish, &world));
        if found != *expected {
            wrong.push(format!("{replicas} of [{pods}]: {found}, not {expected}"));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}
