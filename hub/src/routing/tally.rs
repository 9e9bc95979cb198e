//! From what each node said to the one word that is true of all. Pure.

use crate::{
    identity::{NodeId, NodeInstance},
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
    /// The node says that the user is not there.
    NotHere,
    /// Nobody listens for that node.
    Gone,
    /// It was sent but nobody said what became of it.
    Silent,
    /// It certainly did not get there, and why.
    NotSent(ErrorCode, String),
}

/// A node that was asked.
#[derive(Debug)]
struct Asked {
    target: NodeInstance,
    /// Number of the envelope; a repeat carries it again.
    number: u64,
    outcome: Outcome,
}

/// What is known so far about one message.
#[derive(Debug, Default)]
pub struct SendTally {
    /// This node, when the message was given to one of its connections.
    own: Option<Outcome>,
    others: Vec<Asked>,
    registry_error: Option<String>,
    /// The registry says that the user is nowhere but expected back any moment.
    moving: bool,
}

/// All that can be said about one message.
#[derive(Debug, PartialEq, Eq)]
pub struct Conclusion {
    /// The one word.
    pub status: SendStatus,
    /// Connections that got it.
    pub connections: u32,
    /// Why not, where something went wrong.
    pub error: Option<SendError>,
}

impl SendTally {
    /// Begins a try: what earlier ones confirmed or left open stays, the rest is forgotten.
    pub fn begin_try(&mut self) {
        let stays = |outcome: &Outcome| matches!(outcome, Outcome::Reached(_) | Outcome::Silent);
        self.own = self.own.take().filter(stays);
        self.others.retain(|asked| stays(&asked.outcome));
        (self.registry_error, self.moving) = (None, false);
    }

    /// Whether this node's connections were given the message, or have it.
    #[must_use]
    pub fn own_is_settled(&self) -> bool {
        self.own.is_some()
    }

    /// Whether this node's connections have the message for certain, as far as anybody waits for.
    #[must_use]
    pub fn own_has_it(&self) -> bool {
        matches!(self.own, Some(Outcome::Reached(_)))
    }

    /// Notes what this node did.
    pub fn note_own(&mut self, outcome: Outcome) {
        self.own = Some(outcome);
    }

