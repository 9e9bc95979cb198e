//! Random interleavings of everything that may happen to a registry, on nodes of one process over a real Redis.
//!
//! - `plan`: what happens when, made from a seed and made smaller by proptest.
//! - `slow_way`: the way of one node to Redis, where bytes take a random time and may be cut.
//! - `life`: one process of a node, which may be killed, paused or cut off. `client`: one connection to it.
//! - `world`: carries a plan out. `watcher`: sees what must hold at every moment. `truth`: what must hold in the end.
//! - `runs`: the property itself, and the faults that it has to find.

mod client;
mod life;
mod plan;
mod runs;
mod slow_way;
mod truth;
mod watcher;
mod world;
