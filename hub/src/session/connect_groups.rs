//! The groups a client is in from its first moment on: those it asks for and those its token names.

use std::{sync::Arc, time::Duration};

use futures::StreamExt;

use super::{edge::Edge, handshake::Refusal};
use crate::{
    auth::Grants,
    identity::GroupName,
    local::{connection::Connection, memberships::JoinedBy},
    protocol::error_code::ErrorCode,
    routing::group_registry::JoinError,
};

/// How long the registry may take to hear of the groups before the client is welcomed all the same.
const SETTLING: Duration = Duration::from_secs(2);
/// Groups told to the registry at the same time for one client.
const SETTLING_AT_ONCE: usize = 16;

/// The groups to join at connect, each once. `asked`: a comma list as the client gave it; `claimed`: those that the
/// token names, which are granted by that; `most`: groups one connection may be in. Pure.
///
/// # Errors
/// [`Refusal`]: a name that is none, a group that is not granted, or too many.
pub(super) fn to_join(
    asked: Option<&str>,
    claimed: Vec<GroupName>,
    grants: &Grants,
    most: usize,
) -> Result<Vec<GroupName>, Refusal> {
    let mut groups = claimed;
    for text in asked.filter(|asked| !asked.is_empty()).iter().flat_map(|asked| asked.split(',')) {
        let group = GroupName::new(text)
            .map_err(|error| Refusal::new(ErrorCode::BadRequest, format!("groups: {error}")))?;
        if !grants.may_join(&group) && !groups.contains(&group) {
            return Err(Refusal::new(
                ErrorCode::NotPermitted,
                format!("joining group:{group} is not granted"),
            ));
        }
        groups.push(group);
    }
    groups.sort();
    groups.dedup();
    if groups.len() > most {
        let detail = format!("{} groups are asked for, one connection may be in {most}", groups.len());
        return Err(Refusal::new(ErrorCode::BadRequest, detail));
    }
    Ok(groups)
}

impl Edge {
    /// Puts a connection into its groups and waits until the registry knows, or has not answered for 2 s.
    pub(super) async fn join_at_connect(
        &self,
        connection: &Arc<Connection>,
        groups: &[GroupName],
    ) -> Result<(), Refusal> {
        let registry = self.router.groups();
        for group in groups {
            match registry.join(connection, group, JoinedBy::Grant) {
                // A connection that is ending is refused for that.
                Ok(_) | Err(JoinError::Refused(_)) => {}
                Err(error @ JoinError::RegistryBehind) => {
                    return Err(Refusal::new(ErrorCode::RegistryUnavailable, error.to_string()));
                }
            }
        }
        self.settle_groups(groups).await;
        Ok(())
    }

    /// Waits until the registry knows of these groups, or has not answered for 2 s.
    pub(super) async fn settle_groups(&self, groups: &[GroupName]) {
        let registry = self.router.groups();
        let settle =
            futures::stream::iter(groups).for_each_concurrent(SETTLING_AT_ONCE, |group| async move {
                // What cannot be written now is written later.
                let _ = registry.settle(group).await;
            });
        let _ = tokio::time::timeout(SETTLING, settle).await;
    }

    /// Makes a connection's memberships those that a renewed token allows: it leaves the groups that are not granted
    /// any more and joins those that the token names. What the backend gave stays. The registry hears of it soon after.
    pub fn renew_groups(
        self: &Arc<Self>,
        connection: &Arc<Connection>,
        grants: &Grants,
        claimed: &[GroupName],
    ) {
        let registry = self.router.groups();
        let mut changed: Vec<GroupName> = Vec::new();
        for (group, by) in connection.groups.all() {
            if by == JoinedBy::Grant && !grants.may_join(&group) && !claimed.contains(&group) {
                registry.roster().leave(connection, &group);
                changed.push(group);
            }
        }
        for group in claimed {
            // Beyond the bound the token names more than a connection may have; the first ones count.
            if registry.join(connection, group, JoinedBy::Grant).is_ok_and(|joined| joined) {
                changed.push(group.clone());
            }
        }
        if changed.is_empty() {
            return;
        }
        self.router.registry().note_session(connection);
        let registry = Arc::clone(registry);
        self.tasks.spawn(async move {
            for group in changed {
                // What cannot be written now is written later.
                let _ = registry.settle(&group).await;
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn join(
        asked: Option<&str>,
        claimed: &[&str],
        granted: &[&str],
        most: usize,
    ) -> Result<Vec<String>, String> {
        let granted: Vec<String> = granted.iter().map(ToString::to_string).collect();
        let grants = Grants::from_patterns(&[], &granted).unwrap();
        let claimed = claimed.iter().map(|name| GroupName::new(name).unwrap()).collect();
        let groups = to_join(asked, claimed, &grants, most);
        groups
            .map(|groups| groups.iter().map(ToString::to_string).collect())
            .map_err(|refusal| format!("{}: {refusal}", refusal.code.as_str()))
    }

    #[test]
    fn groups_at_connect_are_named_granted_and_bounded() {
        let words = |words: &[&str]| Ok(words.iter().map(ToString::to_string).collect());
        assert_eq!(join(None, &[], &[], 8), words(&[]));
        assert_eq!(join(Some(""), &[], &[], 8), words(&[]));
        assert_eq!(join(Some("room-2,room-1,room-2"), &[], &["room-*"], 8), words(&["room-1", "room-2"]));
        assert_eq!(join(Some("hall"), &["hall", "yard"], &[], 8), words(&["hall", "yard"]), "a claim grants");
        assert_eq!(join(Some("a,b"), &["b", "c"], &["*"], 3), words(&["a", "b", "c"]));
        let refused = |outcome: Result<_, String>, why: &str| {
            let error = outcome.unwrap_err();
            assert!(error.starts_with(why), "{error}");
        };
        refused(join(Some("hall"), &[], &["room-*"], 8), "not_permitted: joining group:hall is not granted");
        refused(join(Some("a,,b"), &[], &["*"], 8), "bad_request: groups: group must not be empty");
        refused(join(Some("a b"), &[], &["*"], 8), "bad_request: groups: group contains ' '");
        refused(join(Some("a,b"), &["c"], &["*"], 2), "bad_request: 3 groups are asked for");
    }
}
