//! Users, bans and revocations of a cluster inside one process. Pure: the clock is passed in.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crate::{
    identity::{ConnectionId, NodeId, NodeInstance, UserId},
    routing::ports::{Ban, Connected, DirectoryError, LoginPolicy, Presence, PresentConnection, UserNodes},
};

/// Bans, and revocations, that are kept. In Redis its memory is the bound.
const VERDICTS: usize = 65_536;

#[derive(Default)]
struct User {
    ver: u64,
    /// Oldest first; with each whether a newer one takes its place.
    connections: Vec<(PresentConnection, bool)>,
    /// A client was sent away and is expected back until then.
    moving: Option<SystemTime>,
}

impl User {
    fn presence(&self, now: SystemTime) -> Presence {
        let connections: Vec<_> = self.connections.iter().map(|(connection, _)| connection.clone()).collect();
        let moving = connections.is_empty() && self.moving.is_some_and(|until| until > now);
        Presence { ver: self.ver, connections, doubtful: false, moving }
    }
}

/// Who is where, and who is kept out.
#[derive(Default)]
pub(super) struct MemoryUsers {
    users: HashMap<UserId, User>,
    /// Users without connections that are expected back, by the end of their time, and where they were.
    moving: BTreeMap<(SystemTime, UserId), NodeId>,
    bans: HashMap<UserId, Ban>,
    revoked: HashMap<UserId, u64>,
}

impl MemoryUsers {
    /// Decides about a connection and writes it, as the connect script does.
    pub(super) fn connect(
        &mut self,
        present: PresentConnection,
        login: LoginPolicy,
        now: SystemTime,
    ) -> Result<Connected, DirectoryError> {
        let record = &present.record;
        if let Some(Ban { until, reason }) = self.ban(&record.user, now) {
            return Err(DirectoryError::Banned { until, reason });
        }
        let revoked = self.revoked.get(&record.user).copied();
        if let (Some(issued), Some(before)) = (record.token_issued_at, revoked)
            && issued < before
        {
            return Err(DirectoryError::Revoked { before });
        }
        let user = self.users.entry(record.user.clone()).or_default();
        let place = user.connections.iter().position(|(c, _)| c.record.connection == record.connection);
        let mut changed = false;
        if let (Some(device), None) = (record.device(), place) {
            for (other, replaced) in &mut user.connections {
                if !*replaced && other.record.client == *device {
                    (*replaced, changed) = (true, true);
                }
            }
        }
        if login.most > 0 && !place.is_some_and(|place| user.connections[place].1) {
            let counts = |(c, replaced): &&mut (PresentConnection, bool)| {
                !*replaced && c.record.connection != record.connection
            };
            let most = usize::try_from(login.most).unwrap_or(usize::MAX);
            let others = user.connections.iter_mut().filter(counts).count();
            let excess = (others + 1).saturating_sub(most);
            if excess > 0 && login.reject && place.is_none() {
                return Err(DirectoryError::TooMany(login.most));
            }
            if !login.reject {
                for (_, replaced) in user.connections.iter_mut().filter(counts).take(excess) {
                    (*replaced, changed) = (true, true);
                }
            }
        }
        match place {
            Some(place) if user.connections[place].1 => return Err(DirectoryError::Replaced),
            Some(place) => {
                changed |= user.connections[place].0 != present;
                user.connections[place].0 = present;
            }
            None => {
                changed = true;
                user.connections.push((present, false));
            }
        }
        if changed {
            user.ver = next_ver(user.ver, now);
        }
        let replaced = user.connections.iter().filter(|(_, replaced)| *replaced).map(|(c, _)| c.clone());
        let replaced = replaced.collect();
        let returned = user.moving.take().is_some();
        Ok(Connected { presence: user.presence(now), changed, replaced, returned })
    }

    /// Removes a connection and says where the user is now. `moving`: for how long its client is expected back.
    pub(super) fn disconnect(
        &mut self,
        user: &UserId,
        connection: ConnectionId,
        instance: &NodeInstance,
        moving: Option<Duration>,
        now: SystemTime,
    ) -> UserNodes {
        let Some(entry) = self.users.get_mut(user) else { return UserNodes::default() };
        let before = entry.connections.len();
        entry.connections.retain(|(c, _)| c.record.connection != connection || c.instance != *instance);
        let here = entry.connections.iter().any(|(c, _)| c.instance == *instance);
        entry.ver = next_ver(entry.ver, now);
        if let Some(moving) = moving
            && entry.connections.len() < before
            && !here
        {
            entry.moving = entry.moving.max(Some(now + moving));
        }
        let nodes = entry.presence(now).nodes();
        match entry.moving {
            Some(until) if nodes.moving => {
                drop(self.moving.insert((until, user.clone()), instance.node.clone()));
            }
            _ if entry.connections.is_empty() => drop(self.users.remove(user)),
            _ => {}
        }
        nodes
    }

