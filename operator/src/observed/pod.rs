//! One hub pod, reduced to what decisions need.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod, PodSpec};
use k8s_openapi::jiff::Timestamp;

/// Name of the container that runs the hub in every hub pod.
pub const HUB_CONTAINER: &str = "hub";

/// Label in which the StatefulSet controller records the template revision of a pod.
const REVISION_LABEL: &str = "controller-revision-hash";

/// Why a pod cannot run, as far as the kubelet or the scheduler says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// The image cannot be pulled, or its name is not valid.
    ImagePull,
    /// The container could not be created, for example a volume's Secret is missing.
    Config,
    /// The process keeps ending.
    CrashLoop,
    /// No node has room, or none matches the pod's constraints.
    Unschedulable,
}

/// A fault with the cluster's own words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What kind of fault.
    pub kind: FaultKind,
    /// The message of the kubelet or scheduler; may be empty.
    pub message: String,
}

/// One hub pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubPod {
    /// Name; also the id of the node it runs.
    pub name: String,
    /// UID; deletes are bound to it.
    pub uid: String,
    /// Number at the end of the name.
    pub ordinal: i32,
    /// Pod IP once one is assigned.
    pub ip: Option<String>,
    /// Template revision it was made from; empty when the label is missing.
    pub revision: String,
    /// True once a deletion was asked for.
    pub terminating: bool,
    /// When its grace ends or ended, once a deletion was asked for.
    pub deletion: Option<Timestamp>,
    /// The Ready condition.
    pub ready: bool,
    /// When `ready` last changed; the creation time when the kubelet has not said anything yet.
    pub ready_changed: Timestamp,
    /// Whether the hub container runs now.
    pub running: bool,
    /// Why it does not run, if the cluster says so.
    pub fault: Option<Fault>,
    /// The Redis wiring the pod was started with (`WSC_REDIS_*` and `WSC_KEY_PREFIX`).
    pub redis_wiring: BTreeMap<String, String>,
}

impl HubPod {
    /// Reads a pod. `None` for a pod without name, uid or ordinal, which no StatefulSet makes.
    #[must_use]
    pub fn read(pod: &Pod) -> Option<Self> {
        let name = pod.metadata.name.clone()?;
        let uid = pod.metadata.uid.clone()?;
        let ordinal = name.rsplit_once('-')?.1.parse().ok()?;
        let status = pod.status.as_ref();
        let created = pod.metadata.creation_timestamp.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0);
        let conditions = status.and_then(|status| status.conditions.as_deref()).unwrap_or_default();
        let ready_condition = conditions.iter().find(|condition| condition.type_ == "Ready");
        let container = status
            .and_then(|status| status.container_statuses.as_deref())
            .unwrap_or_default()
            .iter()
            .find(|container| container.name == HUB_CONTAINER);
        let unschedulable = conditions
            .iter()
            .find(|condition| condition.type_ == "PodScheduled" && condition.status == "False")
            .map(|condition| Fault {
                kind: FaultKind::Unschedulable,
                message: condition.message.clone().unwrap_or_default(),
            });
        let ready = ready_condition.is_some_and(|condition| condition.status == "True");
        Some(Self {
            ordinal,
            ip: status.and_then(|status| status.pod_ip.clone()).filter(|ip| !ip.is_empty()),
            revision: pod
                .metadata
                .labels
                .as_ref()
                .and_then(|labels| labels.get(REVISION_LABEL).cloned())
                .unwrap_or_default(),
            terminating: pod.metadata.deletion_timestamp.is_some(),
            deletion: pod.metadata.deletion_timestamp.as_ref().map(|time| time.0),
            ready,
            ready_changed: ready_condition
                .and_then(|condition| condition.last_transition_time.as_ref())
                .map_or(created, |time| time.0),
            running: container
                .and_then(|container| container.state.as_ref())
                .is_some_and(|state| state.running.is_some()),
            fault: if ready { None } else { unschedulable.or_else(|| container.and_then(container_fault)) },
            redis_wiring: pod.spec.as_ref().map(redis_wiring).unwrap_or_default(),
            name,
            uid,
        })
    }
}

fn container_fault(container: &ContainerStatus) -> Option<Fault> {
    let waiting = container.state.as_ref().and_then(|state| state.waiting.as_ref());
    let reason = waiting.and_then(|waiting| waiting.reason.as_deref()).unwrap_or_default();
    let message = waiting.and_then(|waiting| waiting.message.clone()).unwrap_or_default();
    let kind = match reason {
        "ImagePullBackOff"
        | "ErrImagePull"
        | "InvalidImageName"
        | "ErrImageNeverPull"
        | "RegistryUnavailable"
        | "ImageInspectError" => FaultKind::ImagePull,
        "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => FaultKind::Config,
        "CrashLoopBackOff" => FaultKind::CrashLoop,
        _ if container.restart_count >= 3 => FaultKind::CrashLoop,
        _ => return None,
    };
    let message =
        if kind == FaultKind::CrashLoop { last_words(container).unwrap_or(message) } else { message };
    Some(Fault { kind, message })
}

