//! Nodes of one process against a real `redis-server`, and against each other.

mod bus;
mod directory;
mod events;
mod failure;
mod groups;
mod inbox;
mod logins;
mod membership;
mod memory;
mod property;
mod redis_cluster;
mod redis_server;
mod refill;
mod shard_loss;
mod test_node;
