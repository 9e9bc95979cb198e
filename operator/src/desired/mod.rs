//! Every child object, as a pure function of the resource: `(&WscCluster, &Inputs)` in, full typed objects out. No
//! client, no clock, no I/O.
//!
//! | module | what it makes |
//! |---|---|
//! | [`children`] | the list of all applied children, in the order to apply |
//! | [`inputs`], [`error`] | what goes in besides the resource, what can go wrong |
//! | [`names`], [`labels`], [`metadata`] | how children are named, labelled and owned |
//! | [`child`] | one child of any kind |
//! | [`statefulset`], [`hub_env`], [`volumes`], [`image`] | the hub pods |
//! | [`hot_settings`] | what reaches the running nodes without a restart |
//! | [`services`], [`endpoints`] | where they are reached |
//! | [`redis`] | the managed Redis, and how any Redis is addressed |
//! | [`ingress`], [`profile`] | the Ingress and what controllers want to read on it |
//! | [`autoscaler`] | what writes `spec.replicas` in mode HPA |
//! | [`http_route`] | the same for a Gateway |
//! | [`pod_monitor`], [`prometheus_rule`] | what Prometheus reads |
//! | [`optional`] | kinds that not every cluster has |
//! | [`disruption`], [`network_policy`], [`service_account`] | protection |
//! | [`secrets`] | generated Secrets, created once and never applied |

pub mod autoscaler;
pub mod child;
pub mod children;
pub mod disruption;
pub mod endpoints;
pub mod error;
pub mod hot_settings;
pub mod http_route;
pub mod hub_env;
pub mod image;
pub mod ingress;
pub mod inputs;
pub mod labels;
pub mod metadata;
pub mod names;
pub mod network_policy;
pub mod optional;
pub mod pod_monitor;
pub mod profile;
pub mod prometheus_rule;
pub mod redis;
pub mod secrets;
pub mod service_account;
pub mod services;
pub mod statefulset;
pub mod volumes;

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod golden_test;
#[cfg(test)]
mod profile_golden_test;

pub use child::Child;
pub use children::children;
pub use endpoints::{Endpoints, endpoints};
pub use error::SpecError;
pub use hot_settings::hash as hot_hash;
pub use inputs::Inputs;
pub use redis::redis_url;
pub use secrets::secrets;
