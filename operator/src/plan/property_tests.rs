//! Promises of the plan in any world: what it may do at all, and that it comes to an end.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::{Just, Strategy, prop_oneof};
use proptest::test_runner::{Config, TestRunner};

use crate::observed::hub::HubReport;
use crate::observed::world::{Standing, World};

use super::operation::Plan;
use super::room::FILL;
use super::simulation::{DAWN, Simulation};
use super::step::{Hold, Step};
use super::wish::{DrainWish, Wish};

/// What goes wrong, or is wished for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Event {
    /// Another number of replicas.
    Scale(i32),
    /// A template of the spec; a bad one cannot be pulled.
    Template { bad: bool },
    /// A hub process ends and starts again.
    RestartContainer(i32),
    /// Somebody deletes a pod.
    DeletePod(i32),
    /// The readiness probe fails for so many seconds.
    Glitch(i32, i64),
    /// A Kubernetes node is gone, with the pod on it.
    LoseNode(i32),
    /// Somebody drains a node.
    ForeignDrain(i32),
    /// Redis is away for so many seconds.
    RedisAway(i64),
    /// The operator is away for so many seconds.
    OperatorAway(i64),
    /// The operator dies between its record and its steps for so many seconds.
    OperatorDiesActing(i64),
    /// Connections are to be spread.
    Rebalance(u32),
}

/// A world and what happens in it.
#[derive(Debug, Clone)]
struct Story {
    replicas: i32,
    max_unavailable: usize,
    clients: i64,
    capacity: i64,
    rate: u32,
    events: Vec<(i64, Event)>,
}

/// Seconds in which things may happen, and in which everything must then come to its end: the longest chain is a pod
/// after the other, each with a drain of 5 minutes and its start.
const UNREST: i64 = 1500;
const END: i64 = 3 * 3600;

fn event() -> impl Strategy<Value = Event> {
    let ordinal = 0..5i32;
    prop_oneof![
        3 => (0..5i32).prop_map(Event::Scale),
        4 => Just(Event::Template { bad: false }),
        2 => Just(Event::Template { bad: true }),
        1 => ordinal.clone().prop_map(Event::RestartContainer),
        1 => ordinal.clone().prop_map(Event::DeletePod),
        2 => (ordinal.clone(), 1..200i64).prop_map(|(ordinal, seconds)| Event::Glitch(ordinal, seconds)),
        1 => ordinal.clone().prop_map(Event::LoseNode),
        1 => ordinal.prop_map(Event::ForeignDrain),
        1 => (1..200i64).prop_map(Event::RedisAway),
        1 => (1..100i64).prop_map(Event::OperatorAway),
        2 => (1..20i64).prop_map(Event::OperatorDiesActing),
        1 => (0..9u32).prop_map(Event::Rebalance),
    ]
}

fn story() -> impl Strategy<Value = Story> {
    (
        1..5i32,
        1..4usize,
        0..300i64,
        prop_oneof![3 => Just(1000i64), 1 => 60..400i64],
        prop_oneof![Just(1u32), Just(10), Just(200)],
        proptest::collection::vec((0..UNREST, event()), 0..12),
    )
        .prop_map(|(replicas, max_unavailable, clients, capacity, rate, events)| Story {
            replicas,
            max_unavailable,
            clients,
            capacity,
            rate,
            events,
        })
}

