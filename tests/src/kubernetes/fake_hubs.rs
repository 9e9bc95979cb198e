//! All hubs of a namespace, the clients that move between them, and what happened.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use super::fake_hub::{FakeDrain, FakeHub};

/// All hubs of a namespace.
#[derive(Debug, Default)]
pub struct FakeHubs {
    /// By UID of the pod.
    pub hubs: BTreeMap<String, FakeHub>,
    /// What happened: `drain chat-2 <id>`, `cancel chat-2`, `rebalance chat-2 40`, `end chat-2 <connections>`.
    pub log: Vec<String>,
    /// When anything was asked of a hub, oldest first.
    pub asked: Vec<SystemTime>,
    /// Why the kubelet cannot go on at present, if it cannot.
    pub trouble: Option<String>,
    /// Clients without a hub, by resource.
    homeless: BTreeMap<String, f64>,
    seen: BTreeMap<String, Seen>,
}

/// What was seen of the pods of a resource.
#[derive(Debug, Default)]
struct Seen {
    /// Ordinals that are watched.
    expected: u32,
    /// Most of them that were down at once.
    worst: usize,
    /// Pods that serve now.
    serving: usize,
}

/// The hubs, shared between their servers and the kubelet.
pub type SharedHubs = Arc<Mutex<FakeHubs>>;

/// The hubs, whatever became of a thread that held them.
pub fn lock(hubs: &SharedHubs) -> MutexGuard<'_, FakeHubs> {
    hubs.lock().unwrap_or_else(PoisonError::into_inner)
}

impl FakeHubs {
    /// Closes what drains have to close and lets clients come back.
    pub fn pass(&mut self, passed: Duration) {
        for hub in self.hubs.values_mut() {
            let closed = hub.close_due(passed);
            if closed > 0.0 {
                *self.homeless.entry(hub.cluster.clone()).or_default() += closed;
            }
        }
        for (cluster, homeless) in self.homeless.iter_mut().filter(|(_, homeless)| **homeless > 0.0) {
            let mut open: Vec<&mut FakeHub> = self
                .hubs
                .values_mut()
                .filter(|hub| &hub.cluster == cluster)
                .filter(|hub| hub.is_active() && hub.connections < hub.max_connections)
                .collect();
            #[expect(clippy::cast_precision_loss, reason = "a handful")]
            let share = *homeless / open.len().max(1) as f64;
            for hub in &mut open {
                let came = share.min(hub.max_connections - hub.connections);
                hub.connections += came;
                *homeless -= came;
            }
        }
    }

    /// From now on a resource has this many clients: more come to whatever node takes them, or a part of all leaves.
    pub fn clients(&mut self, cluster: &str, clients: f64) {
        let homeless = self.homeless.entry(cluster.to_owned()).or_default();
        let mut hubs: Vec<&mut FakeHub> =
            self.hubs.values_mut().filter(|hub| hub.cluster == cluster).collect();
        let present = *homeless + hubs.iter().map(|hub| hub.connections).sum::<f64>();
        if clients >= present {
            *homeless += clients - present;
            return;
        }
        let stays = clients / present;
        *homeless *= stays;
        for hub in &mut hubs {
            hub.connections *= stays;
        }
    }

    /// The hub of a pod, by name.
    pub fn named(&mut self, name: &str) -> Option<&mut FakeHub> {
        self.hubs.values_mut().find(|hub| hub.name == name)
    }

    /// Begins to drain a hub, as `POST /admin/drain` does.
    pub fn drain(&mut self, uid: &str, id: &str, rate: f64, deadline: Option<Duration>) {
        let Some(hub) = self.hubs.get_mut(uid) else { return };
        let (started, started_at) = match &hub.drain {
            Some(drain) if drain.id == id => (drain.started, drain.started_at),
            _ => (Instant::now(), SystemTime::now()),
        };
        hub.drain = Some(FakeDrain { id: id.to_owned(), rate, started, started_at, deadline });
        self.log.push(format!("drain {} {id}", hub.name));
    }

    /// Ends the hub of a pod as its kubelet does; what clients it had look for another.
    pub(super) fn end(&mut self, uid: &str) {
        let Some(hub) = self.hubs.remove(uid) else { return };
        hub.stop.cancel();
        self.log.push(format!("end {} {:.0}", hub.name, hub.connections));
        self.leave(&hub.cluster, hub.connections);
    }

    /// Clients of a resource that have to look for a hub.
    pub(super) fn leave(&mut self, cluster: &str, clients: f64) {
        *self.homeless.entry(cluster.to_owned()).or_default() += clients;
    }

    /// Forgets hubs whose pods are gone with nobody's doing.
    pub(super) fn keep(&mut self, there: &BTreeSet<String>) {
        let mut left = Vec::new();
        self.hubs.retain(|uid, hub| {
            let stays = there.contains(uid);
            if !stays {
                hub.stop.cancel();
                left.push((hub.cluster.clone(), hub.connections));
            }
            stays
        });
        for (cluster, connections) in left {
            self.leave(&cluster, connections);
        }
    }

    /// From now on notes how many of the first `expected` pods of a resource are down at once.
    pub(super) fn watch(&mut self, cluster: &str, expected: u32) {
        let seen = self.seen.entry(cluster.to_owned()).or_default();
        (seen.expected, seen.worst) = (expected, 0);
    }

    /// Notes which ordinals serve.
    pub(super) fn saw(&mut self, up: &BTreeMap<String, BTreeSet<u32>>) {
        for cluster in up.keys() {
            self.seen.entry(cluster.clone()).or_default();
        }
        for (cluster, seen) in &mut self.seen {
            let serves = |ordinal: &u32| up.get(cluster).is_some_and(|up| up.contains(ordinal));
            let down = (0..seen.expected).filter(|ordinal| !serves(ordinal)).count();
            seen.worst = seen.worst.max(down);
            seen.serving = up.get(cluster).map_or(0, BTreeSet::len);
        }
    }

    /// Most of the watched pods of one resource that were down at once.
    pub(super) fn worst(&self) -> usize {
        self.seen.values().map(|seen| seen.worst).max().unwrap_or(0)
    }

    /// Pods that serve clients now.
    pub(super) fn serving(&self) -> usize {
        self.seen.values().map(|seen| seen.serving).sum()
    }
}
