//! What a token allows.

use std::sync::Arc;

use serde::Deserialize;

use crate::identity::{GroupName, UserId};

/// To whom a client may send and which groups it may join. Cheap to clone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grants {
    everything: bool,
    listed: Option<Arc<Listed>>,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Listed {
    users: Vec<Pattern>,
    groups: Vec<Pattern>,
    backend: bool,
    join: Vec<Pattern>,
}

/// A name, or the beginning of names when it ended in a star.
#[derive(Debug, PartialEq, Eq)]
enum Pattern {
    Whole(String),
    Beginning(String),
}

impl Pattern {
    /// A star stands at the end or nowhere.
    fn read(text: &str) -> Option<Self> {
        let (text, open) = text.strip_suffix('*').map_or((text, false), |beginning| (beginning, true));
        let pattern = if open { Self::Beginning } else { Self::Whole };
        (!text.contains('*')).then(|| pattern(text.to_owned()))
    }

    fn covers(&self, name: &str) -> bool {
        match self {
            Self::Whole(whole) => name == whole,
            Self::Beginning(beginning) => name.starts_with(beginning),
        }
    }
}

/// The `wsc` claim of a token.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct WscClaim {
    #[serde(default)]
    pub(super) client_id: Option<String>,
    #[serde(default)]
    pub(super) groups: Vec<String>,
    #[serde(default)]
    pub(super) send: Vec<String>,
    #[serde(default)]
    pub(super) join: Vec<String>,
}

impl Grants {
    /// Everything, as in trusted mode.
    #[must_use]
    pub fn everything() -> Self {
        Self { everything: true, listed: None }
    }

    /// Nothing.
    #[must_use]
    pub fn nothing() -> Self {
        Self::default()
    }

    /// Reads the patterns of a token: `send` holds `user:<pattern>`, `group:<pattern>` and `backend`, `join` holds
    /// patterns of groups. A pattern is a name or ends in one `*`. A word of `send` that this release does not know
    /// grants nothing.
    ///
    /// # Errors
    /// A sentence that names the pattern that is malformed.
    pub fn from_patterns(send: &[String], join: &[String]) -> Result<Self, String> {
        let read = |list: &str, whole: &str, name: &str| {
            let pattern = Pattern::read(name).filter(|_| !whole.is_empty());
            pattern.ok_or_else(|| format!("wsc.{list}: {whole:?} is neither literal nor ends in one *"))
        };
        let mut listed = Listed::default();
        for word in send {
            match word.split_once(':') {
                Some(("user", name)) => listed.users.push(read("send", word, name)?),
                Some(("group", name)) => listed.groups.push(read("send", word, name)?),
                _ if word == "backend" => listed.backend = true,
                _ => drop(read("send", word, word)?),
            }
        }
        for name in join {
            listed.join.push(read("join", name, name)?);
        }
        let nothing = listed == Listed::default();
        Ok(Self { everything: false, listed: (!nothing).then(|| Arc::new(listed)) })
    }

    fn covers(&self, of: impl FnOnce(&Listed) -> bool) -> bool {
        self.everything || self.listed.as_deref().is_some_and(of)
    }

    /// Whether sending to this user is granted.
    #[must_use]
    pub fn may_send_to_user(&self, user: &UserId) -> bool {
        self.covers(|listed| listed.users.iter().any(|pattern| pattern.covers(user.as_str())))
    }

    /// Whether sending to this group is granted; being its member alone does not grant it.
    #[must_use]
    pub fn may_send_to_group(&self, group: &GroupName) -> bool {
        self.covers(|listed| listed.groups.iter().any(|pattern| pattern.covers(group.as_str())))
    }

    /// Whether sending to the backend is granted.
    #[must_use]
    pub fn may_send_to_backend(&self) -> bool {
        self.covers(|listed| listed.backend)
    }

    /// Whether joining this group is granted.
    #[must_use]
    pub fn may_join(&self, group: &GroupName) -> bool {
        self.covers(|listed| listed.join.iter().any(|pattern| pattern.covers(group.as_str())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(patterns: &[&str]) -> Vec<String> {
        patterns.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn patterns_grant_what_they_say() {
        // Patterns; may send to user bobby, to group room-1, to the backend.
        let cases: [(&[&str], bool, bool, bool); 14] = [
            (&[], false, false, false),
            (&["user:*"], true, false, false),
            (&["user:bobby"], true, false, false),
            (&["user:bob"], false, false, false),
            (&["user:bob*"], true, false, false),
            (&["user:bobby*"], true, false, false),
            (&["user:"], false, false, false),
            (&["group:*"], false, true, false),
            (&["group:room-1", "user:eve"], false, true, false),
            (&["group:bobby", "user:room-1"], false, false, false),
            (&["backend"], false, false, true),
            (&["backend*", "*", "everything", "topic:*"], false, false, false),
            (&["user:@backend", "user:backend"], false, false, false),
            (&["backend", "user:eve", "group:room-*", "user:b*"], true, true, true),
        ];
        let (bobby, room) = (UserId::new("bobby").unwrap(), GroupName::new("room-1").unwrap());
        for (patterns, user, group, backend) in cases {
            let grants = Grants::from_patterns(&owned(patterns), &[]).unwrap();
            let granted = (
                grants.may_send_to_user(&bobby),
                grants.may_send_to_group(&room),
                grants.may_send_to_backend(),
            );
            assert_eq!(granted, (user, group, backend), "{patterns:?}");
            assert!(!grants.may_join(&room), "to send is not to join: {patterns:?}");
        }
        for (patterns, joined) in [
            (&["room-1"][..], true),
            (&["*"], true),
            (&["room-*"], true),
            (&["room-2", "group:room-1"], false),
        ] {
            let grants = Grants::from_patterns(&[], &owned(patterns)).unwrap();
            assert_eq!(grants.may_join(&room), joined, "{patterns:?}");
            assert!(!grants.may_send_to_group(&room) && !grants.may_send_to_user(&bobby), "{patterns:?}");
        }
        let all = Grants::everything();
        assert!(all.may_send_to_user(&bobby) && all.may_send_to_group(&room));
        assert!(all.may_send_to_backend() && all.may_join(&room));
        assert_eq!(Grants::from_patterns(&[], &[]), Ok(Grants::nothing()));
    }

    #[test]
    fn a_star_within_a_pattern_is_refused() {
        for bad in ["user:*b", "user:**", "group:a*b", "*x", ""] {
            let refused = Grants::from_patterns(&owned(&[bad]), &[]).unwrap_err();
            assert!(refused.starts_with("wsc.send") && refused.contains(bad), "{refused}");
        }
        for bad in ["*b", "**", ""] {
            let refused = Grants::from_patterns(&[], &owned(&[bad])).unwrap_err();
            assert!(refused.starts_with("wsc.join"), "{refused}");
        }
    }
}
