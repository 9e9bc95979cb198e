//! The state of Redis as the hubs see it. The operator itself opens no connection to Redis.

use std::collections::BTreeMap;

use super::hub::{HubReport, RedisLink};

/// What kind of failure the hubs report, from the code word that starts `redis_error`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RedisFault {
    /// Wrong user or password.
    AuthenticationFailed,
    /// Another live owner uses the key prefix.
    PrefixInUse,
    /// The TLS handshake failed.
    TlsFailed,
    /// No answer from the address.
    Unreachable,
    /// Anything else.
    Other,
}

impl RedisFault {
    fn of(error: &str) -> Self {
        match error.split_once(':').map_or(error, |(code, _)| code).trim() {
            "auth_failed" => Self::AuthenticationFailed,
            "prefix_in_use" => Self::PrefixInUse,
            "tls" => Self::TlsFailed,
            "unreachable" => Self::Unreachable,
            _ => Self::Other,
        }
    }

    /// Reason of the `RedisReady` condition.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::AuthenticationFailed => "AuthenticationFailed",
            Self::PrefixInUse => "PrefixInUse",
            Self::TlsFailed => "TLSFailed",
            Self::Unreachable => "Unreachable",
            Self::Other => "Failing",
        }
    }
}

/// The verdict over all hubs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RedisHealth {
    /// No hub has said anything yet.
    Unknown,
    /// Every hub that answered reaches Redis.
    Up {
        /// How many hubs said so.
        nodes: usize,
    },
    /// At least one hub does not reach Redis.
    Down {
        /// The most telling failure.
        fault: RedisFault,
        /// The hub's own sentence.
        error: String,
        /// Nodes that report a failure, sorted.
        nodes: Vec<String>,
        /// How many hubs answered at all.
        answered: usize,
    },
}

impl RedisHealth {
    /// Judges by the reports of all hubs, by node id.
    #[must_use]
    pub fn judge(reports: &BTreeMap<String, HubReport>) -> Self {
        let mut failing: Vec<(RedisFault, &String, &str)> = Vec::new();
        let mut up = 0;
        for (id, report) in reports {
            match (report.redis, report.redis_error.as_deref()) {
                // A prefix owned by somebody else leaves the link up and the node starting.
                (_, Some(error)) => failing.push((RedisFault::of(error), id, error)),
                (RedisLink::Up, None) => up += 1,
                // Down without a reason is a hub that has not finished its first attempt.
                (RedisLink::Down | RedisLink::Embedded | RedisLink::Other, None) => {}
            }
        }
        if let Some((fault, _, error)) = failing.iter().min_by_key(|(fault, ..)| *fault) {
            return Self::Down {
                fault: *fault,
                error: (*error).to_owned(),
                nodes: failing.iter().map(|(_, id, _)| (*id).clone()).collect(),
                answered: reports.len(),
            };
        }
        if up == 0 { Self::Unknown } else { Self::Up { nodes: up } }
    }

    /// Whether some hub is known to be cut off from Redis.
    #[must_use]
    pub fn is_down(&self) -> bool {
        matches!(self, Self::Down { .. })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{RedisFault, RedisHealth};

    fn judge(reports: &[(&str, &str, Option<&str>)]) -> RedisHealth {
        RedisHealth::judge(
            &reports
                .iter()
                .map(|(id, link, error)| {
                    let report = serde_json::from_value(serde_json::json!({
                        "phase": "active", "redis": link, "redis_error": error,
                    }))
                    .unwrap();
                    ((*id).to_owned(), report)
                })
                .collect::<BTreeMap<_, _>>(),
        )
    }

    #[test]
    fn verdicts() {
        assert_eq!(judge(&[]), RedisHealth::Unknown);
        assert_eq!(judge(&[("a", "down", None)]), RedisHealth::Unknown);
        assert_eq!(judge(&[("a", "up", None), ("b", "up", None)]), RedisHealth::Up { nodes: 2 });
        for (error, fault) in [
            ("auth_failed: WRONGPASS", RedisFault::AuthenticationFailed),
            ("unreachable: connection refused", RedisFault::Unreachable),
            ("prefix_in_use: owned by x", RedisFault::PrefixInUse),
            ("tls: unknown issuer", RedisFault::TlsFailed),
            ("other: LOADING", RedisFault::Other),
            ("something new", RedisFault::Other),
        ] {
            match judge(&[("a", "up", None), ("b", "down", Some(error))]) {
                RedisHealth::Down { fault: found, nodes, error: text, answered } => {
                    assert_eq!((found, text.as_str(), answered), (fault, error, 2));
                    assert_eq!(nodes, ["b"]);
                }
                other => panic!("{error}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_wrong_password_outranks_an_unreachable_server() {
        let health = judge(&[
            ("a", "down", Some("unreachable: refused")),
            ("b", "down", Some("auth_failed: WRONGPASS")),
        ]);
        assert!(matches!(health, RedisHealth::Down { fault: RedisFault::AuthenticationFailed, .. }));
    }
}
