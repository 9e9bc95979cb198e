//! Holds the node's lease: registers, heartbeats, notices loss and usurpers, leaves.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::{
    BusCounters, ClusterSettings,
    key_space::KeySpace,
    lease_view::{Lease, LeaseView},
    node_record::RecordSource,
    redis_link::RedisLink,
    registry_error::RegistryError,
    scripts,
    standing::{Standing, Subscription},
    wholeness::Wholeness,
};
#[cfg(test)]
use crate::fault::{self, Fault};
use crate::{
    identity::NodeInstance,
    protocol::millis::whole_millis,
    routing::ports::{NodeRecord, NodeStatus},
};

/// Life of the prefix's owner entry, as in the table of keys.
const OWNER_LIFE: Duration = Duration::from_secs(60);
/// Nodes that lost Redis together come back spread over this time.
const COMEBACK_JITTER: Duration = Duration::from_secs(1);
/// Longest pause before an attempt to register is repeated, so that a freed id is taken soon.
const REGISTER_AGAIN: Duration = Duration::from_secs(1);
/// Lives that ended and whose entry in the set of nodes is to be written again, so that they are swept.
const FORMER_LIVES: usize = 16;

/// The node's lease in Redis.
pub(super) struct Membership {
    link: Arc<RedisLink>,
    keys: KeySpace,
    settings: ClusterSettings,
    source: Arc<RecordSource>,
    standing: Arc<Standing>,
    leases: Arc<LeaseView>,
    wholeness: Arc<Wholeness>,
    counters: Arc<BusCounters>,
    former: Mutex<Vec<NodeInstance>>,
    /// One exchange at a time: heartbeats come from the clock and from changes of status.
    turn: tokio::sync::Mutex<()>,
}

/// How an attempt to hold the lease went wrong, and when to try again.
struct Setback {
    error: RegistryError,
    again: Duration,
}

impl Membership {
    pub(super) fn new(
        link: Arc<RedisLink>,
        keys: KeySpace,
        settings: ClusterSettings,
        source: Arc<RecordSource>,
        leases: Arc<LeaseView>,
        wholeness: Arc<Wholeness>,
        counters: Arc<BusCounters>,
    ) -> Self {
        let standing = Arc::clone(leases.standing());
        let (former, turn) = (Mutex::default(), tokio::sync::Mutex::default());
        Self { link, keys, settings, source, standing, leases, wholeness, counters, former, turn }
    }

