//! Decisions: a pure function of (wish, observed world, now) to at most one operation and its
//! next steps. No client, no clock, no I/O.
//!
//! - [`wish`]: what the resource asks for, reduced to what decisions need
//! - [`step`]: what a plan can do; [`operation`]: what it says
//! - [`census`]: how every ordinal stands; [`fault`]: which pods are broken or stuck
//! - [`drain_order`]: how one hub is told to move its clients; [`room`]: whether others can take them
//! - [`departures`]: pods that are to go, within the budget
//! - [`decide`]: the order of priorities
//! - [`rollout`], [`scale`], [`release`], [`rebalance`]: the operations
//! - [`autoscale`]: how many nodes the connections ask for

pub mod autoscale;
pub mod census;
pub mod decide;
pub mod departures;
pub mod drain_order;
#[cfg(test)]
mod drain_tests;
pub mod fault;
#[cfg(test)]
mod fixture;
pub mod operation;
#[cfg(test)]
mod property_tests;
pub mod rebalance;
pub mod release;
pub mod rollout;
pub mod room;
pub mod scale;
#[cfg(test)]
mod simulation;
pub mod step;
#[cfg(test)]
mod table_tests;
pub mod wish;
