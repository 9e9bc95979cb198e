//! Which node instances live, as their leases say.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use super::{key_space::KeySpace, redis_link::RedisLink, registry_error::RegistryError, standing::Standing};
use crate::{
    identity::{Incarnation, NodeInstance},
    routing::ports::NodeRecord,
};

/// How long a lease that was seen is believed in. A node that dies is seen within its lease and this.
const BELIEF: Duration = Duration::from_secs(1);

/// A dead instance that is met again and again is listed once in this time.
const LIST_AGAIN: Duration = Duration::from_secs(30);

/// What a lease says about one instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Lease {
    /// Held: the record, and the time left.
    Held(Box<NodeRecord>, Duration),
    /// Missing, or held by another life of the node: this instance never comes back.
    NotHeld,
    /// There is one, but this release cannot read it: nobody may call the instance dead.
    Unreadable,
}

impl Lease {
    fn of(instance: &NodeInstance, text: Option<&[u8]>, left: Duration) -> Self {
        /// What every release writes.
        #[derive(serde::Deserialize)]
        struct Holder {
            incarnation: Incarnation,
        }
        let Some(text) = text else { return Self::NotHeld };
        match serde_json::from_slice::<Holder>(text) {
            Ok(holder) if holder.incarnation != instance.incarnation => Self::NotHeld,
            Ok(_) => serde_json::from_slice(text)
                .map_or(Self::Unreadable, |record: NodeRecord| Self::Held(Box::new(record), left)),
            Err(_) => Self::Unreadable,
        }
    }
}

/// Reads leases, remembering for a moment those that were held; that one is missing is never remembered, so a node
/// that just started is seen at once.
pub(super) struct LeaseView {
    link: Arc<RedisLink>,
    keys: KeySpace,
    standing: Arc<Standing>,
    seen: Mutex<HashMap<NodeInstance, Instant>>,
    /// Dead instances that were met lately. As many as died lately.
    listed_again: Mutex<HashMap<NodeInstance, Instant>>,
}

impl LeaseView {
    pub(super) fn new(link: Arc<RedisLink>, keys: KeySpace, standing: Arc<Standing>) -> Self {
        Self { link, keys, standing, seen: Mutex::default(), listed_again: Mutex::default() }
    }

    /// The standing of this node.
    pub(super) fn standing(&self) -> &Arc<Standing> {
        &self.standing
    }

    /// Those of `instances` that live.
    pub(super) async fn live(
        &self,
        instances: &HashSet<NodeInstance>,
    ) -> Result<HashSet<NodeInstance>, RegistryError> {
        let now = Instant::now();
        let own = self.standing.holds(now);
        let (mut live, mut asked) = (HashSet::new(), Vec::new());
        {
            let seen = self.seen.lock();
            for instance in instances {
                if own.as_ref() == Some(instance) || seen.get(instance).is_some_and(|until| *until > now) {
                    live.insert(instance.clone());
                } else {
                    asked.push(instance.clone());
                }
            }
        }
        if asked.is_empty() {
            return Ok(live);
        }
        let leases = self.read(&asked).await?;
        let gone = asked.iter().zip(&leases).filter(|(_, lease)| **lease == Lease::NotHeld);
        self.list_again(gone.map(|(instance, _)| instance.clone()).collect()).await;
        let mut seen = self.seen.lock();
        seen.retain(|_, until| *until > now);
        for (instance, lease) in asked.into_iter().zip(leases) {
            match lease {
                Lease::Held(_, left) => seen.insert(instance.clone(), now + left.min(BELIEF)),
                Lease::Unreadable => None,
                Lease::NotHeld => continue,
            };
            live.insert(instance);
        }
        Ok(live)
    }

