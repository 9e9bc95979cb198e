//! Operator, hubs and Redis in pods of a real Kubernetes. Started by `make e2e-cluster`, which makes the cluster, the
//! images and the operator; with `CONTEXT` it works on a cluster that exists.

mod absent_operator;
mod autoscaling;
mod clients;
mod crowd;
mod disruption;
mod helm;
mod hot_settings;
mod ingress;
mod outside;
mod plugin;
mod redis;
mod rollout;
mod rollout_under_load;
mod scale;
mod spread;
mod stage;
