//! What a client may write in a text frame: no panic, and what is accepted goes out as JSON that says the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use wsc_hub::{
    identity::UserId,
    protocol::{
        client_frame::{ClientFrame, parse},
        event::EventMessage,
        server_frame::{self, Outgoing},
    },
};

fuzz_target!(|text: &str| {
    let parsed = match parse(text) {
        Ok(frame) => frame,
        Err(bad) => {
            assert!(!bad.detail.is_empty(), "a refusal with no sentence");
            let answer = server_frame::error(bad.message_id.as_ref(), bad.code, &bad.detail);
            let _: Value = serde_json::from_slice(answer.bytes()).expect("an error frame is JSON");
            return;
        }
    };
    let given: Value = match serde_json::from_str(text) {
        Ok(given) => given,
        // Deeper than the reader of the test goes, or a number beyond it: the hub does not look into `data`.
        Err(_) => return,
    };
    match parsed {
        ClientFrame::Message(frame) => {
            let sender = UserId::new("eve").expect("a user");
            let outgoing = Outgoing {
                id: "01J",
                sender: Some(&sender),
                receiver: Some(&frame.receiver),
                group: None,
                create_at: "now",
                ack: None,
            };
            let wire = server_frame::message(&frame.message, &outgoing);
            let sent: Value = serde_json::from_slice(wire.bytes()).expect("a message is JSON");
            assert_eq!(sent["sender"], "eve", "the sender is the hub's to say");
            assert_eq!(sent["receiver"], frame.receiver.as_str());
            assert_eq!(sent["content"], given["content"]);
            assert_eq!(sent["data"], given["data"]);
        }
        ClientFrame::BackendMessage(message) => {
            let sender = UserId::new("eve").expect("a user");
            let told = EventMessage::new("01J".to_owned(), &sender, &message);
            let line = serde_json::to_string(&told).expect("an event is JSON");
            assert!(!line.contains(['\n', '\r']), "events are lines");
            let sent: Value = serde_json::from_str(&line).expect("an event is JSON");
            assert_eq!(sent["sender"], "eve", "the sender is the hub's to say");
            assert_eq!(sent["content"], given["content"]);
            assert_eq!(sent["data"], given["data"]);
        }
        ClientFrame::Ping { message_id } => {
            let _: Value = serde_json::from_slice(server_frame::pong(message_id.as_ref()).bytes())
                .expect("a pong is JSON");
        }
        #[allow(unreachable_patterns)]
        _ => {}
    }
});
