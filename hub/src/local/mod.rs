//! What this node knows: its connections, their outbound queues, and fan-out to them. Pure and synchronous.

pub mod activity;
pub mod broadcast_walk;
pub mod connection;
pub mod connection_table;
pub mod delivery_tally;
pub mod fan_out;
pub mod group_fan_out;
pub mod group_members;
pub mod group_roster;
pub mod idle_order;
pub mod inbox_feed;
#[cfg(test)]
mod inbox_feed_test;
pub mod inbox_page;
pub mod memberships;
pub mod outbound_queue;
#[cfg(test)]
mod outbound_queue_test;
pub mod queue_budget;
pub mod stored_fan_out;
