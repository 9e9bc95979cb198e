//! A Kubernetes as tests and the demo use it: through the API and through `kubectl`, as users do.
//!
//! - [`access`]: which cluster; [`resource`]: what is asked of it; [`kubectl`]: the command itself
//! - [`plugin`]: `kubectl wsc`, called by `kubectl`
//! - [`go_module`]: definitions that other projects publish
//! - [`namespace`]: a namespace, or one of a test; [`wsc_cluster`]: the custom resource in it
//! - [`port_forward`]: a pod's port on loopback, which works with any cluster
//! - [`fake_fleet`], [`fake_hub`]: kubelet and hubs for a cluster that has no nodes
//! - [`api_server`], [`operator_process`]: an API with no nodes, and the operator as a process
//! - [`played_fleet`], [`played_hub`]: pods that run there without a kubelet, and answer the operator

pub mod access;
pub mod api_server;
pub mod fake_fleet;
pub mod fake_hub;
pub mod go_module;
pub mod kubectl;
pub mod namespace;
pub mod operator_process;
pub mod played_fleet;
pub mod played_hub;
pub mod plugin;
pub mod port_forward;
pub mod resource;
pub mod wsc_cluster;
