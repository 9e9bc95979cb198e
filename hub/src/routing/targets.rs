//! To which other nodes a message for a user has to go.

use std::time::{Duration, Instant};

use super::{ports::Handling, router::Router, whereabouts::Freshness};
use crate::{
    identity::{NodeInstance, UserId},
    protocol::{envelope::Envelope, presence_changed},
};

/// Where else a user is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Targets {
    /// The other nodes, sorted, each once.
    pub(super) nodes: Vec<NodeInstance>,
    /// Why these may not be all, or may not be alive: ask them, but nobody may say that the user is offline. To be
    /// noted as an error of the registry.
    pub(super) doubt: Option<String>,
    /// There are none, but the user is expected back any moment.
    pub(super) moving: bool,
}

/// What a node knows of a user's other nodes by itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Knowledge {
    /// Well enough not to ask; none where the registry has to be asked.
    believed: Option<Vec<NodeInstance>>,
    /// The last that is known, however old, is a connection here and nowhere else.
    only_here: bool,
}

/// What others said of it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Said {
    /// Nobody was asked yet.
    Nothing,
    /// The leases of the believed nodes were looked at: whether all are held. Not known is no.
    Leases(bool),
    /// The registry names these other nodes, or says why it does not.
    Registry(Result<Found, String>),
}

/// Other nodes of a user, by the registry.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Found {
    nodes: Vec<NodeInstance>,
    /// The registry is being filled again: these may not be all, or may be gone.
    doubtful: bool,
    /// There is none, but the user is expected back any moment.
    moving: bool,
}

/// What has to be done to know a user's other nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Next {
    /// Nothing, here they are.
    Done(Targets),
    /// Look whether the believed nodes hold their leases: one that died has not said good-bye to anybody.
    AskLeases,
    /// Read the user's entry.
    AskRegistry,
}

/// The whole decision: for one user and for many, for a first try and for repeats. Pure.
fn next(known: &Knowledge, said: Said, freshness: Freshness) -> Next {
    match said {
        Said::Nothing => match &known.believed {
            Some(nodes) if freshness == Freshness::Known && nodes.is_empty() => {
                Next::Done(Targets::default())
            }
            Some(_) if freshness == Freshness::Known => Next::AskLeases,
            _ => Next::AskRegistry,
        },
        Said::Leases(true) => {
            Next::Done(Targets { nodes: known.believed.clone().unwrap_or_default(), ..Targets::default() })
        }
        Said::Leases(false) => Next::AskRegistry,
        Said::Registry(Ok(Found { nodes, doubtful: false, moving })) => {
            Next::Done(Targets { nodes, doubt: None, moving })
        }
        Said::Registry(unsure) => {
            let (nodes, doubt) = match unsure {
                Ok(Found { nodes, .. }) => (nodes, "the registry is being filled again".to_owned()),
                Err(why) => (Vec::new(), why),
            };
            // Whose last known entry names only this node is reached by reaching this node.
            let trusted = freshness != Freshness::Certain && known.only_here && nodes.is_empty();
            Next::Done(Targets { nodes, doubt: (!trusted).then_some(doubt), moving: false })
        }
    }
}

impl Router {
    fn known(&self, user: &UserId, hearing: u64, freshness: Freshness) -> Knowledge {
        let believed = match freshness {
            Freshness::Known => self.whereabouts.known(user, hearing, Instant::now()),
            Freshness::Fresh | Freshness::Certain => None,
        };
        let only_here = believed.is_none() && self.whereabouts.last_known_only_here(user);
        Knowledge { believed, only_here }
    }

    /// The other nodes of a user as far as they are known without asking.
    #[cfg(test)]
    pub(crate) fn known_nodes(&self, user: &UserId) -> Option<Vec<NodeInstance>> {
        self.whereabouts.known(user, self.registration.borrow().hearing, Instant::now())
    }

    /// The node's standing, as it changes.
    #[cfg(test)]
    pub(crate) fn registry_state(&self) -> tokio::sync::watch::Receiver<crate::routing::ports::Registration> {
        self.registration.clone()
    }

