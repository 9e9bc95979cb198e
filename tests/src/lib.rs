//! Harness for the tests of the hub and the operator. Both are run as the programs that are shipped.
//!
//! A map for a newcomer:
//!
//! - [`source_tree`], [`rust_source`], [`source_rule`]: the house rules of the sources.
//! - [`wait`]: waiting for a condition with a deadline; nothing here sleeps and hopes.
//! - [`program`], [`child_process`], [`scratch_dir`]: running programs and giving them files.
//! - [`redis_server`], [`redis_sentinel`], [`redis_cluster`], [`tcp_proxy`], [`hub_process`], [`lone_hub`], [`hub_fleet`]: what is run.
//! - [`load`]: what `wsc-bench` measures with.
//! - [`kubernetes`]: clusters, the custom resource, the operator as a process; [`argo_health`]: what Argo CD shows of it.
//! - [`ws_client`], [`raw_ws`], [`client_socket`], [`reconnecting_client`], [`inbox_place`], [`api_client`], [`event_reader`], [`scrape`], [`metrics_reference`], [`schemathesis`],
//!   [`tokens`], [`traffic`], [`returning_clients`], [`steady_sends`], [`verdict`], [`farewells`]: what talks to it.

pub mod api_client;
pub mod argo_health;
pub mod child_process;
pub mod client_socket;
pub mod event_reader;
pub mod farewells;
pub mod hub_fleet;
pub mod hub_process;
pub mod inbox_place;
pub mod kubernetes;
pub mod load;
pub mod lone_hub;
pub mod metrics_reference;
pub mod program;
pub mod raw_ws;
pub mod reconnecting_client;
pub mod redis_cluster;
pub mod redis_sentinel;
pub mod redis_server;
pub mod returning_clients;
pub mod rust_source;
pub mod schemathesis;
pub mod scrape;
pub mod scratch_dir;
pub mod signing_key;
pub mod source_rule;
pub mod source_tree;
pub mod steady_sends;
pub mod tcp_proxy;
pub mod tokens;
pub mod traffic;
pub mod verdict;
pub mod wait;
pub mod ws_client;
