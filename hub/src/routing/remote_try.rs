//! One try of messages at the other nodes where their receivers are.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use futures::future;

use super::{
    dispatch::Flight,
    ports::{Answer, BusError, Letter},
    retry,
    router::Router,
    tally::Outcome,
    targets::Targets,
    whereabouts::Freshness,
};
use crate::{
    identity::{NodeInstance, UserId},
    protocol::{
        envelope::{Envelope, Kind, ReportStatus},
        error_code::ErrorCode,
    },
};

/// The other nodes of the receivers of active flights.
struct Found {
    /// Of each receiver, once.
    targets: Vec<Targets>,
    /// The place of its receiver's targets for each active flight, in their order; none for a stored message, which goes
    /// where the receiver was when it was stored.
    of: Vec<Option<usize>>,
}

impl Found {
    fn of(&self, nth: usize) -> Option<&Targets> {
        self.targets.get((*self.of.get(nth)?)?)
    }
}

/// Envelopes to one node, each with the place of its flight and its number.
struct Bundle {
    target: NodeInstance,
    numbers: Vec<(usize, u64)>,
    letters: Vec<Letter>,
}

impl Router {
    /// One try of each at the other nodes where its receiver is.
    pub(super) async fn try_elsewhere(
        &self,
        flights: &mut [Flight<'_>],
        active: &[usize],
        accepted: Instant,
    ) {
        for place in active {
            flights[*place].tries += 1;
        }
        self.let_them_leave(flights, active, accepted).await;
        let nowhere_else = |place: &&usize| !self.is_nowhere_else(&flights[**place]);
        let active: Vec<usize> = active.iter().filter(nowhere_else).copied().collect();
        if active.is_empty() {
            return;
        }
        let found = self.targets_of(flights, &active, accepted).await;
        for (nth, place) in active.iter().enumerate() {
            if found.of(nth).is_some_and(|targets| targets.nodes.is_empty()) {
                self.try_who_came_here(&mut flights[*place]);
            }
        }
        let bundles = self.bundles(flights, &active, &found, accepted.elapsed());
        if bundles.is_empty() {
            return;
        }
        let mut places = Vec::with_capacity(bundles.len());
        let mut answers = Vec::with_capacity(bundles.len());
        for Bundle { target, numbers, letters } in bundles {
            answers.push(self.bus.send_many(&target, letters));
            places.push((target, numbers));
        }
        let answers = future::join_all(answers).await;
        for ((target, numbers), answers) in places.into_iter().zip(answers) {
            for ((place, number), answer) in numbers.into_iter().zip(answers) {
                let flight = &mut flights[place];
                let outcome = outcome(answer);
                if matches!(outcome, Outcome::NotHere | Outcome::Gone) {
                    self.whereabouts.disbelieve(flight.receiver);
                }
                flight.tally.note(&target, number, outcome);
            }
        }
    }

    /// The other nodes of each active receiver, looked up together. A fault or doubt of the registry is noted where it
    /// matters.
    async fn targets_of(&self, flights: &mut [Flight<'_>], active: &[usize], accepted: Instant) -> Found {
        let elapsed = accepted.elapsed();
        let mut receivers: Vec<UserId> = Vec::new();
        let mut places: HashMap<UserId, usize> = HashMap::new();
        let mut of = Vec::with_capacity(active.len());
        for place in active {
            let Flight { receiver, stored, .. } = &flights[*place];
            of.push(stored.is_none().then(|| {
                places.get(*receiver).copied().unwrap_or_else(|| {
                    receivers.push((*receiver).clone());
                    places.insert((*receiver).clone(), receivers.len() - 1);
                    receivers.len() - 1
                })
            }));
        }
        let left = active.iter().map(|place| flights[*place].left(elapsed)).max().unwrap_or_default();
        // All that are active have been tried equally often.
        let first = active.first().is_none_or(|place| flights[*place].tries <= 1);
        let freshness = if first { Freshness::Known } else { Freshness::Fresh };
        let targets = match receivers.as_slice() {
            [] => Vec::new(),
            [only] => vec![self.targets(only, freshness, left).await],
            many => self.targets_of_many(many, freshness, left).await,
        };
        let found = Found { targets, of };
        for (nth, place) in active.iter().enumerate() {
            let Some(targets) = found.of(nth) else { continue };
            let tally = &mut flights[*place].tally;
            if let Some(doubt) = targets.doubt.clone() {
                tally.note_registry_error(doubt);
            } else if targets.moving {
                tally.note_moving();
            }
        }
        found
    }

    /// What goes to which node.
    fn bundles(
        &self,
        flights: &[Flight<'_>],
        active: &[usize],
        found: &Found,
        elapsed: Duration,
    ) -> Vec<Bundle> {
        let mut bundles: Vec<Bundle> = Vec::new();
        for (nth, place) in active.iter().enumerate() {
            let flight = &flights[*place];
            let left = flight.left(elapsed);
            let timeout = retry::patience(flight.repeats_left(), left);
            let (kind, payload, targets) = match &flight.stored {
                None => {
                    let targets = found.of(nth).map_or(&[][..], |targets| &targets.nodes);
                    (Kind::Deliver, flight.frame.bytes().clone(), targets)
                }
                Some((notice, nodes)) => (Kind::Stored, notice.encode(), nodes.as_slice()),
            };
            for (target, number) in flight.tally.to_ask(targets) {
                let number = number.unwrap_or_else(|| if flight.waits() { self.next_number() } else { 0 });
                let envelope = Envelope {
                    kind,
                    wants_report: flight.waits(),
                    patience: flight.waits().then_some(left),
                    number,
                    subject: Some(flight.receiver.clone()),
                    payload: payload.clone(),
                };
                // Nodes are few beside the messages of a call.
                let at = bundles.iter().position(|bundle| bundle.target == *target).unwrap_or_else(|| {
                    let (numbers, letters) = (Vec::new(), Vec::new());
                    bundles.push(Bundle { target: target.clone(), numbers, letters });
                    bundles.len() - 1
                });
                let Some(bundle) = bundles.get_mut(at) else { continue };
                bundle.numbers.push((*place, number));
                bundle.letters.push(Letter { envelope, timeout });
            }
        }
        bundles
    }
}

fn outcome(answer: Result<Answer, BusError>) -> Outcome {
    match answer {
        Ok(
            Answer { status: ReportStatus::Done, count: 0 } | Answer { status: ReportStatus::NotHere, .. },
        ) => Outcome::NotHere,
        Ok(Answer { status: ReportStatus::Done, count }) => Outcome::Reached(count),
        Ok(Answer { status: ReportStatus::Overloaded, .. }) => {
            Outcome::NotSent(ErrorCode::Overloaded, "the receiver's node is overloaded".to_owned())
        }
        // The node's end takes its users with it; a repeat looks them up afresh.
        Err(BusError::NodeGone(_)) => Outcome::Gone,
        Err(BusError::NoReport(_)) => Outcome::Silent,
        Err(error @ BusError::Overloaded(_)) => Outcome::NotSent(ErrorCode::Overloaded, error.to_string()),
        Err(error @ BusError::Unavailable(_)) => {
            Outcome::NotSent(ErrorCode::RegistryUnavailable, error.to_string())
        }
    }
}
