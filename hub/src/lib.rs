//! A WebSocket hub: users connect to any node, a backend sends to a user, a group or everyone.
//!
//! A map for a newcomer, in the direction of imports:
//!
//! - [`identity`]: names that cannot be invalid.
//! - [`protocol`]: what travels, to clients and between nodes. Pure.
//! - [`local`]: what this node knows: connections and their outbound queues. Pure and synchronous.
//! - [`routing`]: decisions, and the [`routing::ports`] that it needs from a cluster.
//! - [`cluster`]: the ports over Redis, and in memory for a node that is alone.
//! - [`session`]: one client connection from handshake to close.
//! - [`http`]: the routes of both listeners.
//! - [`app`]: the one place that sees everything: builds, starts, stops.
//!
//! Leaves: [`settings`], [`auth`], [`observe`].

pub mod app;
pub mod auth;
pub mod cluster;
#[cfg(test)]
mod fault;
pub mod http;
pub mod identity;
pub mod local;
pub mod observe;
pub mod protocol;
pub mod routing;
pub mod session;
pub mod settings;
