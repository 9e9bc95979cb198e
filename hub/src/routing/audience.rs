//! Who has to be asked about a user's connections, and what their answers come to: kicks, revocations, memberships.

use std::time::Duration;

use super::{
    ports::{Answer, BusError},
    router::Router,
    targets::Targets,
    whereabouts::Freshness,
};
use crate::{
    identity::{NodeInstance, UserId},
    protocol::envelope::ReportStatus,
};

/// How long the registry may take to say who has to be asked, and how long those may take.
pub(super) const TIMEOUT: Duration = Duration::from_secs(5);

/// The other nodes that have to be asked about a user.
pub(super) struct Audience {
    /// Sorted, each once.
    pub(super) nodes: Vec<NodeInstance>,
    /// Nobody can be asked: these were the nodes when the registry last answered.
    pub(super) registry_away: bool,
}

/// What nodes said that were asked about a user's connections.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Answers {
    /// Connections.
    pub(super) connections: u32,
    /// Nodes that did what was asked of them, or have no such connection.
    pub(super) answered: u32,
}

impl Answers {
    /// Pure. A node that nobody hears has not answered: it may be building its subscription again, with all its
    /// connections open.
    pub(super) fn of(answers: &[Result<Answer, BusError>]) -> Self {
        let mut all = Self::default();
        for answer in answers {
            match answer {
                Ok(Answer { status: ReportStatus::Done | ReportStatus::NotHere, count }) => {
                    all.connections = all.connections.saturating_add(*count);
                    all.answered += 1;
                }
                Ok(Answer { status: ReportStatus::Overloaded, .. }) | Err(_) => {}
            }
        }
        all
    }
}

impl Router {
    /// The other nodes that have to be asked about a user: those where the user is, or all when the registry cannot
    /// say for certain where that is.
    pub(super) async fn audience(&self, user: &UserId) -> Audience {
        let Targets { nodes, doubt, .. } = self.targets(user, Freshness::Certain, TIMEOUT).await;
        if doubt.is_none() {
            return Audience { nodes, registry_away: false };
        }
        // A registry that lost its data names too few, so those it named before are asked too.
        let (_, error) = self.other_nodes(TIMEOUT).await;
        Audience { nodes: self.with_last_known(nodes), registry_away: error.is_some() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_nodes_that_said_so_have_answered() {
        let node: NodeInstance = "b#k.1".parse().unwrap();
        let said = |status, count| Ok(Answer { status, count });
        let cases = [
            (said(ReportStatus::Done, 2), (2, 1)),
            (said(ReportStatus::NotHere, 0), (0, 1)),
            (said(ReportStatus::Overloaded, 0), (0, 0)),
            (Err(BusError::NodeGone(node.clone())), (0, 0)),
            (Err(BusError::NoReport(node.clone())), (0, 0)),
            (Err(BusError::Overloaded(node)), (0, 0)),
            (Err(BusError::Unavailable("away".to_owned())), (0, 0)),
        ];
        for (answer, (connections, answered)) in &cases {
            let expected = Answers { connections: *connections, answered: *answered };
            assert_eq!(Answers::of(std::slice::from_ref(answer)), expected, "{answer:?}");
        }
        let all: Vec<_> = cases.into_iter().map(|(answer, _)| answer).collect();
        assert_eq!(Answers::of(&all), Answers { connections: 2, answered: 2 });
    }
}
