//! Who is in which group: joins and leaves of clients, memberships given by the backend, and who asks.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::{FutureExt, future};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::{
    audience::{Answers, Audience, TIMEOUT},
    group_registry::GroupRegistry,
    group_send::{Doubt, Others},
    ports::{Answer, DirectoryError, Handling},
    router::Router,
};
use crate::{
    identity::{GroupName, NodeInstance, UserId},
    local::{connection::Connection, group_members::UserPage, memberships::JoinedBy},
    protocol::{
        envelope::{Envelope, Kind, ReportStatus},
        group_answer::{GroupListing, GroupMember, MembershipResult},
        group_payload::{MembersPage, MembersQuestion, MembershipChange},
    },
};

/// How long a node may take to tell the registry before it reports nothing, so that the caller hears of it in time.
const SETTLING: Duration = Duration::from_secs(4);
/// Users in one answer.
const PAGE: u16 = 1000;
/// Questions to other nodes that wait for their answers; one caller asks one question per node.
const MOST_QUESTIONS: usize = 16_384;

/// Answers that are waited for, by the number of their question.
#[derive(Default)]
pub(super) struct Questions(Mutex<BTreeMap<u64, oneshot::Sender<MembersPage>>>);

/// Takes the question back when nobody waits any more.
struct Asked<'a> {
    questions: &'a Questions,
    number: u64,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.questions.0.lock().remove(&self.number);
    }
}

impl Questions {
    fn ask(&self, number: u64) -> Option<(Asked<'_>, oneshot::Receiver<MembersPage>)> {
        let (sender, receiver) = oneshot::channel();
        let mut waiting = self.0.lock();
        if waiting.len() >= MOST_QUESTIONS {
            return None;
        }
        waiting.insert(number, sender);
        Some((Asked { questions: self, number }, receiver))
    }

    fn answer(&self, page: MembersPage) {
        if let Some(waiting) = self.0.lock().remove(&page.question) {
            // Whoever asked may have stopped waiting.
            let _ = waiting.send(page);
        }
    }
}

impl Router {
    /// Takes a connection that ends out of everything: table, groups, inbox, directory.
    pub async fn disconnect(&self, connection: &Connection) {
        let registry = async {
            self.registry.disconnect(connection).await;
            self.departures.end(connection);
        };
        let groups = self.groups.end(connection);
        // Boxed: every connection would carry room for it all its life.
        future::join3(registry, groups, Box::pin(self.inboxes.close(connection))).await;
    }

    /// This node's groups.
    #[must_use]
    pub fn groups(&self) -> &Arc<GroupRegistry> {
        &self.groups
    }

    /// Makes the user's connections on all nodes members of a group, or ends their memberships. Memberships last for
    /// the connection. A connection that is in as many groups as it may be does not join, and is not counted.
    pub async fn change_membership(&self, user: &UserId, change: &MembershipChange) -> MembershipResult {
        let Audience { nodes: targets, registry_away } = self.audience(user).await;
        let (found, changed) = self.change_here(user, change);
        let settle = tokio::time::timeout(SETTLING, self.groups.settle(&change.group));
        let payload = change.encode();
        let requests = targets.iter().filter(|_| !registry_away).map(|target| {
            let envelope = Envelope {
                kind: Kind::Membership,
                wants_report: true,
                patience: None,
                number: self.next_number(),
                subject: Some(user.clone()),
                payload: payload.clone(),
            };
            self.bus.request(target, envelope, TIMEOUT)
        });
        // Here the change holds even if the registry hears of it later.
        let (_settled, answers) = future::join(settle, future::join_all(requests)).await;
        let Answers { connections, answered } = Answers::of(&answers);
        let here = u32::from(found > 0 || registry_away);
        MembershipResult {
            group: change.group.clone(),
            user_id: user.clone(),
            connections: connections.saturating_add(changed),
            nodes_expected: u32::try_from(targets.len()).unwrap_or(u32::MAX).saturating_add(here),
            nodes_answered: answered + here,
        }
    }

