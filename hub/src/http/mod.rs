//! Routes: the client listener, the API listener, and how both are served.

mod accept_pace;
pub mod admin;
pub mod api_key;
mod chat_page;
pub mod drain;
pub mod events;
pub mod groups;
pub mod health;
pub mod loopback_host;
pub mod messages;
pub mod metrics;
pub mod nodes;
pub mod openapi;
pub mod patient_stream;
pub mod problem;
pub mod request_body;
pub mod routes;
pub mod server;
pub mod service;
pub mod stats;
mod trace_header;
mod unknown_path;
pub mod users;
pub mod websocket;
