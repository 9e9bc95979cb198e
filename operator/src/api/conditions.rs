//! Names of conditions and reasons, and the one way to set a condition.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// Everything the spec asks for is there, current, registered and serving.
pub const READY: &str = "Ready";
/// At least one node serves clients.
pub const AVAILABLE: &str = "Available";
/// The operator is on the way to what the spec asks for.
pub const PROGRESSING: &str = "Progressing";
/// Something is wrong and will not mend by waiting.
pub const DEGRADED: &str = "Degraded";
/// The spec can be carried out: what it names exists.
pub const SPEC_VALID: &str = "SpecValid";
/// The nodes can use Redis.
pub const REDIS_READY: &str = "RedisReady";
/// What the exposure asks for is carried out.
pub const EXPOSURE_READY: &str = "ExposureReady";
/// Something other than `spec.replicas` alone decides how many nodes there are, and it works.
pub const AUTOSCALING_ACTIVE: &str = "AutoscalingActive";
/// kstatus: present only when True, while work goes on.
pub const RECONCILING: &str = "Reconciling";
/// kstatus: present only when True, when work cannot go on without a change by the user.
pub const STALLED: &str = "Stalled";

/// The conditions that every observed resource carries, in the order they are shown.
pub const ALWAYS_PRESENT: [&str; 8] =
    [READY, AVAILABLE, PROGRESSING, DEGRADED, SPEC_VALID, REDIS_READY, EXPOSURE_READY, AUTOSCALING_ACTIVE];

/// Reasons: the machine-readable half of a condition.
pub mod reasons {
    /// As it should be.
    pub const AS_EXPECTED: &str = "AsExpected";
    /// Nothing is in progress.
    pub const IDLE: &str = "Idle";
    /// Pods are being created or are starting.
    pub const STARTING: &str = "Starting";
    /// Pods are being added or removed.
    pub const SCALING: &str = "Scaling";
    /// Changed pods are being replaced.
    pub const ROLLING_OUT: &str = "RollingOut";
    /// A new pod does not come up; nothing more is replaced until it does or the spec changes.
    pub const ROLLOUT_STUCK: &str = "RolloutStuck";
    /// Changed hot settings are on their way to the nodes.
    pub const APPLYING_SETTINGS: &str = "ApplyingSettings";
    /// A node refuses the hot settings.
    pub const SETTINGS_REFUSED: &str = "SettingsRefused";
    /// Clients of the next pod find no room on the other nodes.
    pub const NO_ROOM: &str = "NoRoom";
    /// Connections are moved between nodes, or drains taken back.
    pub const REBALANCING: &str = "Rebalancing";
    /// The operator's default image is newer than the one that is kept running.
    pub const NEWER_TEMPLATE_AVAILABLE: &str = "NewerTemplateAvailable";
    /// Pods are missing.
    pub const PODS_MISSING: &str = "PodsMissing";
    /// Pods exist that are not ready.
    pub const PODS_NOT_READY: &str = "PodsNotReady";
    /// Pods are ready that have not registered in Redis.
    pub const NOT_REGISTERED: &str = "NotRegistered";
    /// No node serves clients.
    pub const NO_NODE: &str = "NoNode";
    /// `spec.paused` is set: only observing.
    pub const PAUSED: &str = "Paused";
    /// `spec.stopped` is set: scaled to nothing.
    pub const STOPPED: &str = "Stopped";
    /// The spec has no replicas.
    pub const NO_REPLICAS: &str = "NoReplicas";
    /// The spec contradicts itself.
    pub const INVALID: &str = "Invalid";
    /// The resource could not be read with this version of the operator.
    pub const UNDECODABLE: &str = "Undecodable";
    /// A child's name is used by an object that belongs to somebody else.
    pub const NAME_TAKEN: &str = "NameTaken";
    /// A Secret that the spec names does not exist.
    pub const SECRET_MISSING: &str = "SecretMissing";
    /// A Secret that the spec names lacks a key.
    pub const SECRET_KEY_MISSING: &str = "SecretKeyMissing";
    /// The API server refused a child.
    pub const APPLY_FAILED: &str = "ApplyFailed";
    /// Redis could not be reached.
    pub const UNREACHABLE: &str = "Unreachable";
    /// Redis refused the user name or password.
    pub const AUTHENTICATION_FAILED: &str = "AuthenticationFailed";
    /// Another live owner uses the key prefix.
    pub const PREFIX_IN_USE: &str = "PrefixInUse";
    /// The TLS handshake with Redis failed.
    pub const TLS_FAILED: &str = "TlsFailed";
    /// Redis answered with another error.
    pub const REDIS_ERROR: &str = "RedisError";
    /// Nobody could say yet.
    pub const UNKNOWN: &str = "Unknown";
    /// The exposure profile cannot do what is asked.
    pub const UNSUPPORTED: &str = "Unsupported";
    /// The IngressClass does not exist.
    pub const INGRESS_CLASS_MISSING: &str = "IngressClassMissing";
    /// The Gateway API is not installed, or may not be used.
    pub const GATEWAY_API_MISSING: &str = "GatewayApiMissing";
    /// No Gateway controller has said anything about the HTTPRoute yet.
    pub const ROUTE_PENDING: &str = "RoutePending";
    /// The Gateway did not take the HTTPRoute.
    pub const ROUTE_NOT_ACCEPTED: &str = "RouteNotAccepted";
    /// No exposure is asked for.
    pub const NOT_EXPOSED: &str = "NotExposed";
    /// Autoscaling is switched off.
    pub const DISABLED: &str = "Disabled";
    /// The HorizontalPodAutoscaler says that it cannot scale.
    pub const AUTOSCALER_FAILS: &str = "AutoscalerFails";
    /// The number of nodes fits the load.
    pub const FITTING: &str = "Fitting";
    /// The load asks for another number of nodes.
    pub const ADJUSTING: &str = "Adjusting";
    /// Fewer nodes would do, but not yet for long enough.
    pub const STABILIZING: &str = "Stabilizing";
    /// The load asks for a number outside the bounds.
    pub const LIMITED: &str = "Limited";
    /// Not every node says how many connections it has, so none is removed.
    pub const NODES_UNKNOWN: &str = "NodesUnknown";
    /// The load balancer of the platform has given no address yet.
    pub const ADDRESS_PENDING: &str = "AddressPending";
}

