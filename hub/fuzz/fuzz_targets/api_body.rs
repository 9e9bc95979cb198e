//! Bodies of the control API: no panic, and each refusal says why.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use wsc_hub::protocol::{
    message::{parse_broadcast, parse_kick, parse_send},
    server_frame::{self, Outgoing},
};

fuzz_target!(|body: &[u8]| {
    for parsed in [parse_send(body), parse_broadcast(body)] {
        match parsed {
            Ok((message, options)) => {
                assert!((1..=60_000).contains(&options.timeout.as_millis()) && options.max_retries <= 10);
                let outgoing =
                    Outgoing { id: "01J", sender: None, receiver: None, group: None, create_at: "now" };
                let wire = server_frame::message(&message, &outgoing);
                let shallow = serde_json::from_slice::<Value>(body).is_ok();
                assert!(!shallow || serde_json::from_slice::<Value>(wire.bytes()).is_ok(), "not JSON");
            }
            Err(bad) => assert!(!bad.detail.is_empty(), "a refusal with no sentence"),
        }
    }
    match parse_kick(body) {
        Ok(kick) => assert!(kick.reason.len() <= 1024 && kick.message.len() <= 4096),
        Err(bad) => assert!(!bad.detail.is_empty(), "a refusal with no sentence"),
    }
});
