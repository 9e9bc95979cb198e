//! Sessions of a cluster inside one process. Pure: the clock is passed in.

use std::{
    collections::HashMap,
    time::{Duration, SystemTime},
};

use crate::{
    identity::{SessionId, UserId},
    routing::session_state::{KEPT_BETWEEN_ASSERTIONS, SessionState},
};

/// Sessions that are kept. In Redis its memory is the bound.
const MOST: usize = 1_000_000;

/// What is kept of clients, each for its time.
#[derive(Default)]
pub(super) struct MemorySessions {
    of_user: HashMap<UserId, Vec<(SessionId, SessionState, SystemTime)>>,
    count: usize,
    /// Number at which the old ones are looked for again.
    look_at: usize,
}

impl MemorySessions {
    /// Keeps a session for as long as its connection is asserted, and `window` beyond. With no room it is not kept, and
    /// its client begins anew.
    pub(super) fn keep(
        &mut self,
        user: &UserId,
        session: SessionId,
        state: SessionState,
        window: Duration,
        now: SystemTime,
    ) {
        if self.count >= self.look_at {
            self.expire(now);
            self.look_at = (2 * self.count).clamp(1024, MOST);
        }
        let until = now + window + KEPT_BETWEEN_ASSERTIONS;
        let known = self.of_user.get_mut(user).and_then(|of| of.iter_mut().find(|(id, ..)| *id == session));
        if let Some(kept) = known {
            *kept = (session, state, until);
        } else if self.count < MOST {
            self.of_user.entry(user.clone()).or_default().push((session, state, until));
            self.count += 1;
        }
    }

    /// What is kept of a session.
    pub(super) fn get(&self, user: &UserId, session: SessionId, now: SystemTime) -> Option<SessionState> {
        let kept = self.of_user.get(user)?.iter().find(|(id, _, until)| *id == session && *until > now)?;
        Some(kept.1.clone())
    }

    /// Its connection ended: from now on it is kept for `window`; none for not at all.
    pub(super) fn end(
        &mut self,
        user: &UserId,
        session: SessionId,
        window: Option<Duration>,
        now: SystemTime,
    ) {
        let Some(sessions) = self.of_user.get_mut(user) else { return };
        match window {
            Some(window) => {
                if let Some(kept) = sessions.iter_mut().find(|(id, ..)| *id == session) {
                    kept.2 = now + window;
                }
            }
            None => {
                let before = sessions.len();
                sessions.retain(|(id, ..)| *id != session);
                self.count -= before - sessions.len();
            }
        }
        if sessions.is_empty() {
            self.of_user.remove(user);
        }
    }

    /// Forgets all of a user.
    pub(super) fn forget(&mut self, user: &UserId) {
        self.count -= self.of_user.remove(user).map_or(0, |sessions| sessions.len());
    }

    fn expire(&mut self, now: SystemTime) {
        self.count = 0;
        self.of_user.retain(|_, sessions| {
            sessions.retain(|(_, _, until)| *until > now);
            self.count += sessions.len();
            !sessions.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::identity::ClientId;

    const WINDOW: Duration = Duration::from_secs(120);

    fn state() -> SessionState {
        SessionState { client_id: ClientId::new("phone").unwrap(), groups: Vec::new(), given: Vec::new() }
    }

    #[test]
    fn a_session_is_there_for_its_window_after_its_end_and_only_for_its_user() {
        let (mut sessions, session) = (MemorySessions::default(), SessionId::random());
        let (alice, eve) = (UserId::new("alice").unwrap(), UserId::new("eve").unwrap());
        sessions.keep(&alice, session, state(), WINDOW, UNIX_EPOCH);
        let end = UNIX_EPOCH + KEPT_BETWEEN_ASSERTIONS;
        assert_eq!(sessions.get(&alice, session, end), Some(state()));
        assert_eq!(sessions.get(&eve, session, end), None);
        sessions.end(&alice, session, Some(WINDOW), end);
        assert_eq!(sessions.get(&alice, session, end + WINDOW - Duration::from_millis(1)), Some(state()));
        assert_eq!(sessions.get(&alice, session, end + WINDOW), None);
        sessions.keep(&alice, session, state(), WINDOW, end);
        sessions.end(&alice, session, None, end);
        assert_eq!((sessions.get(&alice, session, end), sessions.count), (None, 0));
        sessions.keep(&alice, session, state(), WINDOW, end);
        sessions.forget(&alice);
        assert_eq!((sessions.get(&alice, session, end), sessions.count), (None, 0));
    }

    #[test]
    fn old_sessions_are_forgotten_though_nobody_asks() {
        let mut sessions = MemorySessions::default();
        for n in 0..5_000u32 {
            let user = UserId::new(format!("u{n}")).unwrap();
            let (session, now) = (SessionId::random(), UNIX_EPOCH + Duration::from_secs(u64::from(n)));
            sessions.keep(&user, session, state(), Duration::ZERO, now);
            sessions.end(&user, session, Some(Duration::from_secs(10)), now);
        }
        assert!(sessions.count <= 1_100, "{}", sessions.count);
        assert_eq!(sessions.count, sessions.of_user.len());
    }
}
