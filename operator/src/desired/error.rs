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
    #[error("spec.redis.external.addresses must hold exactly one address, it holds {0}")]
    RedisAddresses(usize),
    /// A size that is no number.
    #[error("spec.redis.managed.maxMemory '{0}' is not a whole number of bytes or of Ki, Mi or Gi")]
    MaxMemory(String),
    /// A variable the operator sets itself.
    #[error("spec.hub.env names {0}, which the operator sets itself; use the field of the spec instead")]
    ManagedEnv(String),
    /// A pod needs time to end.
    #[error("spec.drain.terminationGracePeriod {0} is shorter than 35s")]
    GraceTooShort(String),
    /// An Ingress needs a host.
    #[error("spec.exposure.type Ingress needs at least one entry in spec.exposure.hosts")]
    NoHost,
}
