//! Users that were sent away: whoever has not come back in time is told offline, once, by any node that lives.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use tokio_util::sync::CancellationToken;

use super::{
    event_stream::{FIELD, MOST_EVENTS},
    key_space::KeySpace,
    membership::millis,
    redis_link::RedisLink,
    registry_error::RegistryError,
    scripts,
    standing::Standing,
};
use crate::{
    identity::{NodeId, UserId},
    protocol::event::Event,
    routing::router::rfc3339,
};

/// Between two looks at who is overdue.
const LOOK: Duration = Duration::from_secs(1);
/// Users looked at in one go.
const CHUNK: usize = 256;
/// How long a user's entry says that it was moving, after it is overdue: until then somebody has told it.
const KEPT: Duration = Duration::from_mins(1);
/// Life of the list, should nobody want events any more.
const LIST_LIFE: Duration = Duration::from_hours(1);

/// Users that were sent away, for the events. Without events nothing is kept.
pub(super) struct MovedUsers {
    link: Arc<RedisLink>,
    keys: KeySpace,
    events: bool,
}

impl MovedUsers {
    pub(super) fn new(link: Arc<RedisLink>, keys: KeySpace, events: bool) -> Self {
        Self { link, keys, events }
    }

    /// For how many ms the entry of an overdue user is kept.
    pub(super) fn kept_ms(&self) -> u64 {
        if self.events { millis(KEPT) } else { 0 }
    }

    /// A user left a node to come back to another. `ver`: version of the entry that says so; `until`: ms since the epoch.
    pub(super) async fn note(
        &self,
        user: &UserId,
        ver: u64,
        node: &NodeId,
        until: u64,
    ) -> Result<(), RegistryError> {
        if !self.events {
            return Ok(());
        }
        let key = self.keys.moved_users();
        let mut pipeline = redis::pipe();
        pipeline.cmd("ZADD").arg(&key).arg(until).arg(member(user, ver, node)).ignore();
        pipeline.cmd("PEXPIRE").arg(&key).arg(millis(LIST_LIFE)).ignore();
        self.link.pipeline::<()>(&pipeline).await.map_err(|failure| failure.error)
    }

    /// Tells who is overdue until told to stop.
    pub(super) async fn run(&self, standing: &Standing, shutdown: CancellationToken) {
        if !self.events {
            return;
        }
        // Not all nodes at the same moment: one of them is enough.
        while shutdown
            .run_until_cancelled(tokio::time::sleep(LOOK.mul_f64(0.5 + rand::random::<f64>())))
            .await
            .is_some()
        {
            if standing.holds(Instant::now()).is_none() {
                continue;
            }
            if let Err(error) = self.tell().await {
                tracing::debug!(%error, "who did not come back is told later");
            }
        }
    }

    async fn tell(&self) -> Result<(), RegistryError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut overdue = redis::cmd("ZRANGEBYSCORE");
        overdue.arg(self.keys.moved_users()).arg("-inf").arg(millis(now)).arg("LIMIT").arg(0).arg(CHUNK);
        let members: Vec<String> = self.link.command(&overdue).await.map_err(|failure| failure.error)?;
        for member in members {
            let Some((ver, node, user)) = parse(&member) else {
                self.forget(&member).await?;
                continue;
            };
            let mut script = scripts::NOT_BACK.key(self.keys.connections(&user));
            script.arg(ver.to_string());
            match self.link.script::<u8>(&script).await.map_err(|failure| failure.error)? {
                0 => self.forget(&member).await?,
                1 => {
                    let at = rfc3339(SystemTime::now());
                    let event = Event::offline(&user, ver, &node, at, Some("not_back"));
                    let mut emit = scripts::EMIT_ONCE.key(self.keys.moved_users());
                    emit.key(self.keys.events())
                        .arg(&member)
                        .arg(MOST_EVENTS)
                        .arg(FIELD)
                        .arg(event.to_json());
                    self.link.script::<()>(&emit).await.map_err(|failure| failure.error)?;
                }
                // Its clock says that there is time left.
                _ => {}
            }
        }
        Ok(())
    }

    async fn forget(&self, member: &str) -> Result<(), RegistryError> {
        let mut forget = redis::cmd("ZREM");
        forget.arg(self.keys.moved_users()).arg(member);
        self.link.command::<()>(&forget).await.map_err(|failure| failure.error)
    }
}

/// Neither a version nor a node's id has a space.
fn member(user: &UserId, ver: u64, node: &NodeId) -> String {
    format!("{ver} {node} {user}")
}

fn parse(member: &str) -> Option<(u64, NodeId, UserId)> {
    let mut parts = member.splitn(3, ' ');
    let (ver, node, user) = (parts.next()?, parts.next()?, parts.next()?);
    Some((ver.parse().ok()?, NodeId::new(node).ok()?, UserId::new(user).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_says_who_left_where_and_when() {
        let (user, node) = (UserId::new("al@ice").unwrap(), NodeId::new("chat-0").unwrap());
        assert_eq!(parse(&member(&user, 17, &node)), Some((17, node, user)));
        for strange in ["", "17", "17 chat-0", "x chat-0 alice", "17 Chat alice", "17 chat-0 a b"] {
            assert_eq!(parse(strange), None, "{strange}");
        }
    }
}
