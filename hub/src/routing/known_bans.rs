//! Bans that this node heard of, for the time when Redis cannot be asked. Pure: the clock is passed in.

use std::{collections::HashMap, time::SystemTime};

use parking_lot::Mutex;

use super::ports::Ban;
use crate::identity::UserId;

/// Bans that are remembered. Beyond it those that end first are forgotten: Redis has them all.
const MOST: usize = 65_536;

/// Bans that this node heard of.
#[derive(Debug, Default)]
pub struct KnownBans(Mutex<HashMap<UserId, Ban>>);

impl KnownBans {
    /// Remembers a ban, or forgets it when it was lifted.
    pub fn note(&self, user: &UserId, ban: Option<Ban>, now: SystemTime) {
        let mut bans = self.0.lock();
        let Some(ban) = ban.filter(|ban| ban.until > now) else {
            bans.remove(user);
            return;
        };
        if bans.len() >= MOST {
            bans.retain(|_, ban| ban.until > now);
        }
        if bans.len() >= MOST && !bans.contains_key(user) {
            let mut ends: Vec<_> = bans.values().map(|ban| ban.until).collect();
            let (_, median, _) = ends.select_nth_unstable(MOST / 2);
            let median = *median;
            bans.retain(|_, ban| ban.until > median);
        }
        bans.insert(user.clone(), ban);
    }

    /// A ban that has not ended.
    #[must_use]
    pub fn of(&self, user: &UserId, now: SystemTime) -> Option<Ban> {
        self.0.lock().get(user).filter(|ban| ban.until > now).cloned()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    fn ban(seconds: u64) -> Option<Ban> {
        Some(Ban { until: UNIX_EPOCH + Duration::from_secs(seconds), reason: String::new() })
    }

    #[test]
    fn bans_end_are_lifted_and_are_bounded() {
        let (bans, alice) = (KnownBans::default(), UserId::new("alice").unwrap());
        bans.note(&alice, ban(9), UNIX_EPOCH);
        assert_eq!(bans.of(&alice, UNIX_EPOCH), ban(9));
        assert_eq!(bans.of(&alice, UNIX_EPOCH + Duration::from_secs(9)), None);
        bans.note(&alice, None, UNIX_EPOCH);
        assert_eq!(bans.of(&alice, UNIX_EPOCH), None);
        for n in 0..70_000_u64 {
            bans.note(&UserId::new(format!("u{n}")).unwrap(), ban(10 + n), UNIX_EPOCH);
        }
        assert!(bans.0.lock().len() <= MOST);
        assert!(bans.of(&UserId::new("u69999").unwrap(), UNIX_EPOCH).is_some(), "the longest are kept");
    }
}
