//! Which nodes have members of a group, in Redis.

use std::{collections::HashSet, sync::Arc, time::Instant};

use futures::FutureExt;

use super::{
    key_space::KeySpace, lease_view::LeaseView, redis_link::RedisLink, registry_error::RegistryError,
    scripts, shared_reads::SharedReads, standing::Standing, wholeness::Wholeness,
};
use crate::{
    identity::{GroupName, NodeInstance},
    routing::ports::{DirectoryError, GroupNodes},
};

/// Groups swept between two looks at the clock.
const CHUNK: usize = 200;

type Nodes = Result<GroupNodes, DirectoryError>;

/// The groups' side of the directory. The caller keeps the writes of one group in order.
pub(super) struct GroupDirectory {
    link: Arc<RedisLink>,
    keys: KeySpace,
    standing: Arc<Standing>,
    leases: Arc<LeaseView>,
    wholeness: Arc<Wholeness>,
    reads: SharedReads<GroupName, Nodes>,
}

impl GroupDirectory {
    pub(super) fn new(
        link: Arc<RedisLink>,
        keys: KeySpace,
        standing: Arc<Standing>,
        leases: Arc<LeaseView>,
        wholeness: Arc<Wholeness>,
    ) -> Self {
        Self { link, keys, standing, leases, wholeness, reads: SharedReads::new() }
    }

    /// Writes how many members this node has. The index comes before the hash and goes after it, so that a crash
    /// leaves at most an index entry too many.
    pub(super) async fn set_members(&self, group: &GroupName, members: u32) -> Result<(), DirectoryError> {
        let Some(instance) = self.standing.holds(Instant::now()) else {
            // Never registered in this life, so nothing was written under it.
            if members == 0 && !self.standing.registered() {
                return Ok(());
            }
            let why = self
                .link
                .why_down()
                .map_or_else(|| "other: this node is not registered".to_owned(), |error| error.to_string());
            return Err(DirectoryError::Unavailable(why));
        };
        let mut script = scripts::SET_MEMBERS.key(self.keys.group_nodes(group));
        script.arg(instance.to_string()).arg(members);
        let index = self.keys.group_index(&instance);
        if members > 0 {
            let mut add = redis::cmd("SADD");
            add.arg(index).arg(group.as_str());
            self.link.command_then_script::<u8>(&add, &script).await?;
        } else {
            self.link.script::<u8>(&script).await?;
            let mut remove = redis::cmd("SREM");
            remove.arg(index).arg(group.as_str());
            self.link.command::<()>(&remove).await?;
        }
        Ok(())
    }

    /// The live nodes with members, sorted, and whether there may be more. Those who ask for one group at the same time share one read that began
    /// after all of them asked.
    pub(super) async fn nodes(&self, group: &GroupName) -> Nodes {
        let (link, leases) = (Arc::clone(&self.link), Arc::clone(&self.leases));
        let wholeness = Arc::clone(&self.wholeness);
        let key = self.keys.group_nodes(group);
        let marker_key = self.keys.marker(link.tag_beside(&key).as_deref());
        let read = async move {
            let mut pipeline = redis::pipe();
            pipeline.cmd("HKEYS").arg(key);
            // After the nodes, on the same server: a marker that is as expected then was so when they were read.
            pipeline.cmd("GET").arg(&marker_key);
            let (fields, marker): (Vec<String>, Option<String>) = link.pipeline(&pipeline).await?;
            // `ver` is no node; what cannot be read is a newer release's.
            let listed: HashSet<NodeInstance> =
                fields.iter().filter_map(|field| field.parse().ok()).collect();
            let mut instances: Vec<_> = leases.live(&listed).await?.into_iter().collect();
            instances.sort();
            let doubtful = !wholeness.absence_counts(&marker_key, marker.as_deref(), Instant::now());
            Ok(GroupNodes { instances, doubtful })
        };
        self.reads.get(group, || read.boxed()).await
    }

    /// Takes an instance that will not write again off all of its groups, then removes their index. False when
    /// `until` came first.
    pub(super) async fn sweep(
        &self,
        instance: &NodeInstance,
        until: Option<Instant>,
    ) -> Result<bool, RegistryError> {
        let index = self.keys.group_index(instance);
        loop {
            if until.is_some_and(|until| Instant::now() >= until) {
                return Ok(false);
            }
            let mut some = redis::cmd("SRANDMEMBER");
            some.arg(&index).arg(CHUNK);
            let names: Vec<String> = self.link.command(&some).await.map_err(|f| f.error)?;
            if names.is_empty() {
                return Ok(true);
            }
            for group in names.iter().filter_map(|name| GroupName::new(name).ok()) {
                let mut script = scripts::SET_MEMBERS.key(self.keys.group_nodes(&group));
                script.arg(instance.to_string()).arg(0);
                self.link.script::<u8>(&script).await.map_err(|f| f.error)?;
            }
            let mut done = redis::cmd("SREM");
            done.arg(&index).arg(&names);
            self.link.command::<()>(&done).await.map_err(|f| f.error)?;
        }
    }
}
