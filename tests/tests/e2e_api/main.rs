//! Behaviour of the operator against a real API server with real controllers and no nodes, so that no pod runs.
//! Started by `make e2e-api`; needs no root.

mod autoscaler;
mod bad_specs;
mod children;
mod cut_off;
mod definition;
mod drift;
mod fleet;
mod gateway;
mod hot_settings;
mod lifecycle;
mod many;
mod monitoring;
mod operator_monitoring;
mod plugin;
mod process;
mod quiet;
mod random_walk;
mod resilience;
mod resource;
mod rights;
mod rotation;
mod spec_valid;
mod stage;
mod standstill;
