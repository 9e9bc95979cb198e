//! Writes a connection into the directory: the index of its node, then the hash of its user.

use super::{
    connect_answer::ConnectAnswer,
    presence_entry::{UserHash, device_in_entry, entry_json, field, field_prefix, nodes_of_fields},
    redis_directory::RedisDirectory,
    scripts,
};
#[cfg(test)]
use crate::fault::{self, Fault};
use crate::{
    identity::{NodeInstance, UserId},
    routing::ports::{Ban, Connected, ConnectionRecord, DirectoryError},
};

impl RedisDirectory {
    /// Writes a connection, first into the index, and says where its user is now.
    pub(super) async fn write(&self, record: ConnectionRecord) -> Result<Connected, DirectoryError> {
        let entry = entry_json(&record)?;
        let device = record.device().map_or_else(String::new, device_in_entry);
        let session = self.session_arguments(&record)?;
        let _slot = self.slot(&record.user).lock().await;
        let instance = self.instance().inspect_err(|_| self.standing.note_failed_write())?;
        let own = field(&instance, record.connection);
        let mut index = redis::cmd("SADD");
        index.arg(self.keys.user_index(&instance)).arg(record.user.as_str());
        #[cfg(test)]
        if fault::is(Fault::NoIndexOnConnect) {
            index = redis::cmd("PING");
        }
        // Who lives is asked only when there seem to be too many.
        let mut dead: Option<Vec<String>> = None;
        loop {
            let ban = self.keys.ban(&record.user);
            #[cfg(test)]
            let ban = if fault::is(Fault::BanNotChecked) { format!("{ban}:none") } else { ban };
            let mut script = scripts::CONNECT.key(self.keys.connections(&record.user));
            script.key(ban).key(self.keys.revoked(&record.user)).key(&session.keys).arg(&own).arg(&entry);
            script.arg(record.token_issued_at.map_or_else(String::new, |at| at.to_string()));
            script.arg(self.login.most).arg(if self.login.reject { "reject" } else { "close_oldest" });
            script.arg(&device).arg(&session.state).arg(session.life).arg(&session.session);
            script.arg(u8::from(dead.is_some())).arg(dead.as_deref().unwrap_or_default());
            let answer =
                self.link.command_then_script::<redis::Value>(&index, &script).await.map_err(|failure| {
                    self.standing.note_failed_write();
                    DirectoryError::from(failure)
                })?;
            match ConnectAnswer::read(answer)? {
                ConnectAnswer::Hash(pairs, changed, returned) => {
                    let hash = UserHash::parse(&record.user, &pairs);
                    let connected = self.connected(hash, changed, &record).await?;
                    return Ok(Connected { returned, ..connected });
                }
                ConnectAnswer::Banned(Ban { until, reason }) => {
                    return self
                        .refused(&instance, &record.user, DirectoryError::Banned { until, reason })
                        .await;
                }
                ConnectAnswer::Revoked(before) => {
                    return self.refused(&instance, &record.user, DirectoryError::Revoked { before }).await;
                }
                ConnectAnswer::TooMany => {
                    let error = DirectoryError::TooMany(self.login.most);
                    return self.refused(&instance, &record.user, error).await;
                }
                ConnectAnswer::WhoLives(_) if dead.is_some() => {
                    let why = "other: the connect script asks again who lives".to_owned();
                    return Err(DirectoryError::Unavailable(why));
                }
                ConnectAnswer::WhoLives(fields) => {
                    let instances = nodes_of_fields(&fields);
                    let live = self.leases.live(&instances.iter().cloned().collect()).await?;
                    let gone = instances.iter().filter(|instance| !live.contains(instance));
                    dead = Some(gone.map(field_prefix).collect());
                }
            }
        }
    }

    /// The index was written for nothing, unless the user has another entry of this instance. The caller holds the
    /// user's slot.
    async fn refused(
        &self,
        instance: &NodeInstance,
        user: &UserId,
        error: DirectoryError,
    ) -> Result<Connected, DirectoryError> {
        let mut names = redis::cmd("HKEYS");
        names.arg(self.keys.connections(user));
        // What fails leaves an index entry too many, as a crash would.
        if let Ok(names) = self.link.command::<Vec<String>>(&names).await {
            let own = field_prefix(instance);
            if !names.iter().any(|name| name.starts_with(&own)) {
                let mut index = redis::cmd("SREM");
                index.arg(self.keys.user_index(instance)).arg(user.as_str());
                let _ = self.link.command::<()>(&index).await;
            }
        }
        Err(error)
    }

    async fn connected(
        &self,
        mut hash: UserHash,
        changed: bool,
        record: &ConnectionRecord,
    ) -> Result<Connected, DirectoryError> {
        let mut replaced = std::mem::take(&mut hash.replaced);
        if replaced.iter().any(|connection| connection.record.connection == record.connection) {
            return Err(DirectoryError::Replaced);
        }
        let presence = self.filter(hash).await?;
        replaced.retain(|connection| presence.connections.contains(connection));
        Ok(Connected { presence, changed, replaced, returned: false })
    }
}
