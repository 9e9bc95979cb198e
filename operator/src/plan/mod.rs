//! Decisions: a pure function of (wish, observed world, now) to at most one operation and its
//! next step. No client, no clock, no I/O.
//!
//! - [`wish`]: what the resource asks for, reduced to what decisions need
//! - [`step`]: what a plan can say
//! - [`census`]: how every ordinal stands, and which pods are broken or stuck
//! - [`decide`]: the order of priorities
//! - [`rollout`]: one pod at a time to the latest template

pub mod census;
pub mod decide;
pub mod rollout;
pub mod step;
pub mod wish;

#[cfg(test)]
mod table_tests;
