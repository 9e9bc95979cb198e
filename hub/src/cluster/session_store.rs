//! Sessions of clients in Redis. All of them lapse by themselves.

use std::time::Duration;

use super::{membership::millis, redis_directory::RedisDirectory, scripts};
use crate::{
    identity::{SessionId, UserId},
    routing::{
        ports::{ConnectionRecord, DirectoryError},
        session_state::{KEPT_BETWEEN_ASSERTIONS, SessionState},
    },
};

/// What the connect script is told of a session.
pub(super) struct SessionArguments {
    /// The keys of the session and of all of the user's.
    pub(super) keys: [String; 2],
    /// What is kept; empty for nothing.
    pub(super) state: String,
    /// For how many ms.
    pub(super) life: u64,
    /// The session; empty for none.
    pub(super) session: String,
}

impl RedisDirectory {
    pub(super) fn session_arguments(
        &self,
        record: &ConnectionRecord,
    ) -> Result<SessionArguments, DirectoryError> {
        let sessions = self.keys.sessions(&record.user);
        let life = millis(self.resume_window + KEPT_BETWEEN_ASSERTIONS);
        let Some((session, state)) = record.session.as_ref().filter(|_| !self.resume_window.is_zero()) else {
            let (state, session) = (String::new(), String::new());
            return Ok(SessionArguments { keys: [sessions.clone(), sessions], state, life, session });
        };
        let state = serde_json::to_string(state);
        let state = state.map_err(|error| DirectoryError::Unavailable(format!("other: {error}")))?;
        let keys = [self.keys.session(&record.user, *session), sessions];
        Ok(SessionArguments { keys, state, life, session: session.to_string() })
    }

    pub(super) async fn read_session(
        &self,
        user: &UserId,
        session: SessionId,
    ) -> Result<Option<SessionState>, DirectoryError> {
        let mut get = redis::cmd("GET");
        get.arg(self.keys.session(user, session));
        let text: Option<String> = self.link.command(&get).await?;
        // What cannot be read is as good as lost.
        Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
    }

    pub(super) async fn close_session(
        &self,
        user: &UserId,
        session: SessionId,
        resumable: bool,
    ) -> Result<(), DirectoryError> {
        let kept = if resumable { self.resume_window } else { Duration::ZERO };
        let mut script = scripts::END_SESSION.key(self.keys.session(user, session));
        script.key(self.keys.sessions(user)).arg(session.to_string()).arg(millis(kept));
        Ok(self.link.script(&script).await?)
    }

    pub(super) async fn delete_sessions(&self, user: &UserId) -> Result<(), DirectoryError> {
        let key = self.keys.sessions(user);
        let mut range = redis::cmd("ZRANGE");
        range.arg(&key).arg(0).arg(-1);
        let sessions: Vec<String> = self.link.command(&range).await?;
        let mut delete = redis::cmd("DEL");
        for session in sessions.iter().filter_map(|session| session.parse().ok()) {
            delete.arg(self.keys.session(user, session));
        }
        delete.arg(key);
        self.link.command::<redis::Value>(&delete).await?;
        Ok(())
    }
}
