//! From what each node said to the one word that is true of all. Pure.

use std::collections::BTreeMap;

use crate::{
    identity::NodeId,
    protocol::{
        error_code::ErrorCode,
        send_result::{NodeCount, SendError, SendStatus},
    },
};

/// What one node did with a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// So many connections got it, at least one.
    Reached(u32),
    /// The user is not there.
    NotHere,
    /// It was sent but nobody said what became of it.
    Silent,
    /// It certainly did not get there, and why.
    NotSent(ErrorCode, String),
}

/// What is known so far about one message.
#[derive(Debug, Default)]
pub struct SendTally {
    outcomes: BTreeMap<NodeId, Outcome>,
    registry_error: Option<String>,
}

impl SendTally {
    /// Begins a try: what earlier ones confirmed or left open stays, the rest is asked again.
    pub fn begin_try(&mut self) {
        self.outcomes.retain(|_, outcome| matches!(outcome, Outcome::Reached(_) | Outcome::Silent));
        self.registry_error = None;
    }

    /// Whether a node needs no further try.
    #[must_use]
    pub fn is_settled(&self, node: &NodeId) -> bool {
        self.outcomes.contains_key(node)
    }

    /// Notes what a node did.
    pub fn note(&mut self, node: NodeId, outcome: Outcome) {
        self.outcomes.insert(node, outcome);
    }

    /// Notes that the registry could not say where the user is.
    pub fn note_registry_error(&mut self, detail: String) {
        self.registry_error = Some(detail);
    }

    /// Whether another try could change the answer: somebody certainly did not get it, or said that the user
    /// had left. A silent node is not asked again: it may have delivered.
    #[must_use]
    pub fn is_worth_a_retry(&self) -> bool {
        self.registry_error.is_some()
            || self.outcomes.values().any(|o| matches!(o, Outcome::NotHere | Outcome::NotSent(..)))
    }

    /// Status, connections reached, nodes that have them, and why not.
    #[must_use]
    pub fn conclude(&self) -> (SendStatus, u32, Vec<NodeCount>, Option<SendError>) {
        let nodes: Vec<NodeCount> = self
            .outcomes
            .iter()
            .filter_map(|(node, outcome)| match outcome {
                Outcome::Reached(connections) => {
                    Some(NodeCount { node_id: node.clone(), connections: *connections })
                }
                _ => None,
            })
            .collect();
        let connections = nodes.iter().map(|node| node.connections).sum();
        let silent = self.outcomes.values().any(|outcome| *outcome == Outcome::Silent);
        let not_sent = self.outcomes.values().find_map(|outcome| match outcome {
            Outcome::NotSent(code, detail) => Some(SendError { code: *code, detail: detail.clone() }),
            _ => None,
        });
        let away = self
            .registry_error
            .clone()
            .map(|detail| SendError { code: ErrorCode::RegistryUnavailable, detail });
        let error = away.clone().or_else(|| not_sent.clone());
        let status = match (connections > 0, silent) {
            (true, false) if error.is_none() => SendStatus::Delivered,
            (true, _) => SendStatus::Partial,
            (false, true) => SendStatus::Unknown,
            (false, false) if error.is_none() => SendStatus::Offline,
            (false, false) => SendStatus::Failed,
        };
        (status, connections, nodes, error)
    }
}

#[cfg(test)]
mod tests {
    use super::{
        Outcome::{NotHere, NotSent, Reached, Silent},
        *,
    };

    fn conclude(outcomes: &[Outcome], registry_away: bool) -> (SendStatus, u32) {
        let mut tally = SendTally::default();
        for (n, outcome) in outcomes.iter().enumerate() {
            tally.note(NodeId::new(format!("n{n}")).unwrap(), outcome.clone());
        }
        if registry_away {
            tally.note_registry_error("away".into());
        }
        let (status, connections, _, error) = tally.conclude();
        if status == SendStatus::Failed {
            assert!(error.is_some(), "failed always says why");
        }
        (status, connections)
    }

    #[test]
    fn the_precedence_is_that_of_the_protocol() {
        let gone = || NotSent(ErrorCode::Overloaded, "full".into());
        let cases = [
            (vec![], false, SendStatus::Offline, 0),
            (vec![NotHere], false, SendStatus::Offline, 0),
            (vec![Reached(2)], false, SendStatus::Delivered, 2),
            (vec![Reached(2), NotHere], false, SendStatus::Delivered, 2),
            (vec![Reached(2), Reached(1)], false, SendStatus::Delivered, 3),
            (vec![Reached(2), Silent], false, SendStatus::Partial, 2),
            (vec![Reached(1), gone()], false, SendStatus::Partial, 1),
            (vec![Silent], false, SendStatus::Unknown, 0),
            (vec![Silent, NotHere], false, SendStatus::Unknown, 0),
            (vec![Silent, gone()], false, SendStatus::Unknown, 0),
            (vec![gone()], false, SendStatus::Failed, 0),
            (vec![gone(), NotHere], false, SendStatus::Failed, 0),
            (vec![], true, SendStatus::Failed, 0),
            (vec![Reached(1)], true, SendStatus::Partial, 1),
            (vec![Silent], true, SendStatus::Unknown, 0),
        ];
        for (outcomes, away, status, connections) in cases {
            assert_eq!(conclude(&outcomes, away), (status, connections), "{outcomes:?} {away}");
        }
    }

    #[test]
    fn a_repeat_asks_only_those_who_certainly_have_not_got_it() {
        let node = |n: u8| NodeId::new(format!("n{n}")).unwrap();
        let mut tally = SendTally::default();
        for (n, outcome) in [(0, Reached(1)), (1, Silent), (2, NotHere)] {
            tally.note(node(n), outcome);
        }
        assert!(tally.is_worth_a_retry());
        tally.begin_try();
        assert!(tally.is_settled(&node(0)) && tally.is_settled(&node(1)) && !tally.is_settled(&node(2)));
        assert!(!tally.is_worth_a_retry());
    }
}
