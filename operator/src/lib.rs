//! The operator behind `WscCluster`: it turns one resource into a running WebSocket hub.
//!
//! A map for newcomers; each module may use only those above it:
//!
//! | module | what it does | touches a cluster |
//! |---|---|---|
//! | [`api`] | the resource: spec, status, conditions, the rules of the API server | no |
//! | [`desired`] | every child object, computed from the resource | no |
//! | [`observed`] | what was read, as plain structs | no |
//! | [`plan`] | what to do next, as a pure function | no |
//! | [`hub_admin`] | asks the hub nodes how they are | hub HTTP |
//! | [`reconcile`] | reads, applies, reports | Kubernetes |
//! | [`settings`], [`observe`] | the operator's own settings, logs and metrics | no |
//! | [`kubectl`] | the plugin `kubectl wsc`, a program of its own | Kubernetes, hub HTTP |
//! | [`app`] | starts and stops everything | all |

pub mod api;
pub mod app;
pub mod desired;
pub mod hub_admin;
pub mod kubectl;
pub mod observe;
pub mod observed;
pub mod plan;
pub mod reconcile;
pub mod settings;