    /// Heartbeats until told to stop.
    pub(super) async fn run(&self, shutdown: CancellationToken) {
        let mut link = self.link.watch();
        let mut subscription = self.standing.subscription();
        loop {
            let was_registered = self.standing.ever_registered();
            let outcome = self.beat().await;
            if !was_registered && self.standing.ever_registered() {
                // Connections that came up before the first registration were not away.
                link.mark_seen();
            }
            let pause = match outcome {
                // Looked at more often until the registry is whole, so that nobody waits for that longer than needed.
                Ok(()) if !self.wholeness.is_whole() => self.settings.heartbeat_interval.min(REGISTER_AGAIN),
                Ok(()) => self.settings.heartbeat_interval,
                Err(setback) => setback.again,
            };
            if self.standing.superseded() {
                tracing::error!(node = %self.settings.node, "another process took this node's identity");
                return;
            }
            // A lease that lapses must be noticed when it does, however long the pause is.
            let wake = Instant::now() + pause;
            let wake = self.standing.lapses_at().map_or(wake, |lapse| wake.min(lapse.max(Instant::now())));
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep_until(wake.into()) => {}
                () = self.wholeness.doubt() => {}
                () = link.changed() => {
                    // Up again or down: between two looks it was away.
                    self.standing.note_away();
                    if self.link.is_up() && self.standing.ever_registered() {
                    let most = COMEBACK_JITTER.min(self.settings.heartbeat_interval / 3);
                    tokio::time::sleep(most.mul_f64(rand::random())).await;
                    }
                }
                changed = subscription.changed() => if changed.is_err() { return },
            }
        }
    }

    /// One exchange with Redis: a heartbeat, or a registration when no lease is held.
    async fn beat(&self) -> Result<(), Setback> {
        let _turn = self.turn.lock().await;
        if self.standing.superseded() {
            return Err(self.superseded_by(None));
        }
        if self.standing.has_left() {
            return Ok(());
        }
        let sent = Instant::now();
        if self.standing.registered() && (self.standing.lapsed(sent) || self.standing.take_renounced()) {
            self.end_life("the lease lapsed before it could be renewed");
        }
        let outcome = self.exchange(sent).await;
        if let Err(setback) = &outcome {
            self.counters.heartbeat_errors.add(1);
            self.standing.beat_failed(&setback.error);
        }
        outcome
    }

    /// The lease comes first, and alone decides about life: the rest may live on other primaries of a Redis Cluster,
    /// one of which may be failing over, and is tried again while the lease is extended.
    async fn exchange(&self, sent: Instant) -> Result<(), Setback> {
        if !self.standing.registered() || !self.extend().await? {
            return self.register_anew(sent).await;
        }
        self.standing.lease_extended(sent);
        let rest = async { tokio::join!(self.hold_prefix(), self.markers(), self.list_lives()) };
        let late = |_| {
            let why = "redis did not answer in time about the owner, the nodes or the markers".to_owned();
            self.setback(RegistryError::Unreachable(why))
        };
        let rest = tokio::time::timeout(self.settings.heartbeat_interval, rest).await;
        let (prefix, markers, listed) = rest.map_err(late)?;
        // What worked counts, whatever else failed.
        let found = markers.map(|(markers, age)| (self.wholeness.found(markers), age));
        let lost = matches!(found, Ok((true, _)));
        #[cfg(test)]
        let lost = lost && !fault::is(Fault::MarkerIgnored);
        if lost && self.standing.registered() {
            self.standing.beat_worked(sent, true);
            tracing::info!(instance = %self.standing.instance(), lost, "registered");
        }
        prefix?;
        let (_, age) = found?;
        listed?;
        if !lost {
            self.standing.beat_worked(sent, false);
        }
        self.judge_wholeness(age).await
    }

    async fn register_anew(&self, sent: Instant) -> Result<(), Setback> {
        self.hold_prefix().await?;
        let (markers, age) = self.markers().await?;
        if !self.standing.ever_registered() {
            self.look_for_the_dead().await?;
        }
        self.register().await?;
        // Before this node counts as registered: what is not listed is never swept.
        self.list_lives().await?;
        let lost = self.wholeness.found(markers);
        self.standing.beat_worked(sent, true);
        tracing::info!(instance = %self.standing.instance(), lost, "registered");
        self.judge_wholeness(age).await
    }

    /// Finds out whether Redis still has what was written: the markers by key, and the age of the youngest.
    async fn markers(&self) -> Result<(BTreeMap<String, String>, Duration), Setback> {
        let (mut markers, mut youngest) = (BTreeMap::new(), Duration::MAX);
        for tag in self.link.tags() {
            let key = self.keys.marker(tag.as_deref());
            let mut script = scripts::MARKER.key(&key);
            script.arg(ulid::Ulid::generate().to_string());
            let (marker, age_us): (String, u64) =
                self.link.script(&script).await.map_err(|f| self.setback(f.error))?;
            youngest = youngest.min(Duration::from_micros(age_us));
            markers.insert(key, marker);
        }
        if markers.is_empty() {
            let why = "no primary of the redis cluster is known yet".to_owned();
            return Err(self.setback(self.link.why_down().unwrap_or(RegistryError::Other(why))));
        }
        Ok((markers, youngest))
    }

    /// Finds out whether everybody has written again what a new marker says was lost.
    async fn judge_wholeness(&self, age: Duration) -> Result<(), Setback> {
        if self.wholeness.is_whole() || age < self.settings.lease {
            return Ok(());
        }
        let listed = self.leases.listed().await.map_err(|error| self.setback(error))?;
        let leases = self.leases.read(&listed).await.map_err(|error| self.setback(error))?;
        let carried = leases.iter().filter_map(|lease| match lease {
            Lease::Held(record, _) => Some(record.asserted.as_deref()),
            Lease::NotHeld => None,
            Lease::Unreadable => Some(None),
        });
        if self.wholeness.judge(age, self.settings.lease, carried) {
            tracing::info!("the registry is whole: every node has written its users");
        }
        Ok(())
    }

    /// Nodes without a lease may be on their way back from the same loss of Redis that this process does not know of.
    async fn look_for_the_dead(&self) -> Result<(), Setback> {
        let listed = self.leases.listed().await.map_err(|error| self.setback(error))?;
        let leases = self.leases.read(&listed).await.map_err(|error| self.setback(error))?;
        let dead = |(instance, lease): (&NodeInstance, &Lease)| {
            *lease == Lease::NotHeld && instance.node != self.settings.node
        };
        if listed.iter().zip(&leases).any(dead) {
            self.standing.be_cautious();
        }
        Ok(())
    }

    /// All users of this node were written in this epoch: says so in the record, at once.
    pub(super) async fn asserted(&self, epoch: u64) {
        {
            let _turn = self.turn.lock().await;
            if self.standing.registration().borrow().epoch != epoch {
                return;
            }
            self.wholeness.assert_own();
        }
        // What fails is said by the next heartbeat.
        let _ = self.beat().await;
    }

    /// Renews the owner of the prefix; an empty owner asks for none.
    async fn hold_prefix(&self) -> Result<(), Setback> {
        if self.settings.owner.is_empty() {
            return Ok(());
        }
        let mut script = scripts::OWN.key(self.keys.owner());
        script.arg(&self.settings.owner).arg(millis(OWNER_LIFE));
        let other: String = self.link.script(&script).await.map_err(|f| self.setback(f.error))?;
        if other.is_empty() {
            return Ok(());
        }
        self.end_life("another owner has the key prefix");
        Err(self.setback(RegistryError::PrefixInUse(format!(
            "the key prefix {:?} belongs to {other}; give this cluster another prefix or stop that one and wait 60 s",
            self.settings.key_prefix
        ))))
    }

    /// Extends the lease. `false`: it is gone, and this life with it.
    async fn extend(&self) -> Result<bool, Setback> {
        let instance = self.standing.instance();
        let mut script = scripts::HEARTBEAT.key(self.keys.lease(&instance.node));
        script
            .arg(self.record(&instance)?)
            .arg(millis(self.settings.lease))
            .arg(instance.incarnation.to_string());
        let (answer, holder): (u8, String) =
            self.link.script(&script).await.map_err(|f| self.setback(f.error))?;
        match answer {
            1 => return Ok(true),
            0 => self.end_life("the lease is missing in redis"),
            _ => {
                self.end_life("another process holds the lease");
                self.standing.supersede();
                return Err(self.superseded_by(serde_json::from_str(&holder).ok().as_ref()));
            }
        }
        Ok(false)
    }

    async fn register(&self) -> Result<(), Setback> {
        // A node that is listed but hears nothing would swallow what others send to it.
        if let Subscription::Down(error) = &*self.standing.subscription().borrow() {
            return Err(self.setback(self.link.why_down().unwrap_or_else(|| error.clone())));
        }
        let instance = self.standing.instance();
        let first = !self.standing.ever_registered();
        let mut script = scripts::REGISTER.key(self.keys.lease(&instance.node));
        script
            .arg(self.record(&instance)?)
            .arg(millis(self.settings.lease))
            .arg(format!("{}.", instance.incarnation.start_id()))
            .arg(&self.settings.pod_uid)
            // Who was registered before and finds somebody else there has itself been taken over.
            .arg(u8::from(first));
        let (taken, holder, left_ms): (u8, String, i64) =
            self.link.script(&script).await.map_err(|f| self.setback(f.error))?;
        if taken == 1 {
            return Ok(());
        }
        let holder: Option<NodeRecord> = serde_json::from_str(&holder).ok();
        if !first {
            self.standing.supersede();
            return Err(self.superseded_by(holder.as_ref()));
        }
        let left = Duration::from_millis(u64::try_from(left_ms).unwrap_or(0));
        let error = RegistryError::NodeIdInUse(format!(
            "node {} is held by {} for another {:.1} s unless it renews; stop that process or give this one another node id",
            instance.node,
            describe(holder.as_ref()),
            left.as_secs_f64()
        ));
        let again = (left + Duration::from_millis(20)).min(REGISTER_AGAIN);
        Err(Setback { error, again })
    }

    /// Keeps the present life, and those that ended, in the set that reapers read.
    async fn list_lives(&self) -> Result<(), Setback> {
        let mut command = redis::cmd("SADD");
        command.arg(self.keys.nodes()).arg(self.standing.instance().to_string());
        let former = self.former.lock().clone();
        for instance in &former {
            command.arg(instance.to_string());
        }
        self.link.command::<()>(&command).await.map_err(|f| self.setback(f.error))?;
        // Each former life is listed once more only: after that its sweep is the reapers' work.
        self.former.lock().retain(|instance| !former.contains(instance));
        Ok(())
    }

    fn end_life(&self, why: &str) {
        if let Some(ended) = self.standing.end_life() {
            tracing::warn!(instance = %ended, why, "this life of the node is over");
            let mut former = self.former.lock();
            if former.len() < FORMER_LIVES {
                former.push(ended);
            }
        }
    }

    /// Takes a new status and, if registered, writes it at once.
    pub(super) async fn set_status(&self, status: NodeStatus) -> Result<(), RegistryError> {
        self.source.set_status(status);
        if !self.standing.registered() {
            return Ok(());
        }
        self.beat().await.map_err(|setback| setback.error)
    }

    /// Gives the lease up. From here on the node counts as gone.
    pub(super) async fn give_up(&self) -> Result<(), RegistryError> {
        let _turn = self.turn.lock().await;
        let instance = self.standing.instance();
        self.standing.leave();
        let mut script = scripts::GIVE_UP.key(self.keys.lease(&instance.node));
        script.arg(instance.incarnation.to_string());
        self.link.script::<u8>(&script).await.map(drop).map_err(|f| f.error)
    }

    fn record(&self, instance: &NodeInstance) -> Result<String, Setback> {
        let mut record = self.source.record(instance.incarnation.clone());
        record.asserted = self.wholeness.asserted();
        serde_json::to_string(&record).map_err(|e| {
            self.setback(RegistryError::Other(format!("the node record cannot be written: {e}")))
        })
    }

    fn setback(&self, error: RegistryError) -> Setback {
        Setback { error, again: self.settings.heartbeat_interval.min(REGISTER_AGAIN) }
    }

    fn superseded_by(&self, holder: Option<&NodeRecord>) -> Setback {
        self.setback(RegistryError::NodeIdInUse(format!(
            "node {} was taken over by {}; this process must end",
            self.settings.node,
            describe(holder)
        )))
    }
}

fn describe(holder: Option<&NodeRecord>) -> String {
    match holder {
        Some(record) if record.pod_uid.is_empty() => {
            format!("the process {} at {}:{}", record.incarnation, record.ip_address, record.port)
        }
        Some(record) => format!(
            "the process {} of pod {} at {}:{}",
            record.incarnation, record.pod_uid, record.ip_address, record.port
        ),
        None => "another process".to_owned(),
    }
}

/// Whole milliseconds, at least 1, as Redis wants them.
pub(super) fn millis(duration: Duration) -> u64 {
    whole_millis(duration).max(1)
}
