//! What the hubs say about themselves, and the verdict which of them are registered.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::jiff::Timestamp;
use serde::Deserialize;

/// Phase of a hub process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HubPhase {
    /// Not registered yet.
    Starting,
    /// Serving.
    Active,
    /// Moving its clients away.
    Draining,
    /// All clients moved; waiting for its end.
    Closed,
    /// A phase this release does not know.
    #[serde(other)]
    Other,
}

/// Connection of a hub to Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RedisLink {
    /// Answers.
    Up,
    /// Does not answer.
    Down,
    /// The hub runs without Redis.
    Embedded,
    /// A word this release does not know.
    #[serde(other)]
    Other,
}

/// Body of a hub's `/admin/status`. Fields a hub does not send keep their defaults.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct HubReport {
    /// Phase of the process.
    pub phase: HubPhase,
    /// Whether the hub holds its own lease.
    #[serde(default)]
    pub registered: bool,
    /// Redis as this hub sees it.
    pub redis: RedisLink,
    /// Why Redis is down: a code word, a colon, a sentence.
    #[serde(default)]
    pub redis_error: Option<String>,
    /// Open client connections.
    #[serde(default)]
    pub connections: i64,
    /// Connections the hub accepts at most.
    #[serde(default)]
    pub max_connections: i64,
    /// SHA-256 of the file of hot settings that is applied; none where the hub was started without one.
    #[serde(default)]
    pub hot_hash: Option<String>,
    /// Why the file of hot settings, as it is now, is not applied.
    #[serde(default)]
    pub hot_error: Option<String>,
    /// UID of the pod that answered.
    #[serde(default)]
    pub pod_uid: String,
    /// Node id.
    #[serde(default)]
    pub node_id: String,
    /// Incarnation of the node.
    #[serde(default)]
    pub incarnation: String,
    /// Release of the hub.
    #[serde(default)]
    pub version: String,
    /// What has become of its drain, if it has one.
    #[serde(default)]
    pub drain: Option<DrainReport>,
}

/// What a hub says about its drain.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct DrainReport {
    /// Who drains it, by the caller's own name.
    pub id: String,
    /// When the drain of this id began, by the hub's clock.
    #[serde(default)]
    pub started_at: Option<Timestamp>,
    /// When all connections are to be gone.
    #[serde(default)]
    pub deadline: Option<Timestamp>,
    /// Connections that are not gone.
    #[serde(default)]
    pub remaining: i64,
    /// Connections closed per second now: 0 while it settles, absent when all go at once.
    #[serde(default)]
    pub rate_per_second: Option<u32>,
}

/// One entry of a hub's `/nodes`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct NodeEntry {
    /// Node id.
    pub id: String,
    /// Incarnation the entry is about.
    #[serde(default)]
    pub incarnation: String,
    /// `active`, `draining`, `starting` or `leaving`.
    #[serde(default)]
    pub status: String,
}

/// What is known of one hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubView {
    /// The last answer, or why there was none.
    pub answer: Result<HubReport, String>,
    /// Registered by its own word and by another registered node's.
    pub registered: bool,
    /// Since when the hub is continuously silent or unregistered; `None` while neither.
    pub absent_since: Option<Timestamp>,
}

impl HubView {
    /// The report, if the hub answered.
    #[must_use]
    pub fn report(&self) -> Option<&HubReport> {
        self.answer.as_ref().ok()
    }
}

/// Decides which nodes are registered: a node counts when it says so itself and the node list of
/// another registered node agrees on its incarnation. The only registered node is checked
/// against its own list.
///
/// `reports` is by node id; `rosters` are the `/nodes` answers by the id of the node asked.
#[must_use]
pub fn registered(
    reports: &BTreeMap<String, HubReport>,
    rosters: &BTreeMap<String, Vec<NodeEntry>>,
) -> BTreeSet<String> {
    let claims: Vec<(&String, &HubReport)> = reports.iter().filter(|(_, report)| report.registered).collect();
    let alone = claims.len() == 1;
    claims
        .iter()
        .filter(|(id, report)| {
            rosters
                .iter()
                .filter(|(asked, _)| {
                    (alone || asked != id) && reports.get(*asked).is_some_and(|other| other.registered)
                })
                .any(|(_, entries)| {
                    entries.iter().any(|entry| &entry.id == *id && entry.incarnation == report.incarnation)
                })
        })
        .map(|(id, _)| (*id).clone())
        .collect()
}

