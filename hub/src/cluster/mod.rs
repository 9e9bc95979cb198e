//! The ports of routing over Redis, and in memory for a node that is alone.
//!
//! - [`build`] gives [`ClusterParts`]: the bus, the directory and the tasks to run.
//! - Redis, from the outside in: `redis_link` (connections), `key_space` and `scripts` (what is stored), `membership`
//!   and `standing` (the own lease), `lease_view` (others' leases), `redis_directory` and `presence_entry` (users),
//!   `group_directory` and `shared_reads` (groups), `reaper` (the dead), `redis_bus`, `outbox`, `batcher`, `report_slab` (sending), `bus_reader`, `shards` (hearing).
//! - [`MemoryCluster`]: the same without a server.

mod backoff;
mod batcher;
mod bus_counters;
mod bus_reader;
mod cluster_parts;
mod cluster_settings;
mod event_ring;
mod event_stream;
mod group_directory;
mod key_space;
mod lease_view;
mod membership;
mod memory;
mod node_record;
mod outbox;
mod presence_entry;
mod reaper;
mod redis_bus;
mod redis_directory;
mod redis_link;
mod registry_error;
mod report_slab;
mod scripts;
mod shards;
mod shared_reads;
mod standing;
#[cfg(test)]
mod tests;

pub use bus_counters::{BusCounters, Counter};
pub use cluster_parts::{ClusterError, ClusterParts, ClusterTasks, build};
pub use cluster_settings::{ClusterSettings, RedisSettings};
pub use memory::MemoryCluster;
pub use node_record::LoadSource;
