//! One client connection, from the request to connect to the last byte.
//!
//! A request is read ([`handshake`]) and decided ([`admission`]) before the upgrade is answered; then one task
//! runs the connection ([`session_loop`]) until [`farewell`]. [`heartbeat`] sweeps over all of them.

pub mod address_seats;
pub mod admission;
mod announce;
pub mod backend;
pub mod backend_sends;
pub mod client_address;
pub mod client_groups;
pub mod client_sends;
pub mod client_stream;
mod connect_groups;
pub mod drain;
pub mod edge;
pub mod end;
pub mod farewell;
pub mod frame_writer;
#[cfg(test)]
mod frame_writer_test;
pub mod handshake;
pub mod heartbeat;
mod identity;
pub mod inbound;
pub mod lifecycle;
pub mod pulse;
pub mod queue_keeper;
pub mod rate_limit;
mod renewal;
mod resumption;
pub mod seats;
pub mod session_loop;
pub mod traffic;
