//! Whether the other nodes can take the clients of one that is to go.

use std::collections::BTreeSet;

use crate::observed::pod::HubPod;
use crate::observed::world::{Standing, World};

use super::census::{Census, Seat};

/// Nodes are filled to this share of their connections at most, in percent.
pub const FILL: i64 = 85;

/// The verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// There is room.
    Enough,
    /// There is nobody to send clients to and nobody on the way.
    NobodyElse,
    /// There is nobody to send clients to yet.
    NobodyYet,
    /// The others are too full.
    Short {
        /// Connections that need a place.
        need: i64,
        /// Connections that would find one.
        room: i64,
    },
}

/// Judges for one pod. `leaving` are the uids of pods that go as well.
#[must_use]
pub fn room(pod: &HubPod, leaving: &BTreeSet<String>, world: &World, census: &Census<'_>) -> Room {
    let goes = |seat: &Seat<'_>| seat.pod.is_some_and(|other| leaving.contains(&other.uid));
    let mut others = census.seats.iter().filter(|seat| seat.pod.is_none_or(|other| other.uid != pod.uid));
    let takes = |seat: &Seat<'_>| seat.standing == Standing::Active && !goes(seat);
    if !others.clone().any(takes) {
        let on_the_way = others.any(|seat| seat.is_in_flight() || goes(seat));
        return if on_the_way { Room::NobodyYet } else { Room::NobodyElse };
    }
    let (connections, _) = filling(pod, world);
    let (mut need, mut room) = (connections, 0);
    for seat in others {
        let Some(other) = seat.pod else { continue };
        let (open, most) = filling(other, world);
        if takes(seat) {
            room += most.saturating_mul(FILL) / 100 - open;
        } else if goes(seat) || matches!(seat.standing, Standing::Draining | Standing::Terminating) {
            need += open;
        }
    }
    // Without clients it makes no difference how full the others are.
    if need == 0 || need <= room { Room::Enough } else { Room::Short { need, room: room.max(0) } }
}

/// Open connections of a pod and the most its hub takes, by its own word.
fn filling(pod: &HubPod, world: &World) -> (i64, i64) {
    let report = world.hubs.get(&pod.uid).and_then(|view| view.report());
    report.map_or((0, 0), |report| (report.connections, report.max_connections))
}
