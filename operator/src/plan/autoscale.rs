//! How many nodes the connections ask for. Nodes are added at once and removed only when fewer were enough for a whole
//! window, as a HorizontalPodAutoscaler does.

use std::collections::VecDeque;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::census::elapsed;

/// A mean this near to the target asks for no change: a tenth, as one part in so many.
const TOLERANCE: i64 = 10;

/// What is asked of the fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Goal {
    /// Mean connections of a node to keep to, at least 1.
    pub per_node: i64,
    /// Fewest nodes.
    pub min: i32,
    /// Most nodes, not less than `min`.
    pub max: i32,
    /// How long fewer nodes must have been enough before any goes.
    pub stabilization: Duration,
}

/// What the fleet carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// Connections of all nodes that answer.
    pub connections: i64,
    /// Nodes that may have clients and do not say how many.
    pub unknown: usize,
}

/// Recommendations of the past that still count: each is smaller than the one before it, since what was recommended
/// before something greater can no longer be the greatest. So there are never more than there are numbers of nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History(VecDeque<(Timestamp, i32)>);

impl History {
    fn add(&mut self, now: Timestamp, replicas: i32) {
        while self.0.back().is_some_and(|(_, last)| *last <= replicas) {
            self.0.pop_back();
        }
        self.0.push_back((now, replicas));
    }

    /// The greatest recommendation within the window; what is older is forgotten.
    fn greatest(&mut self, now: Timestamp, window: Duration) -> Option<i32> {
        while self.0.front().is_some_and(|(at, _)| elapsed(now, *at) > window) {
            self.0.pop_front();
        }
        self.0.front().map(|(_, replicas)| *replicas)
    }
}

/// What stands behind a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The number fits, or is about to.
    Fits,
    /// Fewer would do, but not for long enough yet.
    Stabilizing {
        /// How many would do now.
        enough: i32,
    },
    /// Some nodes are silent, so none goes.
    Unknown {
        /// How many are silent.
        nodes: usize,
    },
    /// The connections ask for a number outside the bounds.
    Limited {
        /// What they ask for.
        needed: i32,
    },
}

/// How many nodes there should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Advice {
    /// Nodes.
    pub replicas: i32,
    /// Why.
    pub why: Why,
}

/// Recommends a number of nodes for a fleet that has `current` of them, and remembers what it recommended. With an empty
/// history the present number counts as recommended just now, so that a new operator removes nothing in haste.
pub fn advise(goal: Goal, load: Load, current: i32, history: &mut History, now: Timestamp) -> Advice {
    let current = current.clamp(goal.min, goal.max);
    if history.0.is_empty() {
        history.add(now, current);
    }
    let needed = needed(goal, load, current);
    let bounded = needed.clamp(goal.min, goal.max);
    // The silent may have any number of clients: those that answer can only show that more nodes are needed.
    let held = load.unknown > 0 && bounded < current;
    let recommended = if held { current } else { bounded };
    history.add(now, recommended);
    let greatest = history.greatest(now, goal.stabilization).unwrap_or(recommended);
    let replicas = if recommended < current { greatest.clamp(recommended, current) } else { recommended };
    let why = if held {
        Why::Unknown { nodes: load.unknown }
    } else if replicas > recommended {
        Why::Stabilizing { enough: recommended }
    } else if needed != bounded {
        Why::Limited { needed }
    } else {
        Why::Fits
    };
    Advice { replicas, why }
}

