//! The `WscCluster` resource: what users write (spec), what the operator reports (status), and the
//! rules the API server enforces. Nothing here talks to a cluster.
//!
//! | module | what it holds |
//! |---|---|
//! | [`cluster`] | the root object, the spec's first level and every CEL rule |
//! | [`definition`], [`reference_docs`] | the CustomResourceDefinition as it is installed, and its documentation |
//! | [`image`], [`hub`], [`limits`], [`inbox`], [`redis`], [`services`], [`exposure`], [`monitoring`], [`security`], [`rollout`], [`autoscaling`], [`pod`] | parts of the spec |
//! | [`reference`] | names of other objects |
//! | [`duration`] | durations such as `10s` |
//! | [`status`], [`conditions`] | what the operator reports |

pub mod autoscaling;
pub mod cluster;
pub mod conditions;
pub mod definition;
pub mod duration;
pub mod exposure;
pub mod hub;
pub mod image;
pub mod inbox;
pub mod limits;
pub mod monitoring;
pub mod pod;
pub mod redis;
pub mod reference;
pub mod reference_docs;
pub mod rollout;
pub mod security;
pub mod services;
pub mod status;

#[cfg(test)]
mod definition_test;

pub use cluster::{WscCluster, WscClusterSpec};
pub use duration::SpecDuration;
pub use reference::SecretRef;
pub use status::WscClusterStatus;
