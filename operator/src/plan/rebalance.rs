//! Connections above the mean are moved to other nodes, once per request.

use crate::observed::world::Standing;

use super::census::victim;
use super::departures::Scene;
use super::operation::{Kind, Operation, Plan};
use super::step::{Step, Victim};

/// Characters of a run id in the id of its operation at most.
const ID_LENGTH: usize = 40;

/// The rebalance that is asked for, once all nodes serve. It is carried out when the status names its run id; until
/// then it is repeated, which closes less each time.
#[must_use]
pub fn rebalance(scene: Scene<'_>) -> Option<Plan> {
    let run = scene.wish.rebalance.as_ref().filter(|run| scene.world.rebalanced.as_ref() != Some(*run))?;
    let seats = &scene.census.seats;
    if scene.world.redis.is_down() || seats.iter().any(|seat| seat.standing != Standing::Active) {
        return None;
    }
    let open: Vec<(Victim, i64)> = seats
        .iter()
        .filter_map(|seat| {
            let pod = seat.pod?;
            Some((victim(pod), scene.world.hubs.get(&pod.uid)?.report()?.connections))
        })
        .collect();
    let nodes = i64::try_from(open.len()).unwrap_or(i64::MAX).max(1);
    let sum: i64 = open.iter().map(|(_, connections)| connections).sum();
    // Rounded up, so that a remainder that no node can be free of is left alone.
    let mean = (sum + nodes - 1) / nodes;
    let excess: Vec<(Victim, u32)> = open
        .into_iter()
        .filter(|(_, connections)| *connections > mean)
        .map(|(pod, connections)| (pod, u32::try_from(connections - mean).unwrap_or(u32::MAX)))
        .collect();
    let moved: u64 = excess.iter().map(|(_, connections)| u64::from(*connections)).sum();
    Some(Plan {
        operation: Some(Operation {
            id: format!("rebalance-{}", run.chars().take(ID_LENGTH).collect::<String>()),
            kind: Kind::Rebalance,
            done: 0,
            total: i32::try_from(excess.len()).unwrap_or(i32::MAX),
            message: format!("moving {moved} connections to nodes below the mean of {mean}"),
            watched: Vec::new(),
        }),
        steps: vec![Step::Rebalance { run: run.clone(), excess, rate: scene.wish.drain.rate }],
        wait: None,
        stuck: None,
    })
}
