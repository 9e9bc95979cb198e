//! The ports of routing over Redis, and in memory for a node that is alone.
//!
//! - [`build`] gives [`ClusterParts`]: the bus, the directory and the tasks to run.
//! - The way to Redis: `redis_address` (logging in), `redis_link` (commands), which is a `shard_link` to one primary, found
//!   by `sentinel` if need be, or a `cluster_link` to many, with `cluster_topology` and `slot_map`; `vote`, `backoff`.
//! - Over Redis, from the outside in: `key_space` and `scripts` (what is stored), `membership`
//!   and `standing` (the own lease), `lease_view` (others' leases), `redis_directory`, `presence_entry`,
//!   `connect_write`, `connect_answer` and `ban_store` (users), `wholeness` (whether absence means anything),
//!   `group_directory` and `shared_reads` (groups), `reaper` (the dead), `redis_bus`, `outbox`, `batcher`, `report_slab`
//!   (sending), `ear`, `bus_reader`, `shards` (hearing).
//! - Stored messages: `redis_inbox` with `inbox_scripts` and `memory_guard`.
//! - [`MemoryCluster`]: the same without a server, `memory_users`, `memory_inbox`, `event_ring`.

mod backoff;
mod ban_store;
mod batcher;
mod bus_counters;
mod bus_reader;
mod cluster_link;
mod cluster_parts;
mod cluster_settings;
mod cluster_topology;
mod connect_answer;
mod connect_write;
mod ear;
mod event_ring;
mod event_stream;
mod group_directory;
mod inbox_entries;
mod inbox_scripts;
mod key_space;
mod lease_view;
mod membership;
mod memory;
mod memory_guard;
mod memory_inbox;
mod memory_sessions;
mod memory_users;
mod moved_users;
mod node_record;
mod outbox;
mod presence_entry;
mod reaper;
mod redis_address;
mod redis_bus;
mod redis_directory;
mod redis_inbox;
mod redis_link;
mod registry_error;
mod report_slab;
mod scripts;
mod sentinel;
mod session_store;
mod shard_link;
mod shards;
mod shared_reads;
mod slot_map;
mod standing;
#[cfg(test)]
mod tests;
mod traced;
mod user_reads;
mod vote;
mod wholeness;

pub use bus_counters::{BusCounters, Counter};
pub use cluster_parts::{ClusterError, ClusterParts, ClusterTasks, build};
pub use cluster_settings::{ClusterSettings, RedisMode, RedisSettings};
pub use memory::MemoryCluster;
pub use node_record::LoadSource;