    /// The other nodes where a user is. With [`Freshness::Known`] a user whose nodes are known here costs no question
    /// to the registry. A registry that hangs is given up `within` this time.
    pub(super) async fn targets(&self, user: &UserId, freshness: Freshness, within: Duration) -> Targets {
        let hearing = self.registration.borrow().hearing;
        let known = self.known(user, hearing, freshness);
        if let Next::Done(targets) = next(&known, Said::Nothing, freshness) {
            return targets;
        }
        let found = self.targets_of_many(std::slice::from_ref(user), freshness, within).await;
        found.into_iter().next().unwrap_or_default()
    }

    /// The same for many users, with at most one question about leases and one about users. The answers are in the
    /// users' order.
    pub(super) async fn targets_of_many(
        &self,
        users: &[UserId],
        freshness: Freshness,
        within: Duration,
    ) -> Vec<Targets> {
        let (began, hearing) = (Instant::now(), self.registration.borrow().hearing);
        let known: Vec<Knowledge> = users.iter().map(|user| self.known(user, hearing, freshness)).collect();
        let mut steps: Vec<Next> = known.iter().map(|known| next(known, Said::Nothing, freshness)).collect();

        if steps.contains(&Next::AskLeases) {
            let held = self.all_hold_leases(&known, &steps, within).await;
            for (step, known) in steps.iter_mut().zip(&known).filter(|(step, _)| **step == Next::AskLeases) {
                *step = next(known, Said::Leases(held), freshness);
            }
        }

        let places: Vec<usize> = (0..users.len()).filter(|n| steps[*n] == Next::AskRegistry).collect();
        if !places.is_empty() {
            let asked: Vec<UserId> = places.iter().map(|place| users[*place].clone()).collect();
            let said = self.read_many(&asked, hearing, within.saturating_sub(began.elapsed())).await;
            for (place, said) in places.into_iter().zip(said) {
                steps[place] = next(&known[place], Said::Registry(said), freshness);
            }
        }
        let targets = steps.into_iter().map(|step| match step {
            Next::Done(targets) => targets,
            Next::AskLeases | Next::AskRegistry => Targets {
                nodes: Vec::new(),
                doubt: Some("the registry did not answer for this user".to_owned()),
                moving: false,
            },
        });
        targets.collect()
    }

    /// Whether all nodes that are believed in hold their leases, where that can be seen.
    async fn all_hold_leases(&self, known: &[Knowledge], steps: &[Next], within: Duration) -> bool {
        let asked = known.iter().zip(steps).filter(|(_, step)| **step == Next::AskLeases);
        let mut nodes: Vec<_> =
            asked.flat_map(|(known, _)| known.believed.iter().flatten()).cloned().collect();
        nodes.sort_unstable();
        nodes.dedup();
        matches!(Self::in_time(within, self.directory.all_live(&nodes)).await, Ok(true))
    }

    /// What the registry says of users, in their order; what is certain is remembered.
    async fn read_many(
        &self,
        users: &[UserId],
        hearing: u64,
        within: Duration,
    ) -> Vec<Result<Found, String>> {
        let presences = match Self::in_time(within, self.directory.locate_many(users)).await {
            Ok(presences) => presences,
            Err(error) => return vec![Err(error.to_string()); users.len()],
        };
        let mut found = Vec::with_capacity(users.len());
        for (user, presence) in users.iter().zip(presences) {
            let nodes = self.without_own(presence.nodes().instances);
            if !presence.doubtful {
                self.whereabouts.learn_read(user, presence.ver, &nodes, hearing, Instant::now());
            }
            found.push(Ok(Found { nodes, doubtful: presence.doubtful, moving: presence.moving }));
        }
        found
    }

    pub(super) fn without_own(&self, mut instances: Vec<NodeInstance>) -> Vec<NodeInstance> {
        let registration = self.registration.borrow();
        instances.retain(|instance| instance.node != registration.instance.node);
        instances
    }

