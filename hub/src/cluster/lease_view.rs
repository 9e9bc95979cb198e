//! Which node instances live, as their leases say.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use super::{key_space::KeySpace, redis_link::RedisLink, registry_error::RegistryError, standing::Standing};
use crate::{identity::NodeInstance, routing::ports::NodeRecord};

/// How long a lease that was seen is believed in. A node that dies is seen within its lease and this.
const BELIEF: Duration = Duration::from_secs(1);

/// Reads leases, remembering for a moment those that were held; that one is missing is never remembered, so a node
/// that just started is seen at once.
pub(super) struct LeaseView {
    link: Arc<RedisLink>,
    keys: KeySpace,
    standing: Arc<Standing>,
    seen: Mutex<HashMap<NodeInstance, Instant>>,
}

impl LeaseView {
    pub(super) fn new(link: Arc<RedisLink>, keys: KeySpace, standing: Arc<Standing>) -> Self {
        Self { link, keys, standing, seen: Mutex::default() }
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
        let held = self.read(&asked).await?;
        let mut seen = self.seen.lock();
        seen.retain(|_, until| *until > now);
        for (instance, (_, left)) in asked.into_iter().zip(held).filter_map(|(i, held)| held.map(|h| (i, h)))
        {
            seen.insert(instance.clone(), now + left.min(BELIEF));
            live.insert(instance);
        }
        Ok(live)
    }

    /// The record and the time left of each instance, `None` where its lease is missing or another's.
    pub(super) async fn read(
        &self,
        instances: &[NodeInstance],
    ) -> Result<Vec<Option<(NodeRecord, Duration)>>, RegistryError> {
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
        let parse = |(instance, answer): (&NodeInstance, &[redis::Value])| {
            let text: Option<String> = redis::from_redis_value(answer.first()?.clone()).ok()?;
            let left: i64 = redis::from_redis_value(answer.get(1)?.clone()).ok()?;
            let record: NodeRecord = serde_json::from_str(&text?).ok()?;
            let ours = record.id == instance.node && record.incarnation == instance.incarnation;
            ours.then(|| (record, Duration::from_millis(u64::try_from(left).unwrap_or(0))))
        };
        Ok(instances.iter().zip(answers.chunks(2)).map(parse).collect())
    }

    /// Every instance that may exist; entries of a newer release that cannot be read are passed over.
    pub(super) async fn listed(&self) -> Result<Vec<NodeInstance>, RegistryError> {
        let mut command = redis::cmd("SMEMBERS");
        command.arg(self.keys.nodes());
        let members: Vec<String> = self.link.command(&command).await.map_err(|f| f.error)?;
        Ok(members.iter().filter_map(|member| member.parse().ok()).collect())
    }
}
