//! Decisions as a table: a fleet in one line, the step that must follow.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use crate::observed::fleet::Fleet;
use crate::observed::hub::HubView;
use crate::observed::pod::{Fault, FaultKind, HubPod};
use crate::observed::redis::{RedisFault, RedisHealth};
use crate::observed::world::{Ongoing, Standing, World};

use super::decide::decide;
use super::step::{Hold, Kind, Plan, Step};
use super::wish::Wish;

const NOW: i64 = 1_800_000_000;

fn ago(seconds: i64) -> Timestamp {
    Timestamp::from_second(NOW - seconds).unwrap()
}

/// One pod by two characters. First the revision: `o` old, `n` newest. Then how it stands:
/// `A` active, `a` active for 2 s only, `N` not Ready for 10 s, `L` not Ready for 130 s and not
/// running, `I` image not pulled for 90 s, `i` for 20 s, `C` crash-looping for 90 s, `T`
/// terminating, `U` unregistered for 10 s, `u` for 90 s, `S` silent for 10 s, `s` for 90 s, `D`
/// draining. `--` is a missing pod.
fn pod(ordinal: i32, code: &str) -> Option<(HubPod, Option<HubView>)> {
    let (revision, state) = code.split_at(1);
    if revision == "-" {
        return None;
    }
    let fault = |kind| Some(Fault { kind, message: "because".into() });
    let mut pod = HubPod {
        name: format!("chat-{ordinal}"),
        uid: format!("uid-{ordinal}"),
        ordinal,
        ip: Some(format!("10.0.0.{ordinal}")),
        revision: if revision == "n" { "new" } else { "old" }.into(),
        terminating: false,
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
    let mut view = Some(HubView { answer: Ok(report("active")), registered: true, absent_since: None });
    let absent =
        |answer, seconds| Some(HubView { answer, registered: false, absent_since: Some(ago(seconds)) });
    match state {
        "A" => {}
        "a" => pod.ready_changed = ago(2),
        "N" => unready(10, true, None),
        "L" => unready(130, false, None),
        "I" => unready(90, false, fault(FaultKind::ImagePull)),
        "i" => unready(20, false, fault(FaultKind::ImagePull)),
        "C" => unready(90, false, fault(FaultKind::CrashLoop)),
        "T" => pod.terminating = true,
        "U" => view = absent(Ok(report("active")), 10),
        "u" => view = absent(Ok(report("active")), 90),
        "S" => view = absent(Err("no answer".into()), 10),
        "s" => view = absent(Err("no answer".into()), 90),
        "D" => view = absent(Ok(report("draining")), 90),
        other => panic!("no such state: {other}"),
    }
    if matches!(state, "N" | "L" | "I" | "i" | "C") {
        view = None;
    }
    Some((pod, view))
}

fn report(phase: &str) -> crate::observed::hub::HubReport {
    serde_json::from_value(serde_json::json!({
        "phase": phase, "redis": "up", "registered": phase == "active"
    }))
    .unwrap()
}

fn wiring(url: &str) -> BTreeMap<String, String> {
    BTreeMap::from([("WSC_REDIS_URL".to_owned(), url.to_owned())])
}

fn world(pods: &str) -> World {
    let mut hubs = BTreeMap::new();
    let codes: Vec<&str> = pods.split_whitespace().collect();
    let mut list = Vec::new();
    for (ordinal, code) in codes.iter().enumerate() {
        if let Some((pod, view)) = pod(i32::try_from(ordinal).unwrap(), code) {
            if let Some(view) = view {
                hubs.insert(pod.uid.clone(), view);
            }
            list.push(pod);
        }
    }
    let fleet = Fleet {
        replicas: i32::try_from(codes.len()).unwrap(),
        current: true,
        update_revision: Some("new".into()),
        image: "hub:2".into(),
        template_version: None,
        redis_wiring: wiring("redis://a"),
    };
    World::new(Some(fleet), list, hubs, None)
}

fn wish(replicas: i32) -> Wish {
    Wish { replicas, paused: false, min_ready: Duration::from_secs(5) }
}

fn run(wish: &Wish, world: &World) -> Plan {
    decide(wish, world, ago(0))
}

/// A plan in one line.
fn line(plan: &Plan) -> String {
    let kind = plan.operation.as_ref().map_or("-", |operation| operation.kind.word());
    let step = match &plan.step {
        Step::Rest => "rest".to_owned(),
        Step::Wait { hold, .. } => format!("wait {hold:?}"),
        Step::SetReplicas { from, to } => format!("{from}->{to}"),
        Step::DeletePod(victim) => format!("delete {}", victim.name),
    };
    let stuck = if plan.stuck.is_some() { " stuck" } else { "" };
    format!("{kind} {step}{stuck}")
}

const ROWS: &[(i32, &str, &str)] = &[
    // Nothing to do.
    (3, "nA nA nA", "- rest"),
    (3, "nA nN nA", "- rest"),
    (3, "nA nU nA", "- rest"),
    // Rollout: highest ordinal first, one at a time.
    (3, "oA oA oA", "Rollout delete chat-2"),
    (3, "oA oA nA", "Rollout delete chat-1"),
    (3, "oA nA nA", "Rollout delete chat-0"),
    (3, "nA oA nA", "Rollout delete chat-1"),
    (1, "oA", "Rollout delete chat-0"),
    // It waits for whatever is down, whoever caused it.
    (3, "oA oA oT", "Rollout wait PodDown"),
    (3, "oA oA --", "Rollout wait PodDown"),
    (3, "oA oA nN", "Rollout wait PodDown"),
    (3, "oA oA nU", "Rollout wait PodDown"),
    (3, "oA oA nS", "Rollout wait PodDown"),
    (3, "oA oA na", "Rollout wait MinReady"),
    (3, "-- oA oA", "Rollout wait PodDown"),
    (3, "nN oA nA", "Rollout wait PodDown"),
    // Old pods that serve nobody are the first victims.
    (3, "oN oA oA", "Rollout delete chat-0"),
    (3, "oN oN oA", "Rollout delete chat-1"),
    (3, "oN oN oN", "Rollout delete chat-2"),
    (3, "oN oN nN", "Rollout wait PodDown"),
    (3, "oN oA nA", "Rollout delete chat-0"),
    // Ready but silent or unregistered: only once it has lasted, for it may hold clients.
    (3, "oU oA oA", "Rollout wait PodDown"),
    (3, "ou oA oA", "Rollout delete chat-0"),
    (3, "oS oA oA", "Rollout wait PodDown"),
    (3, "os oA oA", "Rollout delete chat-0"),
    (3, "oD oA oA", "Rollout wait PodDown"),
    // Broken pods are replaced before everything else.
    (3, "oA oI oA", "Repair delete chat-1"),
    (5, "oA oC oA", "Repair delete chat-1"),
    (5, "oA oL oA", "Repair delete chat-1"),
    (2, "oI oA oA", "Repair delete chat-0"),
    (5, "oA oi oA", "ScaleUp 3->5"),
    // A rollout that does not come up stops; what is left keeps serving.
    (3, "oA oA nI", "Rollout wait PodDown stuck"),
    (3, "oA oA nC", "Rollout wait PodDown stuck"),
    (3, "oA oA ni", "Rollout wait PodDown"),
    (3, "oA oI nI", "Rollout wait PodDown stuck"),
    (3, "oN oA nI", "Rollout wait PodDown stuck"),
    (3, "nI nI nI", "- rest stuck"),
    // Scaling.
    (4, "nA nA nA", "ScaleUp 3->4"),
    (4, "oA oA oA", "ScaleUp 3->4"),
    (2, "nA nA nA", "ScaleDown wait Settle"),
    (2, "oA oA oA", "Rollout delete chat-2"),
    (2, "oA oA nI", "ScaleDown wait Settle stuck"),
    // To zero there is nothing to wait for.
    (0, "oA oN nA", "Stop 3->0"),
    (0, "nI nI nI", "Stop 3->0"),
];

#[test]
fn decisions() {
    let mut wrong = Vec::new();
    for (replicas, pods, expected) in ROWS {
        let found = line(&run(&wish(*replicas), &world(pods)));
        if found != *expected {
            wrong.push(format!("{replicas} of [{pods}]: {found}, not {expected}"));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn paused_and_not_yet_made_do_nothing() {
    let paused = Wish { paused: true, ..wish(0) };
    assert_eq!(run(&paused, &world("oA oA oA")), Plan::rest());
    let nothing = World::new(None, Vec::new(), BTreeMap::new(), None);
    assert_eq!(run(&wish(3), &nothing), Plan::rest());
}

#[test]
fn a_lagging_controller_is_waited_for_and_the_record_is_kept() {
    let mut lagging = world("oA oA oA");
    lagging.fleet.as_mut().unwrap().current = false;
    assert_eq!(line(&run(&wish(3), &lagging)), "- wait Controller");
    let mut unnamed = world("oA oA oA");
    unnamed.fleet.as_mut().unwrap().update_revision = None;
    assert_eq!(line(&run(&wish(3), &unnamed)), "- wait Controller");
    // More pods need no revision.
    assert_eq!(line(&run(&wish(4), &lagging)), "ScaleUp 3->4");
}

#[test]
fn scale_down_waits_a_minute_from_its_record_on() {
    let mut world = world("nA nA nA");
    let going = |id: &str, seconds| Some(Ongoing { id: id.into(), started_at: ago(seconds) });
    world.ongoing = going("scale-down-2", 59);
    assert_eq!(line(&run(&wish(2), &world)), "ScaleDown wait Settle");
    world.ongoing = going("scale-down-2", 60);
    assert_eq!(line(&run(&wish(2), &world)), "ScaleDown 3->2");
    world.ongoing = going("scale-down-1", 600);
    assert_eq!(line(&run(&wish(2), &world)), "ScaleDown wait Settle", "another wish, another minute");
    world.ongoing = going("scale-down-2", 60);
    world.redis = down();
    assert_eq!(line(&run(&wish(2), &world)), "ScaleDown wait Redis");
    world.redis = RedisHealth::Unknown;
    world.ongoing = None;
    world.last_wish = Some(3);
    assert_eq!(line(&run(&wish(2), &world)), "ScaleDown wait Settle");
    world.last_wish = Some(2);
    assert_eq!(line(&run(&wish(2), &world)), "ScaleDown 3->2", "an edited StatefulSet is set back at once");
}

#[test]
fn an_operation_stays_on_record_until_its_pods_serve_or_are_gone() {
    let mut growing = world("nA nA nN");
    let going = |id: &str| Some(Ongoing { id: id.into(), started_at: ago(5) });
    growing.ongoing = going("scale-up-3");
    let plan = run(&wish(3), &growing);
    assert_eq!(line(&plan), "ScaleUp wait PodDown");
    assert_eq!(plan.operation.unwrap().done, 2);

    let mut rolling = world("nA nA nN");
    rolling.ongoing = going("rollout-new");
    assert_eq!(line(&run(&wish(3), &rolling)), "Rollout wait PodDown");
    let mut last = world("na nA nA");
    last.ongoing = going("rollout-new");
    assert_eq!(line(&run(&wish(3), &last)), "Rollout wait MinReady");
    let mut over = world("nA nA nA");
    over.ongoing = going("rollout-new");
    assert_eq!(line(&run(&wish(3), &over)), "- rest");

    let mut shrinking = world("nA nA nT");
    shrinking.fleet.as_mut().unwrap().replicas = 2;
    shrinking.ongoing = going("scale-down-2");
    assert_eq!(line(&run(&wish(2), &shrinking)), "ScaleDown wait PodDown");
}

fn down() -> RedisHealth {
    RedisHealth::Down {
        fault: RedisFault::Unreachable,
        error: "unreachable: refused".into(),
        nodes: vec!["chat-0".into()],
        answered: 3,
    }
}

#[test]
fn while_redis_is_down_only_the_cure_for_a_wrong_address_deletes() {
    for pods in ["oA oA oA", "oN oA oA", "oI oA oA", "ou oA oA"] {
        let mut world = world(pods);
        world.redis = down();
        let plan = run(&wish(3), &world);
        assert!(matches!(plan.step, Step::Wait { hold: Hold::Redis, .. }), "[{pods}]: {}", line(&plan));
        world.fleet.as_mut().unwrap().redis_wiring = wiring("redis://b");
        let plan = run(&wish(3), &world);
        assert!(matches!(plan.step, Step::DeletePod(_)), "[{pods}] cured: {}", line(&plan));
    }
    // Stopping needs no Redis.
    let mut world = world("oA oA oA");
    world.redis = down();
    assert_eq!(line(&run(&wish(0), &world)), "Stop 3->0");
}

#[test]
fn unregistered_nodes_of_a_wrong_address_are_replaced_without_delay() {
    let mut world = world("oU oU oU");
    world.redis = down();
    world.fleet.as_mut().unwrap().redis_wiring = wiring("redis://b");
    assert_eq!(line(&run(&wish(3), &world)), "Rollout delete chat-2");
}

#[test]
fn a_bad_image_is_left_by_a_corrected_spec_with_no_hand_work() {
    // chat-2 runs a template that cannot be pulled; the corrected template is newer still.
    let mut world = world("oA oA oI");
    assert_eq!(line(&run(&wish(3), &world)), "Repair delete chat-2");
    for pod in &mut world.pods {
        pod.ready_changed = ago(600);
    }
    // The same a moment after the fault began: not broken yet, but not Ready and old.
    let young = self::world("oA oA oi");
    assert_eq!(line(&run(&wish(3), &young)), "Rollout delete chat-2");
}

#[test]
fn the_same_wish_gives_the_same_id_and_another_revision_another() {
    let id = |world: &World| run(&wish(3), world).operation.unwrap().id;
    let first = world("oA oA oA");
    assert_eq!(id(&first), id(&world("oA oA nN")));
    let mut other = world("oA oA oA");
    other.fleet.as_mut().unwrap().update_revision = Some("newer".into());
    assert_ne!(id(&first), id(&other));
}

/// Every fleet of three pods in every mixture of states, against the promises that hold always.
#[test]
fn promises_hold_for_every_mixture() {
    let states = ["A", "a", "N", "L", "I", "C", "T", "U", "u", "S", "s", "D"];
    let mut codes: Vec<String> = vec!["--".into()];
    for revision in ["o", "n"] {
        codes.extend(states.iter().map(|state| format!("{revision}{state}")));
    }
    let mut seen = 0;
    for first in &codes {
        for second in &codes {
            for third in &codes {
                let text = format!("{first} {second} {third}");
                for redis_down in [false, true] {
                    let mut world = world(&text);
                    if redis_down {
                        world.redis = down();
                    }
                    for replicas in [2, 3, 4] {
                        promises(&world, replicas, redis_down, &text);
                        seen += 1;
                    }
                }
            }
        }
    }
    assert_eq!(seen, 25 * 25 * 25 * 6);
}

fn promises(world: &World, replicas: i32, redis_down: bool, text: &str) {
    let plan = run(&wish(replicas), world);
    let context = format!("{replicas} of [{text}], Redis down {redis_down}: {}", line(&plan));
    if let Step::SetReplicas { from, to } = plan.step {
        assert_eq!((from, to), (3, replicas), "{context}");
        assert!(to > from, "pods go only after the hold: {context}");
    }
    let Step::DeletePod(victim) = &plan.step else {
        return;
    };
    assert!(!redis_down, "nothing is deleted while Redis is down: {context}");
    let kind = plan.operation.as_ref().unwrap().kind;
    assert!(matches!(kind, Kind::Rollout | Kind::Repair), "{context}");
    assert!(plan.stuck.is_none(), "a stuck rollout deletes nothing: {context}");
    let pod = world.pods.iter().find(|pod| pod.uid == victim.uid).unwrap();
    assert_eq!(pod.revision, "old", "the latest template is never deleted: {context}");
    assert!(!pod.terminating, "{context}");
    let serves = world.standing(pod) == Standing::Active;
    for ordinal in 0..3 {
        let other = world.pod(ordinal);
        if other.is_some_and(|other| other.uid == pod.uid) {
            continue;
        }
        let standing = other.map_or(Standing::Missing, |other| world.standing(other));
        if serves {
            assert_eq!(standing, Standing::Active, "a second pod would be down: {context}");
        }
        assert!(
            !matches!(standing, Standing::Missing | Standing::Terminating),
            "two pods would be away: {context}"
        );
        if other.is_some_and(|other| other.revision == "new") {
            assert_eq!(standing, Standing::Active, "a replacement is not up yet: {context}");
        }
    }
}
