//! Sees what must hold at every moment, in Redis itself.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use super::{
    plan::{NODES, USERS},
    world::{World, user_of},
};
use crate::identity::NodeId;

/// Between two looks; far below a lease.
const LOOK: Duration = Duration::from_millis(15);

/// What was seen so far.
#[derive(Default)]
pub(super) struct Seen {
    versions: HashMap<usize, u64>,
    /// The incarnation under each lease at the last look.
    held: HashMap<usize, String>,
    /// Incarnations whose lease was gone at some look.
    over: HashSet<String>,
}

impl Seen {
    /// Takes in one look; returns what must not be.
    pub(super) fn look(&mut self, versions: &[Option<u64>], leases: &[Option<String>]) -> Vec<String> {
        let mut wrong = Vec::new();
        for (user, ver) in versions.iter().enumerate().filter_map(|(user, ver)| Some((user, (*ver)?))) {
            let before = self.versions.insert(user, ver).unwrap_or(0);
            if ver < before {
                wrong.push(format!("version: that of u{user} fell from {before} to {ver}"));
            }
        }
        for (node, now) in leases.iter().enumerate() {
            let before = match now {
                Some(now) => self.held.insert(node, now.clone()),
                None => self.held.remove(&node),
            };
            if before != *now {
                self.over.extend(before);
            }
            if let Some(now) = now.as_ref().filter(|now| self.over.contains(*now)) {
                wrong.push(format!("incarnation: {now} of chat-{node} had lapsed and came back"));
            }
        }
        wrong
    }
}

/// Looks until dropped.
pub(super) async fn watch(world: Arc<World>) {
    let mut seen = Seen::default();
    loop {
        tokio::time::sleep(LOOK).await;
        let mut pipeline = redis::pipe();
        for user in 0..USERS {
            pipeline.cmd("HGET").arg(world.keys.connections(&user_of(user))).arg("ver");
        }
        for node in 0..NODES {
            pipeline.cmd("GET").arg(world.keys.lease(&NodeId::new(format!("chat-{node}")).unwrap()));
        }
        let answers: Vec<Option<String>> = pipeline.query_async(&mut world.redis.clone()).await.unwrap();
        let (versions, leases) = answers.split_at(USERS);
        let versions: Vec<_> = versions.iter().map(|ver| ver.as_ref()?.parse().ok()).collect();
        let leases: Vec<_> = leases.iter().map(|lease| incarnation(lease.as_ref()?)).collect();
        for wrong in seen.look(&versions, &leases) {
            world.violated(wrong);
        }
    }
}

fn incarnation(record: &str) -> Option<String> {
    let record: serde_json::Value = serde_json::from_str(record).ok()?;
    Some(record.get("incarnation")?.as_str()?.to_owned())
}

#[test]
fn a_version_that_falls_and_an_incarnation_that_comes_back_are_seen() {
    let text = |text: &str| Some(text.to_owned());
    let mut seen = Seen::default();
    assert!(seen.look(&[Some(5)], &[text("a.1")]).is_empty());
    assert!(seen.look(&[None], &[text("a.1")]).is_empty());
    assert!(seen.look(&[Some(6)], &[None]).is_empty());
    assert!(seen.look(&[Some(6)], &[text("a.2")]).is_empty());
    assert_eq!(seen.look(&[Some(5)], &[text("a.2")]).len(), 1);
    assert_eq!(seen.look(&[None], &[text("a.1")]).len(), 1);
}