#[test]
fn every_story_keeps_the_promises_and_comes_to_an_end() {
    let mut runner = TestRunner::new(Config { cases: 150, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&story(), |story| {
        live(&story);
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}

fn live(story: &Story) {
    let wish = Wish {
        replicas: story.replicas,
        max_unavailable: story.max_unavailable,
        drain: DrainWish { rate: story.rate, timeout: Duration::from_secs(300), ..DrainWish::default() },
        ..Wish::default()
    };
    let mut simulation = Simulation::new(wish, story.clients, story.capacity);
    for _ in 0..30 {
        simulation.tick();
    }
    assert_eq!(simulation.unfulfilled(), None, "the beginning");
    let mut events = story.events.clone();
    events.sort_by_key(|(second, _)| *second);
    for (second, event) in events {
        while simulation.now < DAWN + 30 + second {
            simulation.tick();
        }
        simulation.happens(event);
    }
    for _ in 0..30 {
        simulation.tick();
    }
    simulation.calm();
    let end = simulation.now + END;
    while simulation.now < end {
        simulation.tick();
        if simulation.unfulfilled().is_none() {
            return stays(&mut simulation);
        }
        let full = simulation.plan.wait.is_some_and(|wait| wait.hold == Hold::NoRoom);
        if full && !simulation.plan.acts() && story.capacity < 1000 && simulation.now > end - END + 3600 {
            // Somebody must make room.
            return;
        }
    }
    panic!("no end: {}", simulation.unfulfilled().unwrap_or_default());
}

/// What is fulfilled is left in peace.
fn stays(simulation: &mut Simulation) {
    for _ in 0..150 {
        simulation.tick();
        assert_eq!(simulation.unfulfilled(), None, "it was fulfilled before");
    }
}

/// What holds for every plan, judged by the world alone.
pub(super) fn audit(wish: &Wish, world: &World, plan: &Plan) {
    let context = || format!("{plan:?}\nin {world:#?}");
    assert!(!plan.acts() || plan.operation.is_some(), "a step without a record: {}", context());
    let fleet = world.fleet.as_ref().unwrap();
    let report = |uid: &str| -> Option<&HubReport> { world.hubs.get(uid)?.report() };
    let by_uid = |uid: &str| world.pods.iter().find(|pod| pod.uid == uid);
    let standing = |ordinal| world.pod(ordinal).map_or(Standing::Missing, |pod| world.standing(pod));
    let begun: BTreeSet<&str> = plan
        .steps
        .iter()
        .filter_map(|step| match step {
            Step::Drain { victim, .. }
                if report(&victim.uid).is_some_and(|report| report.drain.is_none()) =>
            {
                Some(victim.uid.as_str())
            }
            _ => None,
        })
        .collect();
    let serving =
        begun.iter().filter(|uid| by_uid(uid).map(|pod| world.standing(pod)) == Some(Standing::Active));
    let taken = serving.count();
    let staying = wish.replicas.min(fleet.replicas);
    let down = (0..staying).filter(|ordinal| standing(*ordinal) != Standing::Active).count();
    assert!(
        wish.replicas == 0 || taken == 0 || down + taken <= wish.max_unavailable,
        "{taken} more would be down: {}",
        context()
    );
    for step in &plan.steps {
        match step {
            Step::Delete { victim } => {
                let pod = by_uid(&victim.uid).unwrap();
                assert!(world.standing(pod) != Standing::Active, "clients go first: {}", context());
                let foreign = report(&victim.uid)
                    .and_then(|report| report.drain.as_ref())
                    .is_some_and(|drain| drain.id == "somebody");
                assert!(!foreign, "it is somebody else's: {}", context());
                assert!(!world.redis.is_down(), "{}", context());
            }
            Step::CancelDrain { victim } => {
                let drain = report(&victim.uid).unwrap().drain.as_ref().unwrap();
                assert!(drain.id.starts_with("wsc-operator/"), "{}", context());
            }
            Step::Drain { .. } => assert!(wish.replicas == 0 || !world.redis.is_down(), "{}", context()),
            Step::ForceDelete { victim } => {
                assert!(
                    report(&victim.uid).is_none() && by_uid(&victim.uid).unwrap().terminating,
                    "{}",
                    context()
                );
            }
            Step::SetReplicas { from, to, .. } => {
                assert_eq!(*from, fleet.replicas);
                for pod in world.pods.iter().filter(|pod| pod.ordinal >= *to && !pod.terminating) {
                    assert!(world.standing(pod) != Standing::Active, "clients go first: {}", context());
                }
            }
            Step::PutBack { revision, .. } => {
                assert!(fleet.held_back.is_none() && Some(revision) != fleet.update_revision.as_ref());
            }
            Step::Rebalance { .. } => assert!(wish.rebalance.is_some() && plan.steps.len() == 1),
        }
    }
    if wish.replicas > 0 {
        room(world, &begun, &context);
    }
}

/// Whether the nodes that stay can take the clients of those that begin to drain.
fn room(world: &World, begun: &BTreeSet<&str>, context: &dyn Fn() -> String) {
    let (mut room, mut need, mut others) = (0, 0, 0);
    for pod in &world.pods {
        let Some(report) = world.hubs.get(&pod.uid).and_then(|view| view.report()) else { continue };
        if begun.contains(pod.uid.as_str()) {
            need += report.connections;
        } else if world.standing(pod) == Standing::Active {
            room += report.max_connections * FILL / 100 - report.connections;
            others += 1;
        }
    }
    assert!(others == 0 || need == 0 || need <= room, "{need} find room for {room}: {}", context());
}
