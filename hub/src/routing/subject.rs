//! A connection as the directory is told of it.

use std::{sync::atomic::Ordering, time::Duration};

use super::ports::UserNodes;
use crate::{
    identity::{ConnectionId, UserId},
    local::connection::Connection,
};

/// A client that was told to come back after some time is expected for so much longer.
const RETURN: Duration = Duration::from_secs(3);

/// A connection whose entry is to be written or removed.
#[derive(Debug, Clone)]
pub(super) struct Subject {
    pub(super) user: UserId,
    pub(super) id: ConnectionId,
    /// Whether the directory took it once, so that others may have heard of it.
    pub(super) listed: bool,
    /// Its client was sent away and is expected back within this time after it has left.
    pub(super) moving: Option<Duration>,
}

impl Subject {
    pub(super) fn of(connection: &Connection) -> Self {
        let listed = connection.listed.load(Ordering::Relaxed) > 0;
        let moving = connection.sent_away().map(|hint| hint + RETURN);
        Self { user: connection.user.clone(), id: connection.id, listed, moving }
    }
}

/// Whether a removal made its user offline, and the version of the entry that says so, or the time (us since the
/// epoch) when the entry was lost or an earlier removal went unanswered. Pure.
pub(super) fn offline_since(nodes: &UserNodes, listed: bool, now_us: u64) -> Option<u64> {
    match nodes {
        // Of one who is moving the directory tells it, should it not come back.
        UserNodes { unknown: true, .. } | UserNodes { moving: true, .. } => None,
        UserNodes { instances, .. } if !instances.is_empty() => None,
        UserNodes { ver: 0, .. } => listed.then_some(now_us),
        UserNodes { ver, .. } => Some(*ver),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_said_to_be_offline_only_when_the_registry_knows_it() {
        let nodes = |ver, others: &[&str], unknown| UserNodes {
            ver,
            instances: others.iter().map(|node| node.parse().unwrap()).collect(),
            unknown,
            moving: false,
        };
        let cases = [
            (nodes(7, &[], false), true, Some(7)),
            (nodes(7, &[], false), false, Some(7)),
            (nodes(7, &["b#k.1"], false), true, None),
            // The entry is lost, or was removed by a try that got no answer.
            (nodes(0, &[], false), true, Some(99)),
            // It never was in the directory.
            (nodes(0, &[], false), false, None),
            (nodes(0, &[], true), true, None),
            (UserNodes { moving: true, ..nodes(7, &[], false) }, true, None),
        ];
        for (nodes, listed, expected) in cases {
            assert_eq!(offline_since(&nodes, listed, 99), expected, "{nodes:?} {listed}");
        }
    }
}
