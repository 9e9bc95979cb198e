//! Decisions: who gets a message, through which nodes, and what is answered.

pub mod batch;
pub mod broadcast;
pub mod dispatch;
pub mod duplicate_window;
pub mod event_tail;
pub mod event_writer;
pub mod group_registry;
pub mod group_send;
pub mod idempotency;
pub mod inbound;
pub mod inbox;
pub mod inbox_desk;
pub mod kick;
pub mod known_bans;
pub mod many_targets;
pub mod membership;
pub mod message_stamp;
pub mod ports;
pub mod registry;
pub mod retry;
pub mod revoke;
pub mod router;
pub mod send;
mod store;
pub mod tally;
mod targets;
pub mod whereabouts;