    /// Forgets users who have not come back in time, and says who they are: version of the entry, and where they were.
    pub(super) fn not_back(&mut self, now: SystemTime) -> Vec<(UserId, u64, NodeId)> {
        let mut gone = Vec::new();
        while let Some(first) = self.moving.first_entry()
            && first.key().0 <= now
        {
            let ((_, user), node) = first.remove_entry();
            let overdue =
                |entry: &&User| entry.connections.is_empty() && entry.moving.is_none_or(|until| until <= now);
            if let Some(entry) = self.users.get(&user).filter(overdue) {
                gone.push((user.clone(), entry.ver, node));
                self.users.remove(&user);
            }
        }
        gone
    }

    /// Where a user is.
    pub(super) fn locate(&self, user: &UserId, now: SystemTime) -> Presence {
        self.users.get(user).unwrap_or(&User::default()).presence(now)
    }

    /// A node is gone, and its connections with it.
    pub(super) fn remove_node(&mut self, instance: &NodeInstance) {
        self.users.retain(|_, user| {
            user.connections.retain(|(connection, _)| connection.instance != *instance);
            !user.connections.is_empty() || user.moving.is_some()
        });
    }

    /// Writes a ban, or lifts it.
    pub(super) fn set_ban(
        &mut self,
        user: &UserId,
        ban: Option<&Ban>,
        now: SystemTime,
    ) -> Result<(), DirectoryError> {
        match ban {
            Some(ban) if ban.until > now => {
                if self.bans.len() >= VERDICTS {
                    self.bans.retain(|_, ban| ban.until > now);
                }
                if self.bans.len() >= VERDICTS && !self.bans.contains_key(user) {
                    return Err(DirectoryError::Unavailable(format!(
                        "other: {VERDICTS} bans are kept already"
                    )));
                }
                self.bans.insert(user.clone(), ban.clone());
            }
            _ => drop(self.bans.remove(user)),
        }
        Ok(())
    }

    /// A ban that has not ended.
    pub(super) fn ban(&self, user: &UserId, now: SystemTime) -> Option<Ban> {
        self.bans.get(user).filter(|ban| ban.until > now).cloned()
    }

    /// Refuses older tokens from now on.
    pub(super) fn revoke(&mut self, user: &UserId, before: u64) -> Result<u64, DirectoryError> {
        if self.revoked.len() >= VERDICTS && !self.revoked.contains_key(user) {
            let why = format!("other: {VERDICTS} revocations are kept already");
            return Err(DirectoryError::Unavailable(why));
        }
        let counts = self.revoked.entry(user.clone()).or_default();
        *counts = before.max(*counts);
        Ok(*counts)
    }
}

