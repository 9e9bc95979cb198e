//! Decisions as a table: a fleet in one line, the steps that must follow.

use std::collections::BTreeMap;

use crate::observed::redis::RedisHealth;
use crate::observed::world::{Ongoing, Standing, World};

use super::fixture::{ago, check, down, line, run, wiring, wish, world};
use super::operation::{Kind, Plan};
use super::step::{Hold, Step};
use super::wish::Wish;

const ROWS: &[(i32, &str, &str)] = &[
    // Nothing to do.
    (3, "nA nA nA", "- rest"),
    (3, "nA nN nA", "- rest"),
    (3, "nA nU nA", "- rest"),
    // Rollout: highest ordinal first, one at a time, its clients before it.
    (3, "oA oA oA", "Rollout drain chat-2"),
    (3, "oA oA nA", "Rollout drain chat-1"),
    (3, "oA nA nA", "Rollout drain chat-0"),
    (3, "nA oA nA", "Rollout drain chat-1"),
    // It waits for whatever is down, whoever caused it.
    (3, "oA oA oT", "Rollout wait PodDown"),
    (3, "oA oA --", "Rollout wait PodDown"),
    (3, "oA oA nN", "Rollout wait PodDown"),
    (3, "oA oA nU", "Rollout wait PodDown"),
    (3, "oA oA nS", "Rollout wait PodDown"),
    (3, "oA oA na", "Rollout wait MinReady"),
    (3, "-- oA oA", "Rollout wait PodDown"),
    (3, "nN oA nA", "Rollout wait PodDown"),
    // Old pods that serve nobody are the first victims and need no drain.
    (3, "oN oA oA", "Rollout delete chat-0"),
    (3, "oN oN oA", "Rollout delete chat-1"),
    (3, "oN oN oN", "Rollout delete chat-2"),
    (3, "oN oN nN", "Rollout wait PodDown"),
    (3, "oN oA nA", "Rollout delete chat-0"),
    (3, "oE0 oA oA", "Rollout delete chat-0"),
    // With clients they are drained like any other.
    (3, "oE oA oA", "Rollout drain chat-0"),
    (3, "oU oA oA", "Rollout drain chat-0"),
    (3, "oU0 oA oA", "Rollout delete chat-0"),
    // Silent: only once it has lasted, for it may hold clients.
    (3, "oS oA oA", "Rollout wait PodDown"),
    (3, "os oA oA", "Rollout delete chat-0"),
    // Broken pods are replaced before everything else.
    (3, "oA oI oA", "Repair delete chat-1"),
    (5, "oA oC oA", "Repair delete chat-1"),
    (5, "oA oL oA", "Repair delete chat-1"),
    (5, "oA oB oA", "Repair delete chat-1"),
    (5, "oA oP oA", "Repair delete chat-1"),
    (2, "oI oA oA", "Repair delete chat-0"),
    (5, "oA oi oA", "ScaleUp 3->5"),
    // A bad template is taken back; what is left keeps serving.
    (3, "oA oA nI", "Rollout put back old for chat-2 stuck"),
    (3, "oA oA nC", "Rollout put back old for chat-2 stuck"),
    (3, "oA oA nZ", "Rollout put back old for chat-2 stuck"),
    (3, "oA oA nu", "Rollout put back old for chat-2 stuck"),
    (3, "oA oA ni", "Rollout wait PodDown"),
    (3, "oA oI nI", "Rollout put back old for chat-2 stuck"),
    // A pod without a node may get one; after the deadline the template is suspected.
    (3, "oA oA nP", "Rollout wait PodDown stuck"),
    (3, "oA oA np", "Rollout put back old for chat-2 stuck"),
    // Without a pod that is Ready there is no good template.
    (3, "nI nI nI", "- rest stuck"),
    (3, "oN oN nI", "Rollout wait PodDown stuck"),
    // Scaling.
    (4, "nA nA nA", "ScaleUp 3->4"),
    (4, "oA oA oA", "ScaleUp 3->4"),
    (2, "nA nA nA", "ScaleDown wait Settle"),
    // Pods that go anyway are not replaced before.
    (2, "oA oA oA", "Rollout drain chat-1"),
    (2, "nA nA oA", "ScaleDown wait Settle"),
    // Pods of lost nodes.
    (3, "nA nA nt", "Repair force chat-2"),
    (2, "nA nA nt", "Repair force chat-2"),
    (3, "nA nA nT", "- rest"),
    // To zero there is nothing to wait for.
    (0, "oA oN nA", "Stop drain chat-2, drain chat-0"),
    (0, "oA", "Stop empty chat-0"),
    (0, "oX nX nD0", "Stop wait PodDown"),
    (0, "oX nX nd", "Stop 3->0"),
    (0, "nI nI nI", "Stop 3->0"),
];

