//! Users who lost their last connection here, until it is certain that they have none elsewhere.

use std::collections::HashMap;

use parking_lot::Mutex;

use crate::identity::UserId;

/// Users who wait to be told offline. Beyond it nobody is added, and whoever adds counts the event as dropped.
const MOST: usize = 65_536;

/// Users with the version of the entry that says so.
#[derive(Debug, Default)]
pub(super) struct OfflineNews(Mutex<HashMap<UserId, u64>>);

impl OfflineNews {
    /// Notes a user. False when too many wait already.
    pub(super) fn note(&self, user: &UserId, ver: u64) -> bool {
        let mut waiting = self.0.lock();
        let room = waiting.len() < MOST || waiting.contains_key(user);
        if room {
            waiting.insert(user.clone(), ver);
        }
        room
    }

    /// The version under which a user is to be told offline, once.
    pub(super) fn take(&self, user: &UserId) -> Option<u64> {
        self.0.lock().remove(user)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.lock().is_empty()
    }

    /// Who waits.
    pub(super) fn users(&self) -> Vec<UserId> {
        self.0.lock().keys().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_taken_once_and_not_too_many_wait() {
        let (news, alice) = (OfflineNews::default(), UserId::new("alice").unwrap());
        assert!(news.is_empty());
        news.note(&alice, 7);
        assert_eq!(news.users(), std::slice::from_ref(&alice));
        assert_eq!((news.take(&alice), news.take(&alice)), (Some(7), None));
        let taken = (0..=MOST).filter(|n| news.note(&UserId::new(format!("u{n}")).unwrap(), 1)).count();
        assert_eq!((taken, news.users().len()), (MOST, MOST));
        assert!(!news.note(&alice, 9));
    }
}
