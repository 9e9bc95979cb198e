//! To which other nodes the messages for many users have to go.

use std::time::{Duration, Instant};

use super::{router::Router, targets::Targets, whereabouts::Freshness};
use crate::identity::UserId;

impl Router {
    /// What [`Router::targets`] says, for many users and with one question to the registry at most for leases and one
    /// for users. The answers are in the users' order.
    pub(super) async fn targets_of_many(
        &self,
        users: &[UserId],
        freshness: Freshness,
        within: Duration,
    ) -> Vec<Result<Targets, String>> {
        let (began, hearing) = (Instant::now(), self.registration.borrow().hearing);
        let own = self.own().node;
        let mut found: Vec<Option<Result<Targets, String>>> = Vec::with_capacity(users.len());
        for user in users {
            let known = match freshness {
                Freshness::Known => self.whereabouts.known(user, hearing, began),
                Freshness::Fresh => None,
            };
            found.push(known.map(|nodes| Ok(Targets { nodes, doubt: None })));
        }
        self.drop_the_dead(&mut found, within).await;

        let places: Vec<usize> = (0..users.len()).filter(|place| found[*place].is_none()).collect();
        let unknown: Vec<UserId> = places.iter().map(|place| users[*place].clone()).collect();
        if !unknown.is_empty() {
            let left = within.saturating_sub(began.elapsed());
            let read = tokio::time::timeout(left, self.directory.locate_many(&unknown)).await;
            let read = match read {
                Ok(read) => read.map_err(|error| error.to_string()),
                Err(_) => Err("the registry did not answer in time".to_owned()),
            };
            match read {
                Ok(presences) => {
                    for (place, presence) in places.into_iter().zip(presences) {
                        let mut nodes = presence.nodes().instances;
                        nodes.retain(|instance| instance.node != own);
                        let doubt = presence.doubtful.then_some("the registry is being filled again");
                        if doubt.is_none() {
                            let now = Instant::now();
                            self.whereabouts.learn_read(&users[place], presence.ver, &nodes, hearing, now);
                        }
                        let only_here =
                            nodes.is_empty() && self.whereabouts.last_known_only_here(&users[place]);
                        found[place] = Some(Ok(Targets { nodes, doubt: doubt.filter(|_| !only_here) }));
                    }
                }
                Err(detail) => {
                    for place in places {
                        let only_here = self.whereabouts.last_known_only_here(&users[place]);
                        found[place] =
                            Some(if only_here { Ok(Targets::default()) } else { Err(detail.clone()) });
                    }
                }
            }
        }
        let unanswered = || Err("the registry did not answer for this user".to_owned());
        found.into_iter().map(|found| found.unwrap_or_else(unanswered)).collect()
    }

    /// Takes back what was known of users whose nodes do not all hold their leases, or where that cannot be seen: a node
    /// that died has not said good-bye to anybody.
    async fn drop_the_dead(&self, found: &mut [Option<Result<Targets, String>>], within: Duration) {
        let nodes = found.iter().flatten().flatten().flat_map(|targets| &targets.nodes);
        let mut nodes: Vec<_> = nodes.cloned().collect();
        nodes.sort_unstable();
        nodes.dedup();
        if nodes.is_empty() {
            return;
        }
        let live = tokio::time::timeout(within, self.directory.all_live(&nodes)).await;
        if !matches!(live, Ok(Ok(true))) {
            for found in found {
                if found.as_ref().is_some_and(|known| known.as_ref().is_ok_and(|t| !t.nodes.is_empty())) {
                    *found = None;
                }
            }
        }
    }
}
