//! What this node knows: its connections, their outbound queues, and fan-out to them. Pure and synchronous.

pub mod connection;
pub mod connection_table;
pub mod delivery_tally;
pub mod fan_out;
pub mod outbound_queue;
