//! What a plan can say: one operation and its next step.

use std::time::Duration;

/// What kind of operation is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// More pods.
    ScaleUp,
    /// Fewer pods.
    ScaleDown,
    /// Pods are brought to the latest template one by one.
    Rollout,
    /// A pod that cannot run is replaced.
    Repair,
    /// All pods end; everything else stays.
    Stop,
}

impl Kind {
    /// Word used in the status of the resource.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::ScaleUp => "ScaleUp",
            Self::ScaleDown => "ScaleDown",
            Self::Rollout => "Rollout",
            Self::Repair => "Repair",
            Self::Stop => "Stop",
        }
    }
}

/// A pod a step is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Victim {
    /// Name of the pod.
    pub name: String,
    /// UID the deletion is bound to.
    pub uid: String,
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
}

/// Why nothing is done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// Another pod is down; deleting one more would widen the gap.
    PodDown,
    /// The StatefulSet controller has not caught up.
    Controller,
    /// The replaced pod must stay Ready a little longer.
    MinReady,
    /// Redis is not reachable for some node.
    Redis,
    /// A smaller number of replicas must be wished for a while before pods go.
    Settle,
}

/// The next action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Nothing to do.
    Rest,
    /// Look again after a while, or when something changes.
    Wait {
        /// Why.
        hold: Hold,
        /// How long at most.
        after: Duration,
    },
    /// Set the number of replicas of the StatefulSet.
    SetReplicas {
        /// The number it has.
        from: i32,
        /// The number it gets.
        to: i32,
    },
    /// Delete one pod; the StatefulSet controller makes it again from the latest template.
    DeletePod(Victim),
}

impl Step {
    /// Whether the step changes anything in the cluster, and so needs the fence.
    #[must_use]
    pub fn acts(&self) -> bool {
        matches!(self, Self::SetReplicas { .. } | Self::DeletePod(_))
    }
}

/// A rollout that cannot go on by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stuck {
    /// The pod of the latest template that does not become Ready.
    pub pod: String,
    /// Why, in the cluster's words where it has any.
    pub cause: String,
}

/// What should happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The operation under way; `None` when the wish is fulfilled. While the step is to wait for
    /// [`Hold::Controller`], `None` means that what is on record stays.
    pub operation: Option<Operation>,
    /// Its next step.
    pub step: Step,
    /// Set when the latest template does not come up.
    pub stuck: Option<Stuck>,
}

impl Plan {
    /// The wish is fulfilled, or there is nothing to decide on yet.
    #[must_use]
    pub fn rest() -> Self {
        Self { operation: None, step: Step::Rest, stuck: None }
    }
}
