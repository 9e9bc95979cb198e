//! What a plan says: one operation, its steps now, and what is waited for.

use super::step::{Step, Victim, Wait};

/// What kind of operation is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A pod that cannot run is replaced, or one of a lost node removed.
    Repair,
    /// More pods.
    ScaleUp,
    /// Pods are brought to the latest template.
    Rollout,
    /// Fewer pods.
    ScaleDown,
    /// All pods end; everything else stays.
    Stop,
    /// Drains that nobody needs any more are taken back.
    Resume,
    /// Connections above the mean are moved to other nodes.
    Rebalance,
}

impl Kind {
    /// Word used in tests and logs.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Repair => "Repair",
            Self::ScaleUp => "ScaleUp",
            Self::Rollout => "Rollout",
            Self::ScaleDown => "ScaleDown",
            Self::Stop => "Stop",
            Self::Resume => "Resume",
            Self::Rebalance => "Rebalance",
        }
    }
}

/// Something that is waited for at one pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watch {
    /// Its clients are being moved.
    Draining,
    /// It is being deleted.
    Ending,
    /// It is new and does not serve yet.
    Starting,
}

impl Watch {
    /// Word used in the status of the resource.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Draining => "Draining",
            Self::Ending => "Ending",
            Self::Starting => "Starting",
        }
    }
}

/// The one operation under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// Identity: the same wish gives the same id, so that it survives restarts of the operator.
    pub id: String,
    /// What kind.
    pub kind: Kind,
    /// Pods that are done.
    pub done: i32,
    /// Pods in all.
    pub total: i32,
    /// One sentence: what happens or what is waited for.
    pub message: String,
    /// Pods that no step is about and that are on their way.
    pub watched: Vec<(Victim, Watch)>,
}

/// A rollout that cannot go on by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stuck {
    /// The pod of the refused template that does not become Ready.
    pub pod: String,
    /// Why, in the cluster's words where it has any.
    pub cause: String,
    /// Whether the last good template has been put back.
    pub put_back: bool,
}

/// What should happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The operation under way; `None` when the wish is fulfilled. While the wait is for
    /// [`super::step::Hold::Controller`], `None` means that what is on record stays.
    pub operation: Option<Operation>,
    /// What is to be done now, in this order.
    pub steps: Vec<Step>,
    /// What is waited for; `None` when nothing is.
    pub wait: Option<Wait>,
    /// Set when the latest template does not come up.
    pub stuck: Option<Stuck>,
}

impl Plan {
    /// The wish is fulfilled, or there is nothing to decide on yet.
    #[must_use]
    pub fn rest() -> Self {
        Self { operation: None, steps: Vec::new(), wait: None, stuck: None }
    }

    /// Whether the plan changes anything in the cluster, and so needs the fence.
    #[must_use]
    pub fn acts(&self) -> bool {
        !self.steps.is_empty()
    }

    /// Whether the answers of the hubs and the pods must be fresh before it is carried out: everything but adding pods
    /// takes somebody's connections away, or relies on what a pod said.
    #[must_use]
    pub fn needs_fresh_world(&self) -> bool {
        self.steps.iter().any(|step| !matches!(step, Step::SetReplicas { from, to, .. } if to > from))
    }
}
