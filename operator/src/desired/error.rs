//! Why a spec cannot be turned into children.

use thiserror::Error;

/// A spec that cannot be carried out. The rules of the custom resource refuse these at the API server; they are
/// checked again because an older definition may be installed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SpecError {
    /// The resource was not read from an API server.
    #[error("metadata.{0} is missing: the resource was not read from an API server")]
    Incomplete(&'static str),
    /// None or both kinds of Redis.
    #[error("exactly one of spec.redis.managed and spec.redis.external must be set")]
    RedisChoice,
    /// A standalone Redis has one address.
    #[error("spec.redis.external.addresses must hold exactly one address in mode Standalone, it holds {0}")]
    RedisAddresses(usize),
    /// The other modes have one at least.
    #[error("spec.redis.external.addresses must hold at least one address")]
    NoRedisAddress,
    /// Sentinels are asked for a primary by name.
    #[error(
        "spec.redis.external.sentinel.masterName is needed in mode Sentinel and has no meaning in another"
    )]
    SentinelMaster,
    /// A Redis Cluster has one database.
    #[error("spec.redis.external.database must be 0 in mode Cluster")]
    ClusterDatabase,
    /// The hot settings cannot be written.
    #[error("the hot settings cannot be written as YAML: {0}")]
    HotSettings(String),
    /// A queue must hold a message.
    #[error(
        "spec.hub.limits.outboundQueueBytes must be at least 1024 more than spec.hub.limits.maxMessageBytes"
    )]
    QueueTooSmall,
    /// A size that is no number.
    #[error("spec.hub.inbox.maxBytes '{0}' is not a whole number of bytes or of Ki or Mi from 1Ki to 256Mi")]
    InboxBytes(String),
    /// The bounds leave no number.
    #[error("spec.autoscaling.minReplicas must not be greater than spec.autoscaling.maxReplicas")]
    AutoscalingBounds,
    /// Mode Proxy needs to know whom to believe.
    #[error(
        "spec.hub.auth.mode Proxy needs auth.proxy.userHeader and at least one network in auth.proxy.trustedCidrs"
    )]
    ProxyIncomplete,
    /// A size that is no number.
    #[error("spec.redis.managed.maxMemory '{0}' is not a whole number of bytes or of Ki, Mi or Gi")]
    MaxMemory(String),
    /// A variable the operator sets itself.
    #[error("spec.hub.env names {0}, which the operator sets itself; use the field of the spec instead")]
    ManagedEnv(String),
    /// A pod needs time to end.
    #[error(
        "spec.drain.terminationGracePeriod {0} is shorter than 35s, or less than 30s longer than drain.settle"
    )]
    GraceTooShort(String),
    /// An Ingress needs a host.
    #[error("spec.exposure.type Ingress needs at least one entry in spec.exposure.hosts")]
    NoHost,
    /// An HTTPRoute needs a Gateway.
    #[error("spec.exposure.type Gateway needs spec.exposure.gatewayRef")]
    NoGateway,
}