/// Which nodes to ask for their list, so that every registered node is seen by another one:
/// the first two that claim to be registered.
#[must_use]
pub fn witnesses(reports: &BTreeMap<String, HubReport>) -> Vec<String> {
    reports.iter().filter(|(_, report)| report.registered).map(|(id, _)| id.clone()).take(2).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{HubPhase, HubReport, NodeEntry, RedisLink, registered, witnesses};

    fn report(json: &str) -> HubReport {
        serde_json::from_str(json).unwrap()
    }

    fn node(registered: bool, incarnation: &str) -> HubReport {
        report(&format!(
            r#"{{"phase":"active","registered":{registered},"redis":"up","incarnation":"{incarnation}"}}"#
        ))
    }

    fn roster(entries: &[(&str, &str)]) -> Vec<NodeEntry> {
        entries
            .iter()
            .map(|(id, incarnation)| NodeEntry {
                id: (*id).into(),
                incarnation: (*incarnation).into(),
                status: "active".into(),
            })
            .collect()
    }

    #[test]
    fn a_full_report_and_one_from_a_newer_release_are_read() {
        let full = report(
            r#"{"phase":"starting","registered":false,"lease_expires_in_ms":0,"redis":"down",
                "redis_error":"auth_failed: WRONGPASS","connections":3,"max_connections":50,
                "pod_uid":"u","node_id":"chat-0","incarnation":"a.1","version":"0.1.0"}"#,
        );
        assert_eq!((full.phase, full.redis), (HubPhase::Starting, RedisLink::Down));
        assert_eq!(full.redis_error.as_deref(), Some("auth_failed: WRONGPASS"));
        let newer = report(r#"{"phase":"hibernating","redis":"sideways","new_field":{}}"#);
        assert_eq!((newer.phase, newer.redis), (HubPhase::Other, RedisLink::Other));
    }

    #[test]
    fn the_only_node_is_checked_against_its_own_list() {
        let reports = BTreeMap::from([("a".to_owned(), node(true, "1"))]);
        assert_eq!(witnesses(&reports), ["a"]);
        let agrees = BTreeMap::from([("a".to_owned(), roster(&[("a", "1")]))]);
        assert!(registered(&reports, &agrees).contains("a"));
        let disagrees = BTreeMap::from([("a".to_owned(), roster(&[("a", "0")]))]);
        assert!(registered(&reports, &disagrees).is_empty());
    }

    #[test]
    fn two_nodes_vouch_for_each_other_and_for_the_rest() {
        let reports = BTreeMap::from([
            ("a".to_owned(), node(true, "1")),
            ("b".to_owned(), node(true, "2")),
            ("c".to_owned(), node(true, "3")),
            ("d".to_owned(), node(false, "4")),
        ]);
        assert_eq!(witnesses(&reports), ["a", "b"]);
        let rosters = BTreeMap::from([
            ("a".to_owned(), roster(&[("a", "1"), ("b", "2"), ("c", "3"), ("d", "4")])),
            ("b".to_owned(), roster(&[("b", "2"), ("a", "0"), ("c", "9")])),
        ]);
        let set = registered(&reports, &rosters);
        assert!(!set.contains("a"), "only b may vouch for a, and b names an older incarnation");
        assert!(set.contains("b"));
        assert!(set.contains("c"), "one witness is enough");
        assert!(!set.contains("d"), "it does not say so itself");
    }

    #[test]
    fn an_unregistered_witness_proves_nothing() {
        let reports = BTreeMap::from([("a".to_owned(), node(false, "1")), ("b".to_owned(), node(true, "2"))]);
        let rosters = BTreeMap::from([("a".to_owned(), roster(&[("b", "2")]))]);
        assert!(registered(&reports, &rosters).is_empty());
    }
}
