//! Everything observed of one cluster at one moment.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::jiff::Timestamp;

use super::fleet::Fleet;
use super::hub::{HubPhase, HubReport, HubView};
use super::pod::HubPod;
use super::redis::RedisHealth;

/// The operation recorded in the status of the resource, as far as decisions need it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ongoing {
    /// Identity; the same wish gives the same id.
    pub id: String,
    /// When it began.
    pub started_at: Timestamp,
    /// Pods in all, as it was written first.
    pub total: i32,
}

/// Everything observed of one cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct World {
    /// The hub StatefulSet; `None` before it exists.
    pub fleet: Option<Fleet>,
    /// The hub pods, in order of their ordinals.
    pub pods: Vec<HubPod>,
    /// What is known of each hub, by pod UID.
    pub hubs: BTreeMap<String, HubView>,
    /// Redis as the hubs see it.
    pub redis: RedisHealth,
    /// The operation on record.
    pub ongoing: Option<Ongoing>,
    /// Replicas wished for when the status was last written; tells a new wish from an edited
    /// StatefulSet.
    pub last_wish: Option<i32>,
    /// UIDs of pods that the record names for a step that takes them down. Whoever wrote it may be about to take the
    /// step, so these pods come first.
    pub claimed: BTreeSet<String>,
    /// Ids of the nodes that the registered nodes list; `None` when none of them answered.
    pub listed: Option<BTreeSet<String>>,
    /// Run id of the rebalance that was carried out last.
    pub rebalanced: Option<String>,
}

/// How a pod stands towards the cluster, from worst to best.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// There is no pod with this ordinal.
    Missing,
    /// It is being deleted.
    Terminating,
    /// The Ready condition is not True.
    NotReady,
    /// Ready, but its admin API did not answer.
    Unknown,
    /// Ready, but not registered with the other nodes.
    Unregistered,
    /// It moves its clients away.
    Draining,
    /// Ready and registered.
    Active,
}

impl Standing {
    /// Word used in the status of the resource.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Missing | Self::Terminating | Self::NotReady => "NotReady",
            Self::Unknown => "Unknown",
            Self::Unregistered => "Unregistered",
            Self::Draining => "Draining",
            Self::Active => "Active",
        }
    }
}

impl World {
    /// Puts the readings together: sorts the pods and judges Redis.
    #[must_use]
    pub fn new(
        fleet: Option<Fleet>,
        mut pods: Vec<HubPod>,
        hubs: BTreeMap<String, HubView>,
        ongoing: Option<Ongoing>,
    ) -> Self {
        pods.sort_by_key(|pod| pod.ordinal);
        let mut world = Self {
            fleet,
            pods,
            hubs,
            redis: RedisHealth::Unknown,
            ongoing,
            last_wish: None,
            claimed: BTreeSet::new(),
            listed: None,
            rebalanced: None,
        };
        world.redis = RedisHealth::judge(&world.reports());
        world
    }

    /// How a pod stands.
    #[must_use]
    pub fn standing(&self, pod: &HubPod) -> Standing {
        if pod.terminating {
            return Standing::Terminating;
        }
        let view = self.hubs.get(&pod.uid);
        let report = view.and_then(HubView::report);
        // A draining hub answers 503 and so loses Ready; its own word is the better one.
        if report.is_some_and(|report| matches!(report.phase, HubPhase::Draining | HubPhase::Closed)) {
            return Standing::Draining;
        }
        if !pod.ready {
            return Standing::NotReady;
        }
        match view {
            Some(view) if view.registered => Standing::Active,
            Some(HubView { answer: Ok(_), .. }) => Standing::Unregistered,
            Some(_) | None => Standing::Unknown,
        }
    }

    /// The pod with an ordinal.
    #[must_use]
    pub fn pod(&self, ordinal: i32) -> Option<&HubPod> {
        self.pods.iter().find(|pod| pod.ordinal == ordinal)
    }

    /// Reports of the hubs that answered, by node id, without pods that are going away.
    #[must_use]
    pub fn reports(&self) -> BTreeMap<String, HubReport> {
        self.pods
            .iter()
            .filter(|pod| !pod.terminating)
            .filter_map(|pod| {
                let report = self.hubs.get(&pod.uid)?.report()?;
                Some((pod.name.clone(), report.clone()))
            })
            .collect()
    }

    /// Open connections and the most the answering hubs accept.
    #[must_use]
    pub fn connections(&self) -> (i64, i64) {
        self.reports().values().fold((0, 0), |(total, capacity), report| {
            (total + report.connections, capacity + report.max_connections)
        })
    }
}
