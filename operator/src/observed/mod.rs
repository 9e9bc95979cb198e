//! What is there: reads turned into plain structs that the plan can reason about.
//!
//! - [`pod`]: one hub pod
//! - [`fleet`]: the hub StatefulSet
//! - [`hub`]: what a hub says about itself, and which nodes are registered
//! - [`redis`]: the state of Redis as the hubs see it
//! - [`applied_settings`]: which nodes run with the hot settings of the spec
//! - [`world`]: all of it together, the input of the plan

pub mod applied_settings;
pub mod fleet;
pub mod hub;
pub mod pod;
pub mod redis;
pub mod world;