    /// The nodes to ask now, and the number to repeat where a node was silent: those, and all of `targets` that have
    /// not confirmed.
    pub fn to_ask<'a>(
        &'a self,
        targets: &'a [NodeInstance],
    ) -> impl Iterator<Item = (&'a NodeInstance, Option<u64>)> {
        let silent = self.others.iter().filter(|asked| asked.outcome == Outcome::Silent);
        let again = silent.map(|asked| {
            // A process that began another life meanwhile still knows what it was asked before.
            let now = targets.iter().find(|target| is_same_process(target, &asked.target));
            (now.unwrap_or(&asked.target), Some(asked.number))
        });
        let known =
            |target: &NodeInstance| self.others.iter().any(|asked| is_same_process(&asked.target, target));
        let fresh = targets.iter().filter(move |target| !known(target)).map(|target| (target, None));
        again.chain(fresh)
    }

    /// Notes what another node did. One that was silent may have delivered: only its own word changes that.
    pub fn note(&mut self, target: &NodeInstance, number: u64, outcome: Outcome) {
        match self.others.iter_mut().find(|asked| is_same_process(&asked.target, target)) {
            Some(asked) => {
                asked.target.clone_from(target);
                let open = asked.outcome == Outcome::Silent;
                if !(open && matches!(outcome, Outcome::Gone | Outcome::NotSent(..))) {
                    asked.outcome = outcome;
                }
            }
            None => self.others.push(Asked { target: target.clone(), number, outcome }),
        }
    }

    /// Notes that the registry could not say where the user is.
    pub fn note_registry_error(&mut self, detail: String) {
        self.registry_error = Some(detail);
    }

    /// Notes that the user was sent away from one node and is expected at another.
    pub fn note_moving(&mut self) {
        self.moving = true;
    }

    /// Whether nothing else is known of the user than that it is on the move.
    #[must_use]
    pub fn is_moving(&self) -> bool {
        self.moving && self.conclude().status == SendStatus::Offline
    }

    /// Whether another try could change the answer, after so many repeats. A message that arrived somewhere is tried
    /// once more where the user was said to be and is not: what was known of the user was old.
    #[must_use]
    pub fn is_worth_a_retry(&self, repeats: u32) -> bool {
        let own = matches!(self.own, Some(Outcome::NotHere | Outcome::NotSent(..)));
        let open = self.others.iter().any(|a| matches!(a.outcome, Outcome::Silent | Outcome::NotSent(..)));
        let moved = self.others.iter().any(|a| matches!(a.outcome, Outcome::NotHere | Outcome::Gone));
        self.registry_error.is_some() || own || open || (moved && (repeats == 0 || !self.reached_any()))
    }

    /// Whether a node that was asked has not said what became of the message.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.others.iter().any(|asked| matches!(asked.outcome, Outcome::Silent | Outcome::NotSent(..)))
    }

    fn reached_any(&self) -> bool {
        self.outcomes().any(|outcome| matches!(outcome, Outcome::Reached(_)))
    }

    /// Whether this message arrived at a node where the other one, sent before, is not known to have arrived. Then the
    /// other one must not be repeated: it would come second.
    #[must_use]
    pub fn went_ahead_of(&self, other: &Self) -> bool {
        let reached = |outcome: &Outcome| matches!(outcome, Outcome::Reached(_));
        let own = self.own.as_ref().is_some_and(reached) && !other.own.as_ref().is_some_and(reached);
        let has = |target: &NodeInstance| {
            other.others.iter().any(|asked| is_same_process(&asked.target, target) && reached(&asked.outcome))
        };
        own || self.others.iter().any(|asked| reached(&asked.outcome) && !has(&asked.target))
    }

    fn outcomes(&self) -> impl Iterator<Item = &Outcome> {
        self.own.iter().chain(self.others.iter().map(|asked| &asked.outcome))
    }

    /// The nodes that have it, sorted.
    #[must_use]
    pub fn nodes(&self, own: &NodeId) -> Vec<NodeCount> {
        let mut nodes = Vec::new();
        if let Some(Outcome::Reached(connections)) = self.own {
            nodes.push(NodeCount { node_id: own.clone(), connections });
        }
        for asked in &self.others {
            if let Outcome::Reached(connections) = asked.outcome {
                nodes.push(NodeCount { node_id: asked.target.node.clone(), connections });
            }
        }
        nodes.sort_by(|a, b| a.node_id.cmp(&b.node_id));
        // Two lives of one node are one line.
        nodes.dedup_by(|later, first| {
            let same = later.node_id == first.node_id;
            if same {
                first.connections = first.connections.saturating_add(later.connections);
            }
            same
        });
        nodes
    }

    /// Status, connections reached, and why not.
    #[must_use]
    pub fn conclude(&self) -> Conclusion {
        let (mut connections, mut silent, mut gone, mut not_sent) = (0u32, false, false, None);
        for outcome in self.outcomes() {
            match outcome {
                Outcome::Reached(count) => connections = connections.saturating_add(*count),
                Outcome::Silent => silent = true,
                Outcome::NotSent(code, detail) => {
                    not_sent.get_or_insert_with(|| SendError { code: *code, detail: detail.clone() });
                }
                Outcome::Gone => gone = true,
                Outcome::NotHere => {}
            }
        }
        // A node that nobody hears may be building its subscription again: its users are not known to be away.
        if gone && connections == 0 && !silent {
            not_sent.get_or_insert_with(|| SendError {
                code: ErrorCode::RegistryUnavailable,
                detail: "the registry names a node that cannot be reached now".to_owned(),
            });
        }
        let away = self.registry_error.clone();
        let error =
            away.map(|detail| SendError { code: ErrorCode::RegistryUnavailable, detail }).or(not_sent);
        let status = match (connections > 0, silent) {
            (true, false) if error.is_none() => SendStatus::Delivered,
            (true, _) => SendStatus::Partial,
            (false, true) => SendStatus::Unknown,
            (false, false) if error.is_none() => SendStatus::Offline,
            (false, false) => SendStatus::Failed,
        };
        Conclusion { status, connections, error }
    }
}