/// Status of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConditionStatus {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// Nobody could say.
    Unknown,
}

impl ConditionStatus {
    /// The word of the Kubernetes API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

impl From<bool> for ConditionStatus {
    fn from(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }
}

/// Longest message kept, in characters; the API server refuses more than 32768.
const MESSAGE_LIMIT: usize = 4096;

/// Sets a condition in place, or adds it at the end. `lastTransitionTime` moves to `now` only when the status
/// changes, so that writing the same state again changes nothing.
pub fn set(
    conditions: &mut Vec<Condition>,
    type_: &str,
    status: impl Into<ConditionStatus>,
    reason: &str,
    message: &str,
    generation: i64,
    now: &Time,
) {
    let status = status.into().as_str();
    let message: String = message.chars().take(MESSAGE_LIMIT).collect();
    if let Some(existing) = conditions.iter_mut().find(|condition| condition.type_ == type_) {
        if existing.status != status {
            existing.last_transition_time = now.clone();
            status.clone_into(&mut existing.status);
        }
        reason.clone_into(&mut existing.reason);
        existing.message = message;
        existing.observed_generation = Some(generation);
        return;
    }
    conditions.push(Condition {
        last_transition_time: now.clone(),
        message,
        observed_generation: Some(generation),
        reason: reason.to_owned(),
        status: status.to_owned(),
        type_: type_.to_owned(),
    });
}

/// Removes a condition, for those that are present only when True.
pub fn remove(conditions: &mut Vec<Condition>, type_: &str) {
    conditions.retain(|condition| condition.type_ != type_);
}

/// Finds a condition.
pub fn find<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == type_)
}

/// Whether a condition is present and True.
pub fn is_true(conditions: &[Condition], type_: &str) -> bool {
    find(conditions, type_).is_some_and(|condition| condition.status == ConditionStatus::True.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::jiff::Timestamp;

    fn at(second: i64) -> Time {
        Time(Timestamp::from_second(second).unwrap())
    }

    #[test]
    fn the_transition_time_moves_only_with_the_status() {
        let mut conditions = Vec::new();
        set(&mut conditions, READY, false, reasons::STARTING, "starting", 1, &at(10));
        set(&mut conditions, READY, false, reasons::SCALING, "scaling", 2, &at(20));
        assert_eq!(conditions.len(), 1);
        assert_eq!(conditions[0].last_transition_time, at(10));
        assert_eq!(
            (conditions[0].reason.as_str(), conditions[0].observed_generation),
            (reasons::SCALING, Some(2))
        );

        set(&mut conditions, READY, true, reasons::AS_EXPECTED, "ready", 2, &at(30));
        assert_eq!(conditions[0].last_transition_time, at(30));
        assert!(is_true(&conditions, READY));

        set(&mut conditions, READY, ConditionStatus::Unknown, reasons::UNKNOWN, "silent", 2, &at(40));
        assert_eq!(conditions[0].last_transition_time, at(40));
        assert!(!is_true(&conditions, READY));
    }

    #[test]
    fn a_removed_condition_is_gone_and_others_stay() {
        let mut conditions = Vec::new();
        set(&mut conditions, READY, true, reasons::AS_EXPECTED, "", 1, &at(1));
        set(&mut conditions, STALLED, true, reasons::INVALID, "", 1, &at(1));
        remove(&mut conditions, STALLED);
        assert!(find(&conditions, STALLED).is_none());
        assert!(find(&conditions, READY).is_some());
    }

    #[test]
    fn a_long_message_is_cut_at_a_character() {
        let mut conditions = Vec::new();
        set(&mut conditions, READY, false, reasons::INVALID, &"ü".repeat(10_000), 1, &at(1));
        assert_eq!(conditions[0].message.chars().count(), MESSAGE_LIMIT);
    }
}