#[test]
fn decisions() {
    check(ROWS, |_, _| ());
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

fn going(id: &str, seconds: i64) -> Option<Ongoing> {
    Some(Ongoing { id: id.into(), started_at: ago(seconds), total: 1 })
}

#[test]
fn scale_down_waits_a_minute_from_its_record_on() {
    let mut world = world("nA nA nA");
    world.ongoing = going("scale-down-2", 59);
    assert_eq!(line(&run(&wish(2), &world)), "ScaleDown wait Settle");
    world.ongoing = going("scale-down-2", 60);
    assert_eq!(line(&run(&wish(2), &world)), "ScaleDown drain chat-2");
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
    assert_eq!(
        line(&run(&wish(2), &world)),
        "ScaleDown drain chat-2",
        "an edited StatefulSet is set back at once"
    );
}

#[test]
fn an_operation_stays_on_record_until_its_pods_serve_or_are_gone() {
    let mut growing = world("nA nA nN");
    growing.ongoing = going("scale-up-3", 5);
    let plan = run(&wish(3), &growing);
    assert_eq!(line(&plan), "ScaleUp wait PodDown");
    assert_eq!(plan.operation.unwrap().done, 2);

    let mut rolling = world("nA nA nN");
    rolling.ongoing = going("rollout-new", 5);
    assert_eq!(line(&run(&wish(3), &rolling)), "Rollout wait PodDown");
    let mut last = world("na nA nA");
    last.ongoing = going("rollout-new", 5);
    assert_eq!(line(&run(&wish(3), &last)), "Rollout wait MinReady");
    let mut over = world("nA nA nA");
    over.ongoing = going("rollout-new", 5);
    assert_eq!(line(&run(&wish(3), &over)), "- rest");

    let mut shrinking = world("nA nA nT");
    shrinking.fleet.as_mut().unwrap().replicas = 2;
    shrinking.ongoing = going("scale-down-2", 5);
    assert_eq!(line(&run(&wish(2), &shrinking)), "ScaleDown wait PodDown");
}

#[test]
fn while_redis_is_down_only_the_cure_for_a_wrong_address_takes_pods() {
    for pods in ["oA oA oA", "oN oA oA", "oI oA oA", "os oA oA", "oA oA oX", "oA oA ow"] {
        let mut world = world(pods);
        world.redis = down();
        let plan = run(&wish(3), &world);
        assert_eq!(line(&plan), "Rollout wait Redis", "[{pods}]");
        world.fleet.as_mut().unwrap().redis_wiring = wiring("redis://b");
        let plan = run(&wish(3), &world);
        assert!(plan.acts(), "[{pods}] cured: {}", line(&plan));
    }
    // Stopping needs no Redis.
    let mut world = world("oA oA oA");
    world.redis = down();
    assert!(run(&wish(0), &world).acts());
}

#[test]
fn a_redis_outage_is_no_fault_of_the_template() {
    let mut world = world("oA oA nZ");
    world.redis = down();
    assert_eq!(line(&run(&wish(3), &world)), "Rollout wait PodDown");
    // The new pod asks another Redis than the old ones, so its template may well be at fault.
    world.pods[2].redis_wiring = wiring("redis://b");
    assert_eq!(line(&run(&wish(3), &world)), "Rollout put back old for chat-2 stuck");
}

#[test]
fn unregistered_nodes_of_a_wrong_address_are_replaced_without_delay() {
    let mut world = world("oU0 oU0 oU0");
    world.redis = down();
    world.fleet.as_mut().unwrap().redis_wiring = wiring("redis://b");
    assert_eq!(line(&run(&wish(3), &world)), "Rollout delete chat-2");
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
    let states = ["A", "a", "N", "E", "L", "I", "C", "P", "T", "t", "U", "S", "s", "D", "W", "w", "X"];
    let mut codes: Vec<String> = vec!["--".into()];
    for revision in ["o", "n"] {
        codes.extend(states.iter().map(|state| format!("{revision}{state}")));
    }
    let mut seen = 0;
    for first in &codes {
        for second in &codes {
            for third in &codes {
                let text = format!("{first} {second} {third}");
                let mut world = world(&text);
                let up = world.redis.clone();
                for redis in [up, down()] {
                    world.redis = redis;
                    for replicas in [2, 3, 4] {
                        promises(&world, replicas, &text);
                        seen += 1;
                    }
                }
            }
        }
    }
    assert_eq!(seen, 35 * 35 * 35 * 6);
}

fn promises(world: &World, replicas: i32, text: &str) {
    let plan = run(&wish(replicas), world);
    let redis_down = world.redis.is_down();
    let context = || format!("{replicas} of [{text}], Redis down {redis_down}: {}", line(&plan));
    let standing = |ordinal| world.pod(ordinal).map_or(Standing::Missing, |pod| world.standing(pod));
    assert_eq!(
        plan.acts(),
        plan.acts() && plan.operation.is_some(),
        "no step without a record: {}",
        context()
    );
    for step in &plan.steps {
        match step {
            Step::SetReplicas { from, to, .. } => {
                assert_eq!((*from, *to), (3, replicas), "{}", context());
                assert!(to > from || !redis_down, "{}", context());
            }
            Step::Delete { victim } | Step::Drain { victim, .. } => {
                assert!(!redis_down, "{}", context());
                let pod = world.pods.iter().find(|pod| pod.uid == victim.uid).unwrap();
                assert!(!pod.terminating, "{}", context());
                let goes = pod.revision == "old" || pod.ordinal >= replicas;
                let stands = world.standing(pod);
                assert!(goes || stands == Standing::Draining, "it serves as it should: {}", context());
                if stands == Standing::Active {
                    assert!(matches!(step, Step::Drain { .. }), "clients go first: {}", context());
                    let others =
                        (0..3).filter(|ordinal| *ordinal != pod.ordinal && *ordinal < replicas.min(3));
                    assert!(
                        others.map(standing).all(|other| other == Standing::Active),
                        "a second pod would be down: {}",
                        context()
                    );
                }
            }
            Step::CancelDrain { victim } => {
                let pod = world.pods.iter().find(|pod| pod.uid == victim.uid).unwrap();
                assert!(pod.ordinal < replicas, "{}", context());
            }
            Step::ForceDelete { victim } => {
                let pod = world.pods.iter().find(|pod| pod.uid == victim.uid).unwrap();
                assert!(pod.terminating && pod.deletion.is_some_and(|at| at <= ago(60)), "{}", context());
            }
            Step::PutBack { revision, .. } => assert_eq!(revision, "old", "{}", context()),
            Step::Rebalance { .. } => panic!("nobody asked for it: {}", context()),
        }
    }
    if plan.stuck.is_some() {
        let drains = plan.steps.iter().any(|step| matches!(step, Step::Drain { .. }));
        let kind = plan.operation.as_ref().map(|operation| operation.kind);
        assert!(!drains || kind == Some(Kind::ScaleDown), "a stuck rollout takes nobody: {}", context());
    }
    if let Some(wait) = plan.wait {
        assert!(!wait.after.is_zero() && (wait.hold != Hold::Redis || redis_down), "{}", context());
    }
}