/// Whether two instances are lives of one process: it has the same connections in both, and remembers in the later one what
/// came in the earlier.
fn is_same_process(a: &NodeInstance, b: &NodeInstance) -> bool {
    a.node == b.node && a.incarnation.start_id() == b.incarnation.start_id()
}

#[cfg(test)]
mod tests {
    use super::{
        Outcome::{Gone, NotHere, NotSent, Reached, Silent},
        *,
    };

    fn node(n: usize) -> NodeInstance {
        format!("n{n}#k.1").parse().unwrap()
    }

    /// The first outcome is this node's.
    fn tally(own: Option<Outcome>, others: &[Outcome]) -> SendTally {
        let mut tally = SendTally { own, ..SendTally::default() };
        for (n, outcome) in others.iter().enumerate() {
            tally.note(&node(n), n as u64, outcome.clone());
        }
        tally
    }

    fn asked(tally: &SendTally, targets: &[NodeInstance]) -> Vec<(NodeInstance, Option<u64>)> {
        tally.to_ask(targets).map(|(node, number)| (node.clone(), number)).collect()
    }

    fn full() -> Outcome {
        NotSent(ErrorCode::Overloaded, "full".into())
    }

    #[test]
    fn the_precedence_is_that_of_the_protocol() {
        use SendStatus::{Delivered, Failed, Offline, Partial, Unknown};
        let cases = [
            (vec![], false, Offline, 0),
            (vec![NotHere], false, Offline, 0),
            (vec![Gone], false, Failed, 0),
            (vec![Reached(2)], false, Delivered, 2),
            (vec![Reached(2), NotHere, Gone], false, Delivered, 2),
            (vec![Reached(2), Reached(1)], false, Delivered, 3),
            (vec![Reached(2), Silent], false, Partial, 2),
            (vec![Reached(1), full()], false, Partial, 1),
            (vec![Silent], false, Unknown, 0),
            (vec![Silent, NotHere], false, Unknown, 0),
            (vec![Silent, full()], false, Unknown, 0),
            (vec![full()], false, Failed, 0),
            (vec![full(), NotHere], false, Failed, 0),
            (vec![], true, Failed, 0),
            (vec![Reached(1)], true, Partial, 1),
            (vec![Silent], true, Unknown, 0),
        ];
        for (outcomes, away, status, connections) in cases {
            let splits = [
                tally(None, &outcomes),
                tally(outcomes.first().cloned(), outcomes.get(1..).unwrap_or_default()),
            ];
            for mut tally in splits {
                if away {
                    tally.note_registry_error("away".into());
                }
                let conclusion = tally.conclude();
                let found = (conclusion.status, conclusion.connections);
                assert_eq!(found, (status, connections), "{outcomes:?} {away}");
                assert!(status != Failed || conclusion.error.is_some(), "failed always says why");
            }
        }
    }

    #[test]
    fn a_repeat_asks_the_silent_by_their_number_and_never_those_who_confirmed() {
        let mut tally = tally(None, &[Reached(1), Silent, NotHere, full()]);
        assert!(tally.is_worth_a_retry(0));
        tally.begin_try();
        let targets: Vec<_> = (0..5).map(node).collect();
        let expected = [(node(1), Some(1)), (node(2), None), (node(3), None), (node(4), None)];
        assert_eq!(asked(&tally, &targets), expected);
        assert_eq!(asked(&tally, &[]), [(node(1), Some(1))], "also when the user has left it");
    }

