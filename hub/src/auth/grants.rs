//! What a token allows.

use serde::Deserialize;

use crate::identity::UserId;

/// To whom a client may send. Patterns are literal or end in one `*`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grants {
    everything: bool,
    send: Vec<String>,
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
    /// Groups that may be joined; checked for form, acts once groups do.
    #[serde(default)]
    pub(super) join: Vec<String>,
}

impl Grants {
    /// Everything, as in trusted mode.
    #[must_use]
    pub fn everything() -> Self {
        Self { everything: true, send: Vec::new() }
    }

    /// Nothing.
    #[must_use]
    pub fn nothing() -> Self {
        Self::default()
    }

    /// Reads the `send` patterns of a token.
    ///
    /// # Errors
    /// The pattern that is malformed.
    pub fn from_patterns(send: Vec<String>) -> Result<Self, String> {
        match send.iter().find(|pattern| !well_formed(pattern)) {
            Some(pattern) => Err(pattern.clone()),
            None => Ok(Self { everything: false, send }),
        }
    }

    /// Whether sending to this user is granted.
    #[must_use]
    pub fn may_send_to_user(&self, user: &UserId) -> bool {
        self.everything
            || self.send.iter().filter_map(|pattern| pattern.strip_prefix("user:")).any(|pattern| {
                match pattern.strip_suffix('*') {
                    Some(beginning) => user.as_str().starts_with(beginning),
                    None => user.as_str() == pattern,
                }
            })
    }
}

/// A star stands at the end or nowhere.
pub(super) fn well_formed(pattern: &str) -> bool {
    !pattern.is_empty() && pattern.strip_suffix('*').unwrap_or(pattern).bytes().all(|b| b != b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_grant_what_they_say() {
        let cases = [
            (vec!["user:*"], "bob", true),
            (vec!["user:bob"], "bob", true),
            (vec!["user:bob"], "bobby", false),
            (vec!["user:bo*"], "bobby", true),
            (vec!["user:"], "bob", false),
            (vec!["group:*"], "bob", false),
            (vec!["*"], "bob", false),
            (vec!["backend", "user:eve", "user:bob"], "bob", true),
            (vec![], "bob", false),
        ];
        for (patterns, user, granted) in cases {
            let grants = Grants::from_patterns(patterns.iter().map(ToString::to_string).collect()).unwrap();
            assert_eq!(grants.may_send_to_user(&UserId::new(user).unwrap()), granted, "{patterns:?} {user}");
        }
        assert!(Grants::everything().may_send_to_user(&UserId::new("x").unwrap()));
        assert!(!Grants::nothing().may_send_to_user(&UserId::new("x").unwrap()));
        assert_eq!(Grants::from_patterns(vec!["user:*b".into()]), Err("user:*b".into()));
    }
}
