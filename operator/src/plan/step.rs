//! What a plan can do: steps, each of which changes something outside the operator.

use std::time::Duration;

use super::drain_order::DrainOrder;

/// A pod a step is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Victim {
    /// Name of the pod.
    pub name: String,
    /// UID the step is bound to.
    pub uid: String,
}

/// What kind of step; the word stands in the status before the step is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum StepKind {
    /// See [`Step::Drain`].
    Drain,
    /// See [`Step::CancelDrain`].
    CancelDrain,
    /// See [`Step::Delete`].
    Delete,
    /// See [`Step::ForceDelete`].
    ForceDelete,
    /// See [`Step::SetReplicas`].
    SetReplicas,
    /// See [`Step::PutBack`].
    PutBack,
    /// See [`Step::Rebalance`].
    Rebalance,
}

impl StepKind {
    /// Every kind there is.
    pub const ALL: [Self; 7] = [
        Self::Drain,
        Self::CancelDrain,
        Self::Delete,
        Self::ForceDelete,
        Self::SetReplicas,
        Self::PutBack,
        Self::Rebalance,
    ];

    /// Word used in the status of the resource.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Drain => "Drain",
            Self::CancelDrain => "CancelDrain",
            Self::Delete => "Delete",
            Self::ForceDelete => "ForceDelete",
            Self::SetReplicas => "SetReplicas",
            Self::PutBack => "PutBack",
            Self::Rebalance => "Rebalance",
        }
    }
}

/// One change. All of them need the fence: the status that names them is written first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Tell a hub to move its clients away.
    Drain {
        /// The pod.
        victim: Victim,
        /// How.
        order: DrainOrder,
    },
    /// Take back a drain that the operator began.
    CancelDrain {
        /// The pod.
        victim: Victim,
    },
    /// Delete one pod with its own grace; the StatefulSet controller makes it again from the latest template.
    Delete {
        /// The pod.
        victim: Victim,
    },
    /// Remove a pod whose node is lost: nobody is left who could end it.
    ForceDelete {
        /// The pod.
        victim: Victim,
    },
    /// Set the number of replicas of the StatefulSet.
    SetReplicas {
        /// The number it has.
        from: i32,
        /// The number it gets.
        to: i32,
        /// Pods that come or go by it; those that come have no uid yet.
        pods: Vec<Victim>,
    },
    /// Put the template of an older revision back, because the latest does not come up.
    PutBack {
        /// Name of the ControllerRevision.
        revision: String,
        /// The pod that does not come up.
        victim: Victim,
        /// Why it does not, in the cluster's words where it has any.
        cause: String,
    },
    /// Move connections above the mean to other nodes.
    Rebalance {
        /// Run id of the request.
        run: String,
        /// Pods that are too full and how many connections each closes; may be empty.
        excess: Vec<(Victim, u32)>,
        /// Connections closed per second and node.
        rate: u32,
    },
}

impl Step {
    /// What kind of step it is.
    #[must_use]
    pub fn kind(&self) -> StepKind {
        match self {
            Self::Drain { .. } => StepKind::Drain,
            Self::CancelDrain { .. } => StepKind::CancelDrain,
            Self::Delete { .. } => StepKind::Delete,
            Self::ForceDelete { .. } => StepKind::ForceDelete,
            Self::SetReplicas { .. } => StepKind::SetReplicas,
            Self::PutBack { .. } => StepKind::PutBack,
            Self::Rebalance { .. } => StepKind::Rebalance,
        }
    }

    /// The pods it is about.
    #[must_use]
    pub fn victims(&self) -> Vec<&Victim> {
        match self {
            Self::Drain { victim, .. }
            | Self::CancelDrain { victim }
            | Self::Delete { victim }
            | Self::ForceDelete { victim }
            | Self::PutBack { victim, .. } => vec![victim],
            Self::SetReplicas { pods, .. } => pods.iter().collect(),
            Self::Rebalance { excess, .. } => excess.iter().map(|(victim, _)| victim).collect(),
        }
    }
}

/// Why nothing (more) is done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// A pod is down or on its way; taking one more down would widen the gap.
    PodDown,
    /// Clients are being moved.
    Draining,
    /// The StatefulSet controller has not caught up.
    Controller,
    /// The replaced pod must stay Ready a little longer.
    MinReady,
    /// Redis is not reachable for some node.
    Redis,
    /// A smaller number of replicas must be wished for a while before pods go.
    Settle,
    /// The other nodes have no room for the clients of the next pod.
    NoRoom,
}

/// What is waited for, and how long at most until another look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait {
    /// Why.
    pub hold: Hold,
    /// How long at most.
    pub after: Duration,
}
