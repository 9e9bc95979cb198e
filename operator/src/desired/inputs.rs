//! What the children depend on besides the resource.

use super::optional::Served;

/// Everything that is not in the resource, read by the caller beforehand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inputs {
    /// Version of the operator, for the annotation `wsc.dev/template-version` on the StatefulSet. Never in a pod template:
    /// upgrading the operator must not restart pods.
    pub operator_version: String,
    /// Hub image `repository:tag` used where the spec names none.
    pub default_hub_image: String,
    /// Redis image used where the spec names none.
    pub default_redis_image: String,
    /// Uid and resource version of the managed Redis's password Secret; in the Redis pod template, so that a Secret that
    /// was changed or made anew restarts Redis with the new password.
    pub redis_auth_version: Option<String>,
    /// Replicas the hub StatefulSet should have now, as decided by the plan.
    pub replicas: i32,
    /// Image the running StatefulSet keeps when the spec names none.
    pub held_image: Option<String>,
    /// Which optional kinds the API server serves.
    pub served: Served,
}