/// Nodes for this many connections; the present number while its mean is near the target.
fn needed(goal: Goal, load: Load, current: i32) -> i32 {
    let per_node = goal.per_node.max(1);
    let room = per_node.saturating_mul(i64::from(current));
    if (load.connections - room).saturating_abs().saturating_mul(TOLERANCE) <= room {
        return current;
    }
    let whole = load.connections / per_node + i64::from(load.connections % per_node > 0);
    i32::try_from(whole).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOAL: Goal = Goal { per_node: 100, min: 2, max: 10, stabilization: Duration::from_secs(600) };

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + second).unwrap()
    }

    fn load(connections: i64) -> Load {
        Load { connections, unknown: 0 }
    }

    /// A history of someone who has looked at a fleet that fits for long.
    fn seasoned(replicas: i32) -> History {
        let mut history = History::default();
        history.add(at(-700), replicas);
        history
    }

    #[test]
    fn one_look_at_a_fleet_that_was_looked_at_for_long() {
        let rows: &[(i64, i32, i32, Why)] = &[
            // connections, nodes now, nodes advised, why
            (300, 3, 3, Why::Fits),
            (330, 3, 3, Why::Fits),
            (331, 3, 4, Why::Fits),
            (270, 3, 3, Why::Fits),
            (201, 3, 3, Why::Fits),
            (200, 3, 2, Why::Fits),
            (0, 3, 2, Why::Limited { needed: 0 }),
            (0, 2, 2, Why::Limited { needed: 0 }),
            (1000, 3, 10, Why::Fits),
            (1001, 9, 10, Why::Limited { needed: 11 }),
            (1101, 10, 10, Why::Limited { needed: 12 }),
            (i64::MAX, 10, 10, Why::Limited { needed: i32::MAX }),
            // The spec starts outside the bounds.
            (0, 0, 2, Why::Limited { needed: 0 }),
            (800, 50, 8, Why::Fits),
        ];
        for (connections, current, replicas, why) in rows {
            let mut history = seasoned(*current);
            history.greatest(at(0), GOAL.stabilization);
            history.add(at(0), 0);
            let advice = advise(GOAL, load(*connections), *current, &mut history, at(0));
            let expected = Advice { replicas: *replicas, why: *why };
            assert_eq!(advice, expected, "{connections} connections on {current} nodes");
        }
    }

    #[test]
    fn a_new_operator_adds_at_once_and_removes_after_a_whole_window() {
        let mut history = History::default();
        assert_eq!(advise(GOAL, load(500), 3, &mut history, at(0)).replicas, 5);
        let mut history = History::default();
        for second in [0, 10, 599, 600] {
            let advice = advise(GOAL, load(100), 5, &mut history, at(second));
            assert_eq!(advice, Advice { replicas: 5, why: Why::Stabilizing { enough: 2 } }, "{second}");
        }
        assert_eq!(advise(GOAL, load(100), 5, &mut history, at(601)).replicas, 2);
    }

    #[test]
    fn a_short_lull_removes_nothing_and_the_greatest_of_the_window_stays() {
        let mut history = History::default();
        let mut current = 6;
        for (second, connections, expected) in [
            (0, 600, 6),
            (60, 100, 6),
            (300, 400, 6),
            (500, 100, 6),
            (601, 100, 4),
            (900, 100, 4),
            (901, 100, 2),
        ] {
            current = advise(GOAL, load(connections), current, &mut history, at(second)).replicas;
            assert_eq!(current, expected, "after {second} s");
        }
    }

    #[test]
    fn silent_nodes_keep_every_node_and_do_not_forbid_more() {
        let silent = |connections| Load { connections, unknown: 1 };
        let mut history = seasoned(4);
        let advice = advise(GOAL, silent(100), 4, &mut history, at(0));
        assert_eq!(advice, Advice { replicas: 4, why: Why::Unknown { nodes: 1 } });
        assert_eq!(advise(GOAL, silent(900), 4, &mut history, at(1)).replicas, 9);
        // What was held is recommended: the window begins anew when they speak again.
        let mut history = seasoned(4);
        advise(GOAL, silent(100), 4, &mut history, at(0));
        assert_eq!(advise(GOAL, load(100), 4, &mut history, at(600)).replicas, 4);
        assert_eq!(advise(GOAL, load(100), 4, &mut history, at(601)).replicas, 2);
    }

    #[test]
    fn the_history_stays_small_and_a_clock_that_goes_back_does_no_harm() {
        let mut history = History::default();
        for second in 0..10_000 {
            let connections = 100 * (2 + (second * 7) % 8);
            advise(GOAL, load(connections), 5, &mut history, at(second));
        }
        assert!(history.0.len() <= 10, "{} entries", history.0.len());
        assert!(advise(GOAL, load(300), 5, &mut history, at(-5_000)).replicas <= 10);
    }
}