    /// Changes the memberships of the user's connections here. Returns how many there are, and how many are members
    /// now, or were and are not any more.
    fn change_here(&self, user: &UserId, change: &MembershipChange) -> (usize, u32) {
        let connections = self.local.of_user(user);
        let mut changed = 0;
        for connection in &connections {
            changed += u32::from(match change.joins {
                true => self.groups.join(connection, &change.group, JoinedBy::Api).is_ok(),
                false => self.groups.roster().leave(connection, &change.group),
            });
            self.registry.note_session(connection);
        }
        (connections.len(), changed)
    }

    /// What another node's backend wants of the user's connections here.
    pub(super) fn change_for_other(&self, envelope: Envelope) -> Handling {
        let Some(user) = &envelope.subject else { return Handling::Ignored };
        let Ok(change) = MembershipChange::decode(envelope.payload) else { return Handling::Ignored };
        let (found, count) = self.change_here(user, &change);
        if found == 0 {
            return Handling::Done(Answer { status: ReportStatus::NotHere, count: 0 });
        }
        let groups = Arc::clone(&self.groups);
        let settle = async move {
            let settled = tokio::time::timeout(SETTLING, groups.settle(&change.group)).await;
            // Not known to the registry: the caller must not take it for done.
            matches!(settled, Ok(Ok(()))).then_some(Answer { status: ReportStatus::Done, count })
        };
        Handling::Waiting(settle.boxed())
    }

    /// Who is in a group, on all nodes: users behind `after`, sorted, at most 1,000.
    ///
    /// # Errors
    /// [`DirectoryError`] when the registry cannot be asked which nodes have members, or may not know all of them.
    pub async fn group_listing(
        &self,
        group: &GroupName,
        after: Option<&UserId>,
    ) -> Result<GroupListing, DirectoryError> {
        let Others { nodes: others, doubt } = self.other_group_nodes(group, TIMEOUT).await;
        match doubt {
            None => {}
            Some(Doubt::Away(error)) => return Err(error),
            Some(Doubt::NotWhole) => {
                let why = "other: the registry is not whole yet, so nobody can be said to be no member";
                return Err(DirectoryError::Unavailable(why.to_owned()));
            }
        }
        let question = MembersQuestion { group: group.clone(), after: after.cloned(), most: PAGE };
        let asked = others.iter().map(|target| self.ask(target, &question));
        let answers = future::join_all(asked).await;
        let here = self.groups.roster().members(group);
        let mut nodes: Vec<_> = others.iter().map(|instance| instance.node.clone()).collect();
        nodes.extend(here.is_some().then(|| self.own().node));
        nodes.sort();
        let answered = answers.iter().flatten().count() + usize::from(here.is_some());
        let own = here.map(|members| {
            let page = members.users_after(after, usize::from(PAGE));
            MembersPage { question: 0, users: page.users, more: page.more }
        });
        let (members, next) = merge(own.into_iter().chain(answers.into_iter().flatten()), usize::from(PAGE));
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Ok(GroupListing {
            group: group.clone(),
            members,
            next,
            nodes_expected: count(nodes.len()),
            nodes_answered: count(answered),
            nodes,
        })
    }

    /// Asks one node; none when it did not answer in time.
    async fn ask(&self, target: &NodeInstance, question: &MembersQuestion) -> Option<MembersPage> {
        let number = self.next_number();
        let (_asked, page) = self.questions.ask(number)?;
        let envelope = Envelope {
            kind: Kind::MembersQuestion,
            wants_report: true,
            patience: None,
            number,
            subject: None,
            payload: question.encode(),
        };
        let answered = async {
            self.bus.request(target, envelope, TIMEOUT).await.ok()?;
            page.await.ok()
        };
        tokio::time::timeout(TIMEOUT, answered).await.ok().flatten()
    }