    #[test]
    fn a_process_in_its_next_life_is_asked_by_the_same_number_and_not_at_all_when_it_has_it() {
        let mut tally = tally(None, &[Reached(1), Silent, Silent]);
        tally.begin_try();
        let next: [NodeInstance; 3] = ["n0#k.2", "n1#k.2", "n2#other.1"].map(|text| text.parse().unwrap());
        let expected = [(next[1].clone(), Some(1)), (node(2), Some(2)), (next[2].clone(), None)];
        assert_eq!(asked(&tally, &next), expected, "another process knows nothing of it");
        tally.note(&next[1], 1, Reached(1));
        assert_eq!(asked(&tally, &next[..2]), [(node(2), Some(2))]);
    }

    #[test]
    fn a_node_that_was_silent_stays_so_until_it_speaks() {
        for (said, status) in [
            (Gone, SendStatus::Unknown),
            (full(), SendStatus::Unknown),
            (Silent, SendStatus::Unknown),
            (NotHere, SendStatus::Offline),
            (Reached(1), SendStatus::Delivered),
        ] {
            let mut tally = tally(None, &[Silent]);
            tally.begin_try();
            tally.note(&node(0), 0, said.clone());
            assert_eq!(tally.conclude().status, status, "{said:?}");
        }
    }

    #[test]
    fn what_arrived_is_tried_once_more_where_the_user_was_not() {
        let cases: [(Option<Outcome>, &[Outcome], u32, bool); 9] = [
            (None, &[], 0, false),
            (Some(Reached(1)), &[], 0, false),
            (Some(NotHere), &[], 0, true),
            (Some(Silent), &[], 0, false),
            (Some(Reached(1)), &[NotHere], 0, true),
            (Some(Reached(1)), &[NotHere], 1, false),
            (Some(Reached(1)), &[Silent], 2, true),
            (None, &[Gone], 2, true),
            (None, &[Reached(1), Reached(1)], 0, false),
        ];
        for (own, others, repeats, expected) in cases {
            assert_eq!(tally(own.clone(), others).is_worth_a_retry(repeats), expected, "{own:?} {others:?}");
        }
    }

    #[test]
    fn an_earlier_message_is_not_repeated_behind_a_later_one() {
        let first = tally(None, &[Reached(1), Silent]);
        assert!(!tally(None, &[Reached(1), Silent]).went_ahead_of(&first));
        assert!(tally(None, &[Reached(1), Reached(1)]).went_ahead_of(&first));
        assert!(tally(Some(Reached(1)), &[]).went_ahead_of(&first));
        assert!(!tally(None, &[NotHere, Gone]).went_ahead_of(&first));
    }

    #[test]
    fn a_user_moves_only_while_nothing_else_is_known_of_it() {
        let cases = [
            (vec![], true),
            (vec![NotHere], true),
            (vec![Reached(1)], false),
            (vec![Silent], false),
            (vec![full()], false),
            (vec![Gone], false),
        ];
        for (outcomes, expected) in cases {
            let mut tally = tally(None, &outcomes);
            assert!(!tally.is_moving());
            tally.note_moving();
            assert_eq!(tally.is_moving(), expected, "{outcomes:?}");
            tally.begin_try();
            assert!(!tally.is_moving(), "each look says it anew");
        }
        let mut away = tally(None, &[]);
        away.note_moving();
        away.note_registry_error("away".into());
        assert!(!away.is_moving());
    }

    #[test]
    fn two_processes_of_a_node_are_one_line_and_so_are_two_lives_of_a_process() {
        let mut tally = tally(Some(Reached(1)), &[Reached(2), Silent]);
        tally.note(&"n0#other.1".parse().unwrap(), 9, Reached(3));
        tally.note(&"n1#k.2".parse().unwrap(), 1, Reached(4));
        let own = NodeId::new("me").unwrap();
        let lines: Vec<_> = tally.nodes(&own).into_iter().map(|n| (n.node_id, n.connections)).collect();
        let name = |text| NodeId::new(text).unwrap();
        assert_eq!(lines, [(own.clone(), 1), (name("n0"), 5), (name("n1"), 4)]);
    }
}
