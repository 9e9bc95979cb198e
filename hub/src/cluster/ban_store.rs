//! Bans and revocations in Redis. Both lapse by themselves.

use std::time::{Duration, SystemTime};

use super::{
    membership::millis,
    presence_entry::{ban_json, parse_ban},
    redis_directory::RedisDirectory,
    scripts,
};
use crate::{
    identity::UserId,
    routing::ports::{Ban, DirectoryError},
};

/// How long a revocation is kept: tokens must not be valid for longer.
const REVOCATION_LIFE: Duration = Duration::from_hours(30 * 24);

impl RedisDirectory {
    pub(super) async fn write_ban(&self, user: &UserId, ban: Option<&Ban>) -> Result<(), DirectoryError> {
        let key = self.keys.ban(user);
        let left = ban.map(|ban| ban.until.duration_since(SystemTime::now()).unwrap_or_default());
        let command = match (ban, left) {
            (Some(ban), Some(left)) if !left.is_zero() => {
                let mut set = redis::cmd("SET");
                set.arg(key).arg(ban_json(ban)?).arg("PX").arg(millis(left));
                set
            }
            _ => {
                let mut delete = redis::cmd("DEL");
                delete.arg(key);
                delete
            }
        };
        self.link.command::<redis::Value>(&command).await?;
        Ok(())
    }

    pub(super) async fn read_ban(&self, user: &UserId) -> Result<Option<Ban>, DirectoryError> {
        let key = self.keys.ban(user);
        let mut pipeline = redis::pipe();
        pipeline.cmd("GET").arg(&key).cmd("PTTL").arg(&key);
        let (text, left_ms): (Option<String>, i64) = self.link.pipeline(&pipeline).await?;
        Ok(text.map(|text| parse_ban(&text, left_ms)))
    }

    pub(super) async fn write_revocation(&self, user: &UserId, before: u64) -> Result<u64, DirectoryError> {
        let mut script = scripts::REVOKE.key(self.keys.revoked(user));
        script.arg(before).arg(millis(REVOCATION_LIFE));
        Ok(self.link.script(&script).await?)
    }
}
