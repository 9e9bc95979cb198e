//! From the plan to the cluster: watching, the steps of one pass, and everything that writes.
//!
//! - [`controller`]: watches, queue, back-off, bounded concurrency
//! - [`context`]: what every pass shares
//! - [`cache`], [`watched`]: the watched objects, by kind and by cluster
//! - [`memory`]: what the operator remembers of a cluster between passes
//! - [`pass`]: one pass over one resource, step by step
//! - [`children`], [`operate`], [`announce`]: parts of it
//! - [`template`]: the pod template, where it is not that of the spec
//! - [`secrets`]: generated Secrets and checks of named ones
//! - [`apply`], [`sweep`]: children are applied, and those no longer wanted removed
//! - [`exposure`], [`gateway`]: what can only be known from the cluster about the exposure
//! - [`optional_kinds`]: kinds that not every cluster has
//! - [`hubs`]: asking the hubs
//! - [`hurry`]: kubelets are hurried to bring them, and keys
//! - [`autoscale`]: the number of nodes wished for
//! - [`hot_settings`]: settings on their way to the running nodes
//! - [`act`]: the fence, and requests about pods
//! - [`status`], [`verdicts`], [`redis_verdict`]: what the resource is told
//! - [`undecodable`]: resources this release cannot read
//! - [`events`]: events on the resource
//! - [`leadership`]: leader election
//! - [`error`]: what can go wrong

pub mod act;
pub mod announce;
pub mod apply;
pub mod autoscale;
pub mod cache;
pub mod children;
pub mod context;
pub mod controller;
pub mod error;
pub mod events;
pub mod exposure;
pub mod gateway;
pub mod hot_settings;
pub mod hubs;
pub mod hurry;
pub mod intrusion;
pub mod leadership;
pub mod memory;
pub mod operate;
pub mod optional_kinds;
pub mod pass;
pub mod redis_verdict;
pub mod secrets;
pub mod status;
pub mod sweep;
pub mod template;
pub mod undecodable;
pub mod verdicts;
pub mod watched;

#[cfg(test)]
mod verdict_tests;
