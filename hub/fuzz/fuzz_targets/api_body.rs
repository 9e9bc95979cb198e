//! Bodies of the control API: no panic, each refusal says why, and what is accepted can be sent.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use wsc_hub::protocol::{
    message::{Message, SendOptions, parse_kick},
    message_batch::{parse_batch, parse_broadcast, parse_query, parse_send},
    server_frame::{self, Outgoing},
};

fn can_be_sent(body: &[u8], message: &Message, options: &SendOptions) {
    assert!((1..=60_000).contains(&options.timeout.as_millis()) && options.max_retries <= 10);
    let outgoing =
        Outgoing { id: "01J", sender: None, receiver: None, group: None, create_at: "now", ack: None };
    let wire = server_frame::message(message, &outgoing);
    // Deeper than the reader of the test goes: the hub does not look into `data`.
    let shallow = serde_json::from_slice::<Value>(body).is_ok();
    assert!(!shallow || serde_json::from_slice::<Value>(wire.bytes()).is_ok(), "not JSON");
}

fuzz_target!(|body: &[u8]| {
    match parse_send(body) {
        Ok((message, options)) => can_be_sent(body, &message, &options),
        Err(bad) => assert!(!bad.detail.is_empty(), "a refusal with no sentence"),
    }
    match parse_broadcast(body) {
        Ok(request) => can_be_sent(body, &request.message, &request.options),
        Err(bad) => assert!(!bad.detail.is_empty(), "a refusal with no sentence"),
    }
    match parse_batch(body) {
        Ok(entries) => {
            assert!(entries.len() <= 1000);
            entries.iter().for_each(|entry| can_be_sent(body, &entry.message, &entry.options));
        }
        Err(bad) => assert!(!bad.detail.is_empty(), "a refusal with no sentence"),
    }
    match parse_query(body) {
        Ok(users) => assert!(users.len() <= 1000),
        Err(bad) => assert!(!bad.detail.is_empty(), "a refusal with no sentence"),
    }
    match parse_kick(body) {
        Ok(kick) => assert!(kick.reason.len() <= 1024 && kick.message.len() <= 4096),
        Err(bad) => assert!(!bad.detail.is_empty(), "a refusal with no sentence"),
    }
});