    /// Another node says where a user is now.
    pub(super) fn presence_changed(&self, source: &NodeInstance, envelope: Envelope) -> Handling {
        let Some(user) = &envelope.subject else {
            tracing::debug!(%source, "a change of presence names no user");
            return Handling::Ignored;
        };
        match presence_changed::decode(envelope.payload) {
            Ok(instances) => {
                let is_here = self.local.for_user(user, |_| {}) > 0;
                let hearing = self.registration.borrow().hearing;
                self.whereabouts.hear(user, envelope.number, self.without_own(instances), is_here, hearing);
            }
            Err(error) => tracing::debug!(%source, %error, "a change of presence is malformed"),
        }
        Handling::Ignored
    }
}

#[cfg(test)]
mod tests {
    use super::{Freshness::*, *};

    fn nodes(names: &[&str]) -> Vec<NodeInstance> {
        names.iter().map(|name| format!("{name}#k.1").parse().unwrap()).collect()
    }

    fn believed(names: &[&str]) -> Knowledge {
        Knowledge { believed: Some(nodes(names)), only_here: false }
    }

    fn done(names: &[&str], doubt: Option<&str>) -> Next {
        Next::Done(Targets { nodes: nodes(names), doubt: doubt.map(str::to_owned), moving: false })
    }

    #[test]
    fn nobody_is_asked_about_a_user_who_is_known_to_be_nowhere_else() {
        let nothing = Knowledge::default();
        let cases = [
            (believed(&[]), Known, done(&[], None)),
            (believed(&["b"]), Known, Next::AskLeases),
            (nothing.clone(), Known, Next::AskRegistry),
            (Knowledge { only_here: true, ..Knowledge::default() }, Known, Next::AskRegistry),
            (believed(&[]), Fresh, Next::AskRegistry),
            (believed(&["b"]), Fresh, Next::AskRegistry),
            (nothing, Certain, Next::AskRegistry),
        ];
        for (known, freshness, expected) in cases {
            assert_eq!(next(&known, Said::Nothing, freshness), expected, "{known:?} {freshness:?}");
        }
        assert_eq!(next(&believed(&["b", "c"]), Said::Leases(true), Known), done(&["b", "c"], None));
        assert_eq!(next(&believed(&["b", "c"]), Said::Leases(false), Known), Next::AskRegistry);
    }

    #[test]
    fn what_the_registry_says_counts_and_what_it_does_not_say_only_where_the_user_was_here_alone() {
        let found = |names: &[&str], doubtful| Ok(Found { nodes: nodes(names), doubtful, moving: false });
        let away = || Err("away".to_owned());
        let filled = Some("the registry is being filled again");
        let (here, elsewhere) = (true, false);
        let cases = [
            (elsewhere, found(&["b"], false), [done(&["b"], None), done(&["b"], None), done(&["b"], None)]),
            (elsewhere, found(&[], false), [done(&[], None), done(&[], None), done(&[], None)]),
            // Tried, but not believed to be all.
            (here, found(&["b"], true), [done(&["b"], filled), done(&["b"], filled), done(&["b"], filled)]),
            (elsewhere, found(&[], true), [done(&[], filled), done(&[], filled), done(&[], filled)]),
            // The last known entry names only this node: trusted by every try of a send, never by a kick.
            (here, found(&[], true), [done(&[], None), done(&[], None), done(&[], filled)]),
            (here, away(), [done(&[], None), done(&[], None), done(&[], Some("away"))]),
            (elsewhere, away(), [done(&[], Some("away")), done(&[], Some("away")), done(&[], Some("away"))]),
        ];
        let moving = Targets { moving: true, ..Targets::default() };
        let said = Said::Registry(Ok(Found { nodes: Vec::new(), doubtful: false, moving: true }));
        assert_eq!(next(&Knowledge::default(), said, Fresh), Next::Done(moving));
        for (only_here, said, expected) in cases {
            let known = Knowledge { believed: None, only_here };
            for (freshness, expected) in [Known, Fresh, Certain].into_iter().zip(expected) {
                let said = Said::Registry(said.clone());
                assert_eq!(
                    next(&known, said.clone(), freshness),
                    expected,
                    "{only_here} {said:?} {freshness:?}"
                );
            }
        }
    }
}