    /// Answers another node's question: the page goes ahead of the report on the same channel.
    pub(super) fn answer_question(&self, source: &NodeInstance, envelope: Envelope) -> Handling {
        let Ok(question) = MembersQuestion::decode(envelope.payload) else { return Handling::Ignored };
        let members = self.groups.roster().members(&question.group);
        let page = members.map(|members| {
            members.users_after(question.after.as_ref(), usize::from(question.most.min(PAGE)))
        });
        let UserPage { users, more } = page.unwrap_or_default();
        let page = MembersPage { question: envelope.number, users, more };
        let answer = Envelope {
            kind: Kind::MembersPage,
            wants_report: false,
            patience: None,
            number: self.next_number(),
            subject: None,
            payload: page.encode(),
        };
        let status = match self.bus.post(source, answer) {
            Ok(()) => ReportStatus::Done,
            Err(_) => ReportStatus::Overloaded,
        };
        Handling::Done(Answer { status, count: 0 })
    }

    /// Gives a page to whoever asked.
    pub(super) fn take_page(&self, envelope: Envelope) -> Handling {
        if let Ok(page) = MembersPage::decode(envelope.payload) {
            self.questions.answer(page);
        }
        Handling::Ignored
    }
}

/// Puts pages together: users in order, with the connections of all nodes. A node that has more behind its last user
/// hides what it has there, so the list ends before. Pure.
fn merge(pages: impl Iterator<Item = MembersPage>, most: usize) -> (Vec<GroupMember>, Option<UserId>) {
    let mut users: BTreeMap<UserId, u32> = BTreeMap::new();
    let mut end: Option<UserId> = None;
    for page in pages {
        if let (true, Some((last, _))) = (page.more, page.users.last()) {
            end = Some(end.map_or_else(|| last.clone(), |end| end.min(last.clone())));
        }
        for (user, connections) in page.users {
            let sum = users.entry(user).or_default();
            *sum = sum.saturating_add(connections);
        }
    }
    let found = users.len();
    let members: Vec<_> = users
        .into_iter()
        .take_while(|(user, _)| end.as_ref().is_none_or(|end| user <= end))
        .take(most)
        .map(|(user_id, connections)| GroupMember { user_id, connections })
        .collect();
    let more = end.is_some() || members.len() < found;
    let next = members.last().filter(|_| more).map(|member| member.user_id.clone());
    (members, next)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(users: &[(&str, u32)], more: bool) -> MembersPage {
        MembersPage {
            question: 0,
            users: users.iter().map(|(u, n)| (UserId::new(u).unwrap(), *n)).collect(),
            more,
        }
    }

    #[test]
    fn pages_of_several_nodes_become_one_that_hides_nobody() {
        let (members, next) =
            merge([page(&[("a", 1), ("c", 2)], false), page(&[("b", 1), ("c", 1)], false)].into_iter(), 10);
        let listed: Vec<_> = members.iter().map(|m| (m.user_id.as_str(), m.connections)).collect();
        assert_eq!((listed, next), (vec![("a", 1), ("b", 1), ("c", 3)], None));

        // The second node may have a `c` that it did not show.
        let (members, next) =
            merge([page(&[("a", 1), ("c", 2)], false), page(&[("b", 1)], true)].into_iter(), 10);
        let listed: Vec<_> = members.iter().map(|m| m.user_id.as_str()).collect();
        assert_eq!((listed, next), (vec!["a", "b"], Some(UserId::new("b").unwrap())));

        let (members, next) = merge([page(&[("a", 1), ("b", 1), ("c", 1)], false)].into_iter(), 2);
        assert_eq!((members.len(), next), (2, Some(UserId::new("b").unwrap())));
        assert_eq!(merge(std::iter::empty(), 2), (Vec::new(), None));
    }

    #[test]
    fn an_answer_that_nobody_waits_for_any_more_is_dropped() {
        let questions = Questions::default();
        let (asked, mut page) = questions.ask(1).unwrap();
        questions.answer(MembersPage { question: 2, ..MembersPage::default() });
        assert!(page.try_recv().is_err());
        questions.answer(MembersPage { question: 1, users: Vec::new(), more: true });
        assert!(page.try_recv().unwrap().more);
        drop(asked);
        let (asked, _page) = questions.ask(3).unwrap();
        drop(asked);
        assert!(questions.0.lock().is_empty());
    }
}