/// Rises with time, as the directory in Redis does, so that a user who is gone and back is newer.
fn next_ver(ver: u64, now: SystemTime) -> u64 {
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    ver.saturating_add(1).max(u64::try_from(now.as_micros()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{identity::ClientId, routing::ports::ConnectionRecord};

    const NOW: SystemTime = UNIX_EPOCH;

    fn connection(token_issued_at: Option<u64>) -> PresentConnection {
        let connection = ConnectionId::new(ulid::Ulid::generate());
        PresentConnection {
            instance: "n#a.1".parse().unwrap(),
            record: ConnectionRecord {
                user: UserId::new("alice").unwrap(),
                connection,
                client: ClientId::new(connection.to_string()).unwrap(),
                connected_at: NOW,
                remote_address: String::new(),
                token_issued_at,
                session: None,
            },
        }
    }

    #[test]
    fn the_oldest_go_once_when_there_are_too_many() {
        let login = LoginPolicy { most: 2, reject: false };
        let mut users = MemoryUsers::default();
        let all = [connection(None), connection(None), connection(None)];
        for connection in &all[..2] {
            assert!(users.connect(connection.clone(), login, NOW).unwrap().replaced.is_empty());
        }
        for _ in 0..2 {
            let third = users.connect(all[2].clone(), login, NOW).unwrap();
            assert_eq!(third.replaced, [all[0].clone()], "a repeat picks nobody else");
        }
        assert_eq!(users.connect(all[0].clone(), login, NOW), Err(DirectoryError::Replaced));
        assert!(!users.connect(all[1].clone(), login, NOW).unwrap().changed);
    }

    #[test]
    fn the_newest_connection_of_a_device_takes_the_place_of_older_ones_and_needs_no_room() {
        let login = LoginPolicy { most: 2, reject: true };
        let mut users = MemoryUsers::default();
        let phone = || {
            let mut connection = connection(None);
            connection.record.client = ClientId::new("phone").unwrap();
            connection
        };
        let (first, tablet, second) = (phone(), connection(None), phone());
        users.connect(first.clone(), login, NOW).unwrap();
        users.connect(tablet.clone(), login, NOW).unwrap();
        let replaced = users.connect(second.clone(), login, NOW).unwrap().replaced;
        assert_eq!(replaced, std::slice::from_ref(&first));
        assert_eq!(users.connect(first, login, NOW), Err(DirectoryError::Replaced));
        assert_eq!(users.connect(connection(None), login, NOW), Err(DirectoryError::TooMany(2)));
        for there in [tablet, second] {
            assert!(!users.connect(there, login, NOW).unwrap().changed);
        }
    }

    #[test]
    fn who_was_sent_away_moves_until_it_is_back_or_its_time_is_over() {
        let (mut users, login) = (MemoryUsers::default(), LoginPolicy::default());
        let (first, second) = (connection(None), connection(None));
        let (user, node) = (first.record.user.clone(), first.instance.clone());
        let at = |seconds| NOW + Duration::from_secs(seconds);
        let away = Some(Duration::from_secs(4));
        for present in [&first, &second] {
            assert!(!users.connect(present.clone(), login, at(0)).unwrap().returned);
        }
        let id = |present: &PresentConnection| present.record.connection;
        assert!(!users.disconnect(&user, id(&first), &node, away, at(1)).moving, "one is left");
        assert!(users.disconnect(&user, id(&second), &node, away, at(1)).moving);
        assert!(users.locate(&user, at(4)).moving && !users.locate(&user, at(5)).moving);
        assert!(users.not_back(at(4)).is_empty());
        assert!(users.connect(first.clone(), login, at(4)).unwrap().returned);
        assert!(users.not_back(at(9)).is_empty(), "it came back");
        let ver = users.disconnect(&user, id(&first), &node, away, at(10)).ver;
        assert_eq!(users.not_back(at(14)), [(user.clone(), ver, node.node.clone())]);
        assert!(users.not_back(at(15)).is_empty() && users.users.is_empty() && users.moving.is_empty());
        assert!(!users.connect(first.clone(), login, at(16)).unwrap().returned, "everybody was told");
        assert!(!users.disconnect(&user, id(&first), &node, None, at(17)).moving);
        assert!(users.users.is_empty());
    }

    #[test]
    fn or_the_newest_is_refused_and_those_who_are_there_stay() {
        let login = LoginPolicy { most: 1, reject: true };
        let mut users = MemoryUsers::default();
        let (first, second) = (connection(None), connection(None));
        users.connect(first.clone(), login, NOW).unwrap();
        assert_eq!(users.connect(second, login, NOW), Err(DirectoryError::TooMany(1)));
        assert!(!users.connect(first, login, NOW).unwrap().changed);
    }

    #[test]
    fn bans_end_and_only_older_tokens_are_revoked() {
        let mut users = MemoryUsers::default();
        let user = UserId::new("alice").unwrap();
        let ban = Ban { until: NOW + Duration::from_secs(9), reason: "spam".to_owned() };
        users.set_ban(&user, Some(&ban), NOW).unwrap();
        let refused = DirectoryError::Banned { until: ban.until, reason: ban.reason };
        assert_eq!(users.connect(connection(None), LoginPolicy::default(), NOW), Err(refused));
        assert!(users.connect(connection(None), LoginPolicy::default(), ban.until).is_ok());
        assert_eq!((users.revoke(&user, 5), users.revoke(&user, 3)), (Ok(5), Ok(5)));
        for (issued, accepted) in [(Some(0), false), (Some(4), false), (Some(5), true), (None, true)] {
            let answer = users.connect(connection(issued), LoginPolicy::default(), ban.until);
            assert_eq!(answer.is_ok(), accepted, "{issued:?}");
        }
    }
}
