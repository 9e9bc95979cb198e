//! What the operator reports about a cluster.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the operator last saw. A new resource carries `observedGeneration: -1`, so that nothing takes it for ready
/// before the operator has looked at it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct WscClusterStatus {
    /// Generation of the spec that this status speaks of; -1 before the first look.
    pub observed_generation: i64,
    /// One word for people: Pending, Progressing, Ready, Degraded, Stopped, Paused or Invalid. Programs read the
    /// conditions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// Label selector of the hub pods, for the scale subresource and autoscalers.
    pub selector: String,
    /// Hub pods that exist.
    pub replicas: i32,
    /// Hub pods there should be.
    pub desired_replicas: i32,
    /// Hub pods that are ready by their probe.
    pub ready_replicas: i32,
    /// Hub pods made from the current template.
    pub updated_replicas: i32,
    /// Hub nodes that are registered in Redis, by their own word and that of another node.
    pub registered_nodes: i32,
    /// Hub image that the pod template names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Client connections of all nodes.
    pub connections: ConnectionsStatus,
    /// What the operator is doing to the pods; absent when nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<OperationStatus>,
    /// Value of annotation wsc.dev/rebalance that was carried out last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rebalanced: Option<String>,
    /// The nodes, those that are not active first. At most 50.
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub nodes: Vec<NodeStatus>,
    /// Where the hub is reached.
    pub endpoints: EndpointsStatus,
    /// Ready, Available, Progressing, Degraded, SpecValid, RedisReady, ExposureReady and AutoscalingActive are always
    /// present; Reconciling
    /// and Stalled only when True. Each message says what to do next, if anything.
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

impl Default for WscClusterStatus {
    fn default() -> Self {
        Self {
            observed_generation: -1,
            phase: None,
            selector: String::new(),
            replicas: 0,
            desired_replicas: 0,
            ready_replicas: 0,
            updated_replicas: 0,
            registered_nodes: 0,
            image: None,
            connections: ConnectionsStatus::default(),
            operation: None,
            rebalanced: None,
            nodes: Vec::new(),
            endpoints: EndpointsStatus::default(),
            conditions: Vec::new(),
        }
    }
}

/// One word for the state of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Phase {
    /// Being set up for the first time.
    Pending,
    /// On the way to what the spec asks for.
    Progressing,
    /// As the spec asks for.
    Ready,
    /// Serving with a fault, or stuck.
    Degraded,
    /// Scaled to nothing by `spec.stopped`.
    Stopped,
    /// Only observed, by `spec.paused`.
    Paused,
    /// The spec cannot be carried out.
    Invalid,
}

/// Client connections of all nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ConnectionsStatus {
    /// Open now; written when it changed by 5 % of the capacity, and at most every 30 s.
    pub total: i64,
    /// The most the active nodes accept together.
    pub capacity: i64,
}

/// What the operator is doing to the pods.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OperationStatus {
    /// Identifier of this operation.
    pub id: String,
    /// Repair (a broken pod is replaced), ScaleUp, Rollout (changed pods are replaced), ScaleDown, Resume (drains that
    /// nobody needs any more are taken back) or Rebalance.
    #[serde(rename = "type")]
    pub type_: OperationType,
    /// Pods being worked on, at most 50.
    #[serde(default)]
    pub pods: Vec<OperationPod>,
    /// Pods that are finished.
    pub done: i32,
    /// Pods to do in all.
    pub total: i32,
    /// When the operation began.
    pub started_at: Time,
    /// What is being waited for.
    #[serde(default)]
    pub message: String,
}

/// The kind of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OperationType {
    /// A broken pod is replaced.
    Repair,
    /// Pods are added.
    ScaleUp,
    /// Changed pods are replaced.
    Rollout,
    /// Pods are removed.
    ScaleDown,
    /// Drains that the operator began and nobody needs any more are taken back.
    Resume,
    /// Connections above the mean are moved to other nodes.
    Rebalance,
}

/// A pod that is being worked on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OperationPod {
    /// Name of the pod.
    pub name: String,
    /// Uid of the pod the step was planned for.
    #[serde(default)]
    pub uid: String,
    /// The step: Drain, CancelDrain, Delete, ForceDelete, SetReplicas, PutBack or Rebalance is written before it is
    /// taken; Draining, Ending and Starting say what is waited for.
    pub step: String,
}

/// A hub node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeStatus {
    /// Name of the node, which is the name of its pod.
    pub name: String,
    /// Active, Draining, Unregistered, NotReady, or Unknown when the node does not answer.
    pub state: NodeState,
    /// Revision of the pod template it was made from.
    #[serde(default)]
    pub revision: String,
}

/// The state of a hub node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum NodeState {
    /// Ready and registered.
    Active,
    /// Moving its clients away.
    Draining,
    /// Ready but not registered in Redis.
    Unregistered,
    /// Not ready by its probe.
    NotReady,
    /// Not answering the operator.
    Unknown,
}

/// Where the hub is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct EndpointsStatus {
    /// WebSocket URL inside the Kubernetes cluster.
    pub internal: String,
    /// WebSocket URL of the first host of the exposure; absent without exposure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external: Option<String>,
}
