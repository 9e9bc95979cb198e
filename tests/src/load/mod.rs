//! Load on hubs and what it costs: an instrument, so it is made of system calls and nothing that could be slow.
//!
//! One thread makes all load, with epolls. Where nothing else is said it runs on a core of its own, the server on another.
//!
//! - The instrument: [`course`] (rounds that alternate), [`rounds`], [`latencies`], [`cpu`], [`measured_hub`],
//!   [`measured_redis`], [`raw_server`] (a ceiling), [`swarm`], [`leavers`] and [`frame_counter`] (receivers), [`http_posts`] and
//!   [`flood`] (senders), [`probes`] (messages that are timed), [`doorbell`].
//! - What is measured: [`fan_out`], [`sends`], [`batches`], [`across`], [`low_rate`], [`stores`], [`drains`], [`refill`], [`system_calls`],
//!   [`idle_memory`].

pub mod across;
pub mod batches;
pub mod course;
pub mod cpu;
pub mod doorbell;
pub mod drains;
pub mod fan_out;
pub mod flood;
pub mod frame_counter;
pub mod http_posts;
pub mod idle_memory;
pub mod latencies;
pub mod leavers;
pub mod low_rate;
pub mod measured_hub;
pub mod measured_redis;
pub mod probes;
pub mod raw_server;
pub mod refill;
pub mod rounds;
pub mod sends;
pub mod stores;
pub mod swarm;
pub mod system_calls;
