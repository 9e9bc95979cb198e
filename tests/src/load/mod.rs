//! Load on a hub and what it costs: an instrument, so it is made of system calls and nothing that could be slow.
//!
//! One thread makes all load, with one epoll. It runs on a core of its own, the server on another.

pub mod cpu;
pub mod frame_counter;
pub mod http_posts;
pub mod measured_hub;
pub mod raw_server;
pub mod rounds;
pub mod swarm;
