//! Sweeps what dead node instances left behind.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use futures::{StreamExt, TryStreamExt, stream};
use tokio_util::sync::CancellationToken;

use super::{
    BusCounters,
    event_stream::EventStream,
    group_directory::GroupDirectory,
    key_space::KeySpace,
    lease_view::{Lease, LeaseView},
    membership::millis,
    moved_users::MovedUsers,
    outbox::{Channel, Outbox},
    presence_entry::{field_prefix, nodes_of_fields},
    redis_link::RedisLink,
    registry_error::RegistryError,
    scripts,
    standing::Standing,
};
#[cfg(test)]
use crate::fault::{self, Fault};
use crate::{
    identity::{NodeInstance, UserId},
    protocol::{
        envelope::{Envelope, Kind},
        event::Event,
        presence_changed,
    },
    routing::router::rfc3339,
};

/// How long one node may sweep an instance before another may try.
const CLAIM: Duration = Duration::from_secs(30);
/// Users swept between two looks at the clock.
const CHUNK: usize = 200;

/// Users of a chunk swept at the same time.
const SWEEPS_IN_FLIGHT: usize = 32;

/// A user whose entries of a dead node were removed.
struct SweptUser {
    user: UserId,
    /// Version of the entry after the removal.
    ver: u64,
    /// Nodes that are left.
    left: Vec<NodeInstance>,
    /// Whether there was anything to remove; not so when an earlier sweep did it.
    had_entries: bool,
    /// Until when a client of it is expected back, in ms since the epoch; 0 when none is.
    moving_until: u64,
}

/// What a sweep of one user came to.
enum Swept {
    /// The entries are gone.
    Done(SweptUser),
    /// Nothing was removed: first it has to be told that the user is offline, as of this version.
    TellFirst(UserId, u64),
}

/// Removes entries of instances whose lease is gone.
pub(super) struct Reaper {
    pub(super) link: Arc<RedisLink>,
    pub(super) keys: KeySpace,
    pub(super) standing: Arc<Standing>,
    pub(super) leases: Arc<LeaseView>,
    pub(super) groups: Arc<GroupDirectory>,
    /// Where it is told who went offline; none when nobody wants to hear it.
    pub(super) events: Option<Arc<EventStream>>,
    pub(super) moved: Arc<MovedUsers>,
    pub(super) counters: Arc<BusCounters>,
    pub(super) outbox: Arc<Outbox>,
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
            let dead = lease == Lease::NotHeld;
            #[cfg(test)]
            let dead = dead || self.missed_a_heartbeat(&lease);
            if dead && *instance != own && self.standing.steady(Instant::now()) {
                // One that cannot be swept must not keep the others from it.
                if let Err(error) = self.reap(instance, &own).await {
                    tracing::warn!(%instance, %error, "sweeping a dead node stopped, will be tried again");
                }
            }
        }
        Ok(())
    }

    #[cfg(test)]
    fn missed_a_heartbeat(&self, lease: &Lease) -> bool {
        let late = self.interval * 9 / 4;
        fault::is(Fault::ReapedTooEarly) && matches!(lease, Lease::Held(_, left) if *left < late)
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
            let users = names.iter().filter_map(|name| UserId::new(name).ok());
            let chunk = self.sweep_users(instance, users.map(|user| (user, None)).collect()).await?;
            swept +=
                u64::try_from(chunk.iter().filter(|swept| swept.had_entries).count()).unwrap_or(u64::MAX);
            // Before the index entries go: a reaper that ends here is followed by one that tells it again.
            self.tell(&chunk);
            for moving in chunk.iter().filter(|swept| swept.moving_until > 0) {
                self.moved.note(&moving.user, moving.ver, &instance.node, moving.moving_until).await?;
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

    /// Removes the entries of many users. Of each it is known under which version it was told that the user is offline.
    /// That is told before the last entry goes, so that whoever sweeps again after a failure finds the same version.
    async fn sweep_users(
        &self,
        instance: &NodeInstance,
        mut users: Vec<(UserId, Option<u64>)>,
    ) -> Result<Vec<SweptUser>, RegistryError> {
        let mut done = Vec::with_capacity(users.len());
        while !users.is_empty() {
            let outcomes: Vec<Swept> = stream::iter(std::mem::take(&mut users))
                .map(|(user, told)| self.sweep_user(instance, user, told))
                .buffer_unordered(SWEEPS_IN_FLIGHT)
                .try_collect()
                .await?;
            for outcome in outcomes {
                match outcome {
                    Swept::Done(swept) => done.push(swept),
                    Swept::TellFirst(user, ver) => users.push((user, Some(ver))),
                }
            }
            #[cfg(test)]
            if fault::is(Fault::EventAfterIndex) && !users.is_empty() {
                let names: Vec<_> = users.iter().map(|(user, _)| user.as_str()).collect();
                let mut done = redis::cmd("SREM");
                done.arg(self.keys.user_index(instance)).arg(names);
                self.link.command::<()>(&done).await.map_err(|f| f.error)?;
            }
            if let Some(events) = &self.events {
                let at = rfc3339(SystemTime::now());
                let offline = |(user, ver): &(UserId, Option<u64>)| {
                    let ver = ver.unwrap_or_default();
                    Event::offline(user, ver, &instance.node, at.clone(), Some("node_lost")).to_json()
                };
                events.write(&users.iter().map(offline).collect::<Vec<_>>()).await?;
            }
        }
        Ok(done)
    }

    /// Removes a user's entries of an instance.
    async fn sweep_user(
        &self,
        instance: &NodeInstance,
        user: UserId,
        told: Option<u64>,
    ) -> Result<Swept, RegistryError> {
        let told = match (&self.events, told) {
            (None, _) => "*".to_owned(),
            (Some(_), None) => String::new(),
            (Some(_), Some(ver)) => ver.to_string(),
        };
        let mut script = scripts::SWEEP.key(self.keys.connections(&user));
        let fields = field_prefix(instance);
        #[cfg(test)]
        let fields = if fault::is(Fault::SweepOfEveryLife) { format!("{}#", instance.node) } else { fields };
        script.arg(told).arg(fields).arg(self.moved.kept_ms());
        let (gone, ver, left, moving_until): (i64, u64, Vec<String>, u64) =
            self.link.script(&script).await.map_err(|f| f.error)?;
        Ok(if gone < 0 {
            Swept::TellFirst(user, ver)
        } else {
            let left = nodes_of_fields(&left);
            Swept::Done(SweptUser { user, ver, left, had_entries: gone > 0, moving_until })
        })
    }

    /// Tells the users' other nodes where they are now. Whoever has none left is offline since `ver`.
    fn tell(&self, swept: &[SweptUser]) {
        for SweptUser { user, ver, left, .. } in swept.iter().filter(|swept| swept.had_entries) {
            let payload = presence_changed::encode(left);
            for node in left {
                let envelope = Envelope {
                    kind: Kind::PresenceChanged,
                    wants_report: false,
                    patience: None,
                    number: *ver,
                    subject: Some(user.clone()),
                    payload: payload.clone(),
                };
                // A full queue: they read it afresh, because the dead node's lease is gone.
                let _ = self.outbox.push(&Channel::Node(node.node.clone()), envelope, None);
            }
        }
    }
}
