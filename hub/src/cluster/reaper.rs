//! Sweeps what dead node instances left behind.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use tokio_util::sync::CancellationToken;

use super::{
    BusCounters,
    event_stream::EventStream,
    group_directory::GroupDirectory,
    key_space::KeySpace,
    lease_view::{Lease, LeaseView},
    membership::millis,
    presence_entry::field_prefix,
    redis_link::RedisLink,
    registry_error::RegistryError,
    scripts,
    standing::Standing,
};
use crate::{
    identity::{NodeInstance, UserId},
    protocol::event::Event,
    routing::router::rfc3339,
};

/// How long one node may sweep an instance before another may try.
const CLAIM: Duration = Duration::from_secs(30);
/// Users swept between two looks at the clock.
const CHUNK: usize = 200;

/// Removes entries of instances whose lease is gone.
pub(super) struct Reaper {
    pub(super) link: Arc<RedisLink>,
    pub(super) keys: KeySpace,
    pub(super) standing: Arc<Standing>,
    pub(super) leases: Arc<LeaseView>,
    pub(super) groups: Arc<GroupDirectory>,
    /// Where it is told who went offline; none when nobody wants to hear it.
    pub(super) events: Option<Arc<EventStream>>,
    pub(super) counters: Arc<BusCounters>,
    pub(super) interval: Duration,
}

impl Reaper {
    /// Looks for the dead until told to stop.
    pub(super) async fn run(&self, shutdown: CancellationToken) {
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(self.interval) => {}
            }
            // Without a full lease of good heartbeats others may only seem dead: Redis was away for them too.
            if !self.standing.steady(Instant::now()) {
                continue;
            }
            let round = tokio::select! {
                () = shutdown.cancelled() => return,
                round = self.round() => round,
            };
            if let Err(error) = round {
                tracing::warn!(%error, "sweeping dead nodes stopped, will be tried again");
            }
        }
    }

    async fn round(&self) -> Result<(), RegistryError> {
        // The set is read before the leases: a member seen there whose lease is then not held never comes back.
        let listed = self.leases.listed().await?;
        let leases = self.leases.read(&listed).await?;
        let own = self.standing.instance();
        for (instance, lease) in listed.iter().zip(leases) {
            if lease == Lease::NotHeld && *instance != own && self.standing.steady(Instant::now()) {
                self.reap(instance, &own).await?;
            }
        }
        Ok(())
    }

    async fn reap(&self, dead: &NodeInstance, own: &NodeInstance) -> Result<(), RegistryError> {
        let claim = self.keys.reap_claim(dead);
        let mut take = redis::cmd("SET");
        take.arg(&claim).arg(own.to_string()).arg("NX").arg("PX").arg(millis(CLAIM));
        let taken: Option<String> = self.link.command(&take).await.map_err(|f| f.error)?;
        if taken.is_none() {
            return Ok(());
        }
        // Half the claim: what is not done by then is the next round's, ours or another's.
        let until = Instant::now() + CLAIM / 2;
        if let Some(users) = self.sweep(dead, Some(until)).await? {
            self.counters.reaped_users.add(users);
            self.counters.reaped_nodes.add(1);
            tracing::info!(instance = %dead, users, "a dead node's entries were removed");
        }
        let mut release = redis::cmd("DEL");
        release.arg(&claim);
        self.link.command::<()>(&release).await.map_err(|f| f.error)
    }

    /// Removes the users, the index and the member of an instance that will not write again. Returns the number of
    /// users, or `None` when `until` came first.
    pub(super) async fn sweep(
        &self,
        instance: &NodeInstance,
        until: Option<Instant>,
    ) -> Result<Option<u64>, RegistryError> {
        let index = self.keys.user_index(instance);
        let mut swept = 0;
        loop {
            if until.is_some_and(|until| Instant::now() >= until) {
                return Ok(None);
            }
            let mut some = redis::cmd("SRANDMEMBER");
            some.arg(&index).arg(CHUNK);
            let names: Vec<String> = self.link.command(&some).await.map_err(|f| f.error)?;
            if names.is_empty() {
                break;
            }
            let mut offline = Vec::new();
            for user in names.iter().filter_map(|name| UserId::new(name).ok()) {
                let mut script = scripts::SWEEP.key(self.keys.connections(&user));
                script.arg("").arg(field_prefix(instance));
                let (gone, ver, left): (u64, u64, Vec<String>) =
                    self.link.script(&script).await.map_err(|f| f.error)?;
                swept += u64::from(gone > 0);
                if left.is_empty() {
                    let at = rfc3339(SystemTime::now());
                    offline.push(Event::offline(&user, ver, &instance.node, at, Some("node_lost")).to_json());
                }
            }
            // Before the index entries go: a reaper that ends here is followed by one that tells it again.
            if let Some(events) = &self.events {
                events.write(&offline).await?;
            }
            let mut done = redis::cmd("SREM");
            done.arg(&index).arg(&names);
            self.link.command::<()>(&done).await.map_err(|f| f.error)?;
        }
        if !self.groups.sweep(instance, until).await? {
            return Ok(None);
        }
        let mut member = redis::cmd("SREM");
        member.arg(self.keys.nodes()).arg(instance.to_string());
        self.link.command::<()>(&member).await.map_err(|f| f.error)?;
        Ok(Some(swept))
    }
}
