//! What travels: frames between clients and the hub, envelopes between nodes. Pure: no I/O, no clock.

pub mod ack_token;
pub mod broadcast_payload;
pub mod client_frame;
pub mod close_reason;
pub mod drain_request;
pub mod envelope;
pub mod envelope_batch;
pub mod error_code;
pub mod event;
#[cfg(test)]
mod golden_batches;
pub mod group_answer;
pub mod group_payload;
pub mod inbox_offset;
mod json_text;
pub mod message;
pub mod message_batch;
mod message_builder;
pub mod millis;
pub mod presence_changed;
pub mod revoke_request;
pub mod send_result;
pub mod server_frame;
pub mod stored_notice;
pub mod trace_context;
pub mod user_verdict;
pub mod whole_number;
pub mod wire_frame;
