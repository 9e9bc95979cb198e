//! The plugin `kubectl wsc`: shows a hub as its users think of it, and gives the orders that need more than a field of
//! the spec. It works with the rights of whoever calls it, and asks the hubs through the API server's port-forward, so
//! it needs no way into the cluster's network.
//!
//! - [`arguments`], [`run`]: the command line, and which command does what
//! - [`error`]: what can go wrong, in sentences; [`answer`]: what a command says, as text or JSON
//! - [`place`]: cluster, namespace, resource, pods, Secrets; [`hub_call`]: one request to a hub
//! - [`survey`], [`overview`]: what every node says about itself, and the tree of `status`
//! - [`user`], [`token`], [`drain`], [`order`]: the other commands
//! - [`report`], [`bundle`], [`redaction`]: the support bundle, and how secrets stay out of it
//! - [`completion`]: for shells, and for `kubectl` itself

pub mod answer;
pub mod arguments;
pub mod bundle;
pub mod completion;
pub mod drain;
pub mod error;
pub mod hub_call;
pub mod order;
pub mod overview;
pub mod place;
pub mod redaction;
pub mod report;
pub mod run;
pub mod survey;
pub mod token;
pub mod user;