/// Exit code and reason of the last run: they say more than the kubelet's back-off sentence.
fn last_words(container: &ContainerStatus) -> Option<String> {
    let ended = container.last_state.as_ref()?.terminated.as_ref()?;
    let reason = ended.reason.as_deref().unwrap_or("Error");
    Some(format!("last exit code {} ({reason})", ended.exit_code))
}

/// The Redis wiring in a pod template or pod: the literal variables that name the server.
#[must_use]
pub fn redis_wiring(spec: &PodSpec) -> BTreeMap<String, String> {
    hub_container(spec)
        .and_then(|container| container.env.as_ref())
        .map(|variables| {
            variables
                .iter()
                .filter(|variable| {
                    variable.name.starts_with("WSC_REDIS_") || variable.name == "WSC_KEY_PREFIX"
                })
                .filter_map(|variable| Some((variable.name.clone(), variable.value.clone()?)))
                .collect()
        })
        .unwrap_or_default()
}

/// The container that runs the hub.
#[must_use]
pub fn hub_container(spec: &PodSpec) -> Option<&Container> {
    spec.containers.iter().find(|container| container.name == HUB_CONTAINER)
}

#[cfg(test)]
mod tests {
    use super::{FaultKind, HubPod};
    use serde_json::{Value, json};

    fn read(status: &Value) -> HubPod {
        let pod = serde_json::from_value(json!({
            "metadata": {
                "name": "chat-2", "uid": "u2", "creationTimestamp": "2026-01-01T00:00:00Z",
                "labels": {"controller-revision-hash": "chat-abc"}
            },
            "spec": {"containers": [{"name": "hub", "env": [
                {"name": "WSC_REDIS_URL", "value": "redis://a"},
                {"name": "WSC_KEY_PREFIX", "value": "p:"},
                {"name": "WSC_LOG", "value": "info"},
                {"name": "WSC_NODE_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}
            ]}]},
            "status": status,
        }))
        .unwrap();
        HubPod::read(&pod).unwrap()
    }

    #[test]
    fn identity_revision_and_wiring_are_read() {
        let pod = read(&json!({"podIP": "10.0.0.7"}));
        assert_eq!((pod.ordinal, pod.revision.as_str()), (2, "chat-abc"));
        assert_eq!(pod.ip.as_deref(), Some("10.0.0.7"));
        assert_eq!(pod.ready_changed.to_string(), "2026-01-01T00:00:00Z");
        assert_eq!(pod.redis_wiring.len(), 2);
        assert_eq!(pod.redis_wiring["WSC_REDIS_URL"], "redis://a");
        assert!(!pod.ready && !pod.running && pod.fault.is_none());
    }

    #[test]
    fn faults_are_told_apart() {
        for (reason, kind) in [
            ("ImagePullBackOff", FaultKind::ImagePull),
            ("InvalidImageName", FaultKind::ImagePull),
            ("CreateContainerConfigError", FaultKind::Config),
            ("CrashLoopBackOff", FaultKind::CrashLoop),
        ] {
            let pod = read(&json!({"containerStatuses": [{
                "name": "hub", "ready": false, "restartCount": 0, "image": "", "imageID": "",
                "state": {"waiting": {"reason": reason, "message": "m"}}
            }]}));
            assert_eq!(pod.fault.unwrap().kind, kind, "{reason}");
        }
        let pod = read(&json!({"conditions": [
            {"type": "PodScheduled", "status": "False", "message": "0/2 nodes"}
        ]}));
        let fault = pod.fault.unwrap();
        assert_eq!(fault.kind, FaultKind::Unschedulable);
        assert_eq!(fault.message, "0/2 nodes");
    }

    #[test]
    fn a_ready_pod_has_no_fault_even_after_many_restarts() {
        let pod = read(&json!({
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T01:00:00Z"}],
            "containerStatuses": [{
                "name": "hub", "ready": true, "restartCount": 9, "image": "", "imageID": "",
                "state": {"running": {"startedAt": "2026-01-01T01:00:00Z"}}
            }]
        }));
        assert!(pod.ready && pod.running && pod.fault.is_none());
        assert_eq!(pod.ready_changed.to_string(), "2026-01-01T01:00:00Z");
    }
}
