//! To which other nodes a message for a user has to go.

use std::time::{Duration, Instant};

use super::{ports::Handling, router::Router, whereabouts::Freshness};
use crate::{
    identity::{NodeInstance, UserId},
    protocol::{envelope::Envelope, presence_changed},
};

/// Where else a user is.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Targets {
    /// The other nodes, sorted, each once.
    pub(super) nodes: Vec<NodeInstance>,
    /// Why these may not be all, or may not be alive: ask them, but nobody may say that the user is offline. To be
    /// noted as an error of the registry.
    pub(super) doubt: Option<&'static str>,
}

impl Router {
    /// The other nodes where a user is. With [`Freshness::Known`] a user whose nodes are known here costs no question
    /// to the registry, and while the registry is away one who was last known to be here and nowhere else has no other
    /// nodes. A registry that hangs is given up `within` this time.
    ///
    /// # Errors
    /// Why the registry gave no answer.
    pub(super) async fn targets(
        &self,
        user: &UserId,
        freshness: Freshness,
        within: Duration,
    ) -> Result<Targets, String> {
        let (began, hearing) = (Instant::now(), self.registration.borrow().hearing);
        if freshness == Freshness::Known
            && let Some(nodes) = self.whereabouts.known(user, hearing, began)
        {
            if nodes.is_empty() {
                return Ok(Targets::default());
            }
            // A node that died has not said good-bye to anybody.
            let live = tokio::time::timeout(within, self.directory.all_live(&nodes)).await;
            match live.map_err(|_| late())?.map_err(|e| e.to_string()) {
                Ok(true) => return Ok(Targets { nodes, doubt: None }),
                Ok(false) => {}
                Err(detail) => return Err(detail),
            }
        }
        match self.read_targets(user, hearing, within.saturating_sub(began.elapsed())).await {
            Err(_) if freshness == Freshness::Known && self.whereabouts.last_known_only_here(user) => {
                Ok(Targets::default())
            }
            read => read,
        }
    }

    async fn read_targets(&self, user: &UserId, hearing: u64, within: Duration) -> Result<Targets, String> {
        let presence = tokio::time::timeout(within, self.directory.locate(user)).await;
        let presence = presence.map_err(|_| late())?.map_err(|e| e.to_string())?;
        let (ver, nodes) = (presence.ver, self.without_own(presence.nodes().instances));
        if presence.doubtful {
            return Ok(Targets { nodes, doubt: Some("the registry is being filled again") });
        }
        self.whereabouts.learn_read(user, ver, &nodes, hearing, Instant::now());
        Ok(Targets { nodes, doubt: None })
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

fn late() -> String {
    "the registry did not answer in time".to_owned()
}