    /// An instance that died between a loss of Redis and its next heartbeat has entries and is in no list: whoever comes
    /// upon it lists it, so that it is swept.
    async fn list_again(&self, mut gone: Vec<NodeInstance>) {
        let now = Instant::now();
        {
            let mut listed = self.listed_again.lock();
            listed.retain(|_, at| now.saturating_duration_since(*at) < LIST_AGAIN);
            gone.retain(|instance| listed.insert(instance.clone(), now).is_none());
        }
        if !gone.is_empty() {
            let mut add = redis::cmd("SADD");
            add.arg(self.keys.nodes());
            for instance in &gone {
                add.arg(instance.to_string());
            }
            // Whoever comes upon it next does it otherwise.
            let _ = self.link.command::<()>(&add).await;
        }
    }

    /// The lease of each instance.
    pub(super) async fn read(&self, instances: &[NodeInstance]) -> Result<Vec<Lease>, RegistryError> {
        if instances.is_empty() {
            return Ok(Vec::new());
        }
        // One GET per lease rather than one MGET, because leases of different nodes are in different slots.
        let mut pipeline = redis::pipe();
        for instance in instances {
            let lease = self.keys.lease(&instance.node);
            pipeline.cmd("GET").arg(&lease).cmd("PTTL").arg(&lease);
        }
        let answers: Vec<redis::Value> = self.link.pipeline(&pipeline).await.map_err(|f| f.error)?;
        let lease = |(instance, answer): (&NodeInstance, &[redis::Value])| {
            let text = match answer.first() {
                Some(redis::Value::BulkString(text)) => Some(text.as_slice()),
                _ => None,
            };
            let left = match answer.get(1) {
                Some(redis::Value::Int(left)) => Duration::from_millis(u64::try_from(*left).unwrap_or(0)),
                _ => Duration::ZERO,
            };
            Lease::of(instance, text, left)
        };
        Ok(instances.iter().zip(answers.chunks(2)).map(lease).collect())
    }

    /// Every instance that may exist; entries of a newer release that cannot be read are passed over.
    pub(super) async fn listed(&self) -> Result<Vec<NodeInstance>, RegistryError> {
        let mut command = redis::cmd("SMEMBERS");
        command.arg(self.keys.nodes());
        let members: Vec<String> = self.link.command(&command).await.map_err(|f| f.error)?;
        Ok(instances(&members))
    }

    /// The same, and the marker under this key, which is on the same server: read after the instances, so that one that is
    /// as expected then was so when they were read.
    pub(super) async fn listed_under(
        &self,
        marker_key: &str,
    ) -> Result<(Vec<NodeInstance>, Option<String>), RegistryError> {
        let mut pipeline = redis::pipe();
        pipeline.cmd("SMEMBERS").arg(self.keys.nodes()).cmd("GET").arg(marker_key);
        let (members, marker): (Vec<String>, Option<String>) =
            self.link.pipeline(&pipeline).await.map_err(|f| f.error)?;
        Ok((instances(&members), marker))
    }
}

fn instances(members: &[String]) -> Vec<NodeInstance> {
    members.iter().filter_map(|member| member.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_missing_lease_or_another_life_makes_an_instance_dead() {
        let instance: NodeInstance = "chat-0#abc.2".parse().unwrap();
        let second = Duration::from_secs(1);
        let whole = r#"{"id":"chat-0","incarnation":"abc.2","ip_address":"10.0.0.1","port":1,"status":"active",
            "connections":0,"version":"9","started_at":"","last_seen":"","new":1}"#;
        assert!(matches!(Lease::of(&instance, Some(whole.as_bytes()), second), Lease::Held(..)));
        let cases: [(Option<&str>, Lease); 6] = [
            (None, Lease::NotHeld),
            (Some(r#"{"incarnation":"abc.3"}"#), Lease::NotHeld),
            (Some(r#"{"incarnation":"xyz.2","status":"resting"}"#), Lease::NotHeld),
            (Some(r#"{"incarnation":"abc.2","status":"resting"}"#), Lease::Unreadable),
            (Some("garbage"), Lease::Unreadable),
            (Some("\u{fffd}"), Lease::Unreadable),
        ];
        for (text, expected) in cases {
            assert_eq!(Lease::of(&instance, text.map(str::as_bytes), second), expected, "{text:?}");
        }
    }
}
