//! The admin API of the hubs.
//!
//! - [`port`]: what the reconciler needs of it, as a trait, so that tests can play a hub
//! - [`client`]: the same over HTTP

pub mod client;
pub mod port;
