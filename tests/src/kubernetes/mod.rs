//! A Kubernetes as tests and the demo use it: through the API and through `kubectl`, as users do.
//!
//! - [`access`]: which cluster; [`resource`]: what is asked of it; [`kubectl`]: the command itself
//! - [`plugin`]: `kubectl wsc`, called by `kubectl`
//! - [`go_module`]: definitions that other projects publish
//! - [`namespace`]: a namespace, or one of a test; [`wsc_cluster`]: the custom resource in it
//! - [`ingress_controller`]: the way in by host name
//! - [`drained_node`]: a node that takes no pods for a while
//! - [`port_forward`]: a pod's port on loopback, which works with any cluster
//! - [`api_server`], [`operator_process`]: an API with no nodes, and the operator as a process; [`api_proxy`]: a way between
//!   the two that can be cut
//! - [`fake_fleet`]: hub pods that live there, by a kubelet and hubs of the test: [`fake_hub`], all of them with their
//!   clients in [`fake_hubs`]

pub mod access;
pub mod api_proxy;
pub mod api_server;
pub mod drained_node;
pub mod fake_fleet;
pub mod fake_hub;
mod fake_hub_api;
pub mod fake_hubs;
mod fake_kubelet;
pub mod go_module;
pub mod ingress_controller;
pub mod kubectl;
pub mod namespace;
pub mod operator_process;
pub mod plugin;
pub mod port_forward;
pub mod resource;
pub mod wsc_cluster;
