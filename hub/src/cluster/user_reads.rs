//! Where users are, read from Redis and held against the leases.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use super::{presence_entry::UserHash, redis_directory::RedisDirectory, scripts};
use crate::{
    identity::UserId,
    routing::ports::{DirectoryError, Presence},
};

impl RedisDirectory {
    /// Where a user is. That it is nowhere is answered only when the registry is known to be whole.
    pub(super) async fn read(&self, user: &UserId) -> Result<Presence, DirectoryError> {
        let mut again = true;
        loop {
            let (mut presence, may_move) = self.read_user(user).await?;
            if may_move && presence.connections.is_empty() {
                presence.moving = self.is_moving(user).await?;
                // It has come back between the two answers, or is not expected any more.
                if !presence.moving && std::mem::take(&mut again) {
                    continue;
                }
            }
            return Ok(presence);
        }
    }

    /// Where many users are, in their order, read with one exchange.
    pub(super) async fn read_many(&self, users: &[UserId]) -> Result<Vec<Presence>, DirectoryError> {
        if users.is_empty() {
            return Ok(Vec::new());
        }
        let keys: Vec<_> = users.iter().map(|user| self.keys.connections(user)).collect();
        let marker_keys: Vec<_> =
            keys.iter().map(|key| self.keys.marker(self.link.tag_beside(key).as_deref())).collect();
        let distinct: BTreeSet<&String> = marker_keys.iter().collect();
        let mut pipeline = redis::pipe();
        for key in &keys {
            pipeline.cmd("HGETALL").arg(key);
        }
        // After the hashes, as for one user.
        for key in &distinct {
            pipeline.cmd("GET").arg(*key);
        }
        let mut answers: Vec<redis::Value> = self.link.pipeline(&pipeline).await?;
        let strange =
            |e: redis::ParsingError| DirectoryError::Unavailable(format!("other: redis answered: {e}"));
        let markers = answers.split_off(users.len().min(answers.len()));
        let mut found = BTreeMap::new();
        for (key, marker) in distinct.into_iter().zip(markers) {
            found.insert(key, redis::from_redis_value::<Option<String>>(marker).map_err(strange)?);
        }
        let mut hashes = Vec::with_capacity(users.len());
        for (user, answer) in users.iter().zip(answers) {
            let pairs: Vec<(String, String)> = redis::from_redis_value(answer).map_err(strange)?;
            hashes.push(UserHash::parse(user, &pairs));
        }
        // One look at all leases; those that follow are answered from what it found.
        self.leases.live(&hashes.iter().flat_map(UserHash::instances).collect()).await?;
        let mut presences = Vec::with_capacity(hashes.len());
        for ((hash, key), user) in hashes.into_iter().zip(&marker_keys).zip(users) {
            let may_move = hash.moving;
            let mut presence = self.filter(hash).await?;
            let marker = found.get(key).and_then(Option::as_deref);
            presence.doubtful |= presence.connections.is_empty()
                && !self.wholeness.absence_counts(key, marker, Instant::now());
            if may_move && presence.connections.is_empty() {
                presence = self.read(user).await?;
            }
            presences.push(presence);
        }
        Ok(presences)
    }

    /// Where a user is, and whether its entry says that it may be on the move.
    async fn read_user(&self, user: &UserId) -> Result<(Presence, bool), DirectoryError> {
        let key = self.keys.connections(user);
        let marker_key = self.keys.marker(self.link.tag_beside(&key).as_deref());
        let mut pipeline = redis::pipe();
        pipeline.cmd("HGETALL").arg(&key);
        // After the hash, on the same server: a marker that is as expected then was so when the hash was read.
        pipeline.cmd("GET").arg(&marker_key);
        let (pairs, marker): (Vec<(String, String)>, Option<String>) = self.link.pipeline(&pipeline).await?;
        let hash = UserHash::parse(user, &pairs);
        let may_move = hash.moving;
        Ok((self.filter_under(hash, &marker_key, marker.as_deref()).await?, may_move))
    }

    /// Whether a user without connections is expected back, by the clock of the server that says so.
    async fn is_moving(&self, user: &UserId) -> Result<bool, DirectoryError> {
        let script = scripts::MOVING.key(self.keys.connections(user));
        let left: u64 = self.link.script(&script).await?;
        Ok(left > 0)
    }

    /// Leaves out what dead nodes left behind. Right after Redis was away nobody is taken for dead for good.
    pub(super) async fn filter(&self, hash: UserHash) -> Result<Presence, DirectoryError> {
        let live = self.leases.live(&hash.instances()).await?;
        if !hash.is_empty()
            && !hash.instances().iter().any(|instance| live.contains(instance))
            && !self.standing.absence_counts(Instant::now())
        {
            return Ok(hash.doubtful_presence());
        }
        Ok(hash.presence(&live))
    }

    /// The same for an answer that may say that the user is nowhere: `marker` was read after the hash, from
    /// `marker_key`.
    async fn filter_under(
        &self,
        hash: UserHash,
        marker_key: &str,
        marker: Option<&str>,
    ) -> Result<Presence, DirectoryError> {
        let presence = self.filter(hash).await?;
        if presence.connections.is_empty()
            && !self.wholeness.absence_counts(marker_key, marker, Instant::now())
        {
            let why = "other: the registry is not whole yet, so nobody can be said to be offline";
            return Err(DirectoryError::Unavailable(why.to_owned()));
        }
        Ok(presence)
    }
}
