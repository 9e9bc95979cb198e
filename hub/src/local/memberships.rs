//! Which groups one connection is in.

use parking_lot::Mutex;

use crate::identity::GroupName;

/// Who put a connection into a group. What a renewed token takes away depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum JoinedBy {
    /// What the client is granted: its own frame, its request to connect, or the claim of its token.
    Grant,
    /// The backend, whatever the client is granted.
    Api,
}

/// Why a connection does not become a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JoinRefused {
    /// It is in as many groups as one connection may be.
    #[error("the connection is in {0} groups already, leave one first")]
    TooMany(usize),
    /// It is ending.
    #[error("the connection is ending")]
    Ended,
}

/// Which groups one connection is in: at most as many as the joins allow, so a list is quick enough.
#[derive(Debug, Default)]
pub struct Memberships(pub(super) Mutex<Joined>);

#[derive(Debug, Default)]
pub(super) struct Joined {
    ended: bool,
    groups: Vec<(GroupName, JoinedBy)>,
}

impl Joined {
    /// Notes a group; false when the connection is in it already. The stronger of two reasons is kept.
    pub(super) fn add(&mut self, group: &GroupName, by: JoinedBy, most: usize) -> Result<bool, JoinRefused> {
        if self.ended {
            return Err(JoinRefused::Ended);
        }
        if let Some((_, known)) = self.groups.iter_mut().find(|(name, _)| name == group) {
            *known = by.max(*known);
            return Ok(false);
        }
        if self.groups.len() >= most {
            return Err(JoinRefused::TooMany(most));
        }
        self.groups.push((group.clone(), by));
        Ok(true)
    }

    /// Forgets a group; false when the connection is not in it.
    pub(super) fn remove(&mut self, group: &GroupName) -> bool {
        let place = self.groups.iter().position(|(name, _)| name == group);
        place.map(|place| self.groups.swap_remove(place)).is_some()
    }

    /// Takes all groups; nothing is added from now on.
    pub(super) fn end(&mut self) -> Vec<GroupName> {
        self.ended = true;
        std::mem::take(&mut self.groups).into_iter().map(|(name, _)| name).collect()
    }
}

impl Memberships {
    /// The groups, and who put the connection into each.
    #[must_use]
    pub fn all(&self) -> Vec<(GroupName, JoinedBy)> {
        self.0.lock().groups.clone()
    }

    /// Number of groups.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.lock().groups.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_counted_once_bounded_and_given_up_at_the_end() {
        let name = |text: &str| GroupName::new(text).unwrap();
        let mut joined = Joined::default();
        assert_eq!(joined.add(&name("a"), JoinedBy::Grant, 2), Ok(true));
        assert_eq!(joined.add(&name("a"), JoinedBy::Api, 2), Ok(false));
        assert_eq!(joined.add(&name("a"), JoinedBy::Grant, 2), Ok(false));
        assert_eq!(joined.groups, [(name("a"), JoinedBy::Api)], "the strongest reason stays");
        assert_eq!(joined.add(&name("b"), JoinedBy::Grant, 2), Ok(true));
        assert_eq!(joined.add(&name("c"), JoinedBy::Grant, 2), Err(JoinRefused::TooMany(2)));
        assert_eq!(joined.add(&name("b"), JoinedBy::Grant, 2), Ok(false), "being there already is no excess");
        assert!(joined.remove(&name("a")) && !joined.remove(&name("a")));
        assert_eq!(joined.end(), [name("b")]);
        assert_eq!(joined.add(&name("a"), JoinedBy::Api, 2), Err(JoinRefused::Ended));
        assert_eq!(joined.end(), []);
    }
}
