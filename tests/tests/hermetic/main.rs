//! Behaviour of the hub as a process, over real sockets and a real `redis-server`, on loopback only.

mod across_nodes;
mod api_keys;
mod broken_frames;
mod connecting;
mod control_api;
mod crash;
mod dev_mode;
mod embedded;
mod environment;
mod frames;
mod group_grants;
mod groups;
mod health;
mod hot_settings;
mod limits;
mod queue_memory;
mod redis_credentials;
mod redis_loss;
mod rfc6455;
mod secrecy;
mod settings;
mod shutdown;
mod slow_readers;
mod stats;
mod token_mode;
