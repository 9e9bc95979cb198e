//! Frames that break RFC 6455, or its use here, end with the code that says so.

use anyhow::Result;
use wsc_tests::{
    lone_hub::LoneHub,
    ws_client::{Incoming, PATIENCE},
};

/// A client frame: first byte, payload; masked with zeros.
fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap_or(u8::MAX);
    assert!(length < 126, "longer payloads have a longer header");
    let mut frame = vec![first, 0x80 | length, 0, 0, 0, 0];
    frame.extend_from_slice(payload);
    frame
}

#[tokio::test]
async fn a_binary_frame_closes_with_1003() -> Result<()> {
    let lone = LoneHub::trusted(|options| options).await?;
    let mut alice = lone.hub.connect("alice").await?;
    alice.send_binary(b"{}").await?;
    alice.expect_close(1003, PATIENCE).await?;
    Ok(())
}

#[tokio::test]
async fn a_message_of_64_kib_passes_and_one_byte_more_closes_with_1009() -> Result<()> {
    let lone = LoneHub::trusted(|options| options).await?;
    let mut alice = lone.hub.connect("alice").await?;
    let frame = |total: usize| {
        let empty = "{\"receiver\":\"alice\",\"content\":\"\"}".len();
        format!("{{\"receiver\":\"alice\",\"content\":\"{}\"}}", "x".repeat(total - empty))
    };
    alice.send_text(&frame(65_536)).await?;
    let text = alice.expect("text").await?;
    assert!(text["content"].as_str().is_some_and(|content| content.len() > 65_000));
    alice.send_text(&frame(65_537)).await?;
    alice.expect_close(1009, PATIENCE).await?;
    Ok(())
}

#[tokio::test]
async fn a_fragmented_message_is_one_message_and_too_many_fragments_close_with_1009() -> Result<()> {
    let lone = LoneHub::trusted(|options| options).await?;
    let mut alice = lone.hub.connect("alice").await?;
    alice.send_raw(&masked(0x01, b"{\"receiver\":\"al")).await?;
    alice.send_raw(&masked(0x89, b"ping between fragments")).await?;
    alice.send_raw(&masked(0x80, b"ice\",\"content\":\"whole\"}")).await?;
    alice.expect_text("whole").await?;

    alice.send_raw(&masked(0x01, b"{")).await?;
    let piece = masked(0x00, &[b' '; 120]);
    for _ in 0..600 {
        // The hub may close before all are written.
        if alice.send_raw(&piece).await.is_err() {
            break;
        }
    }
    alice.expect_close(1009, PATIENCE).await?;
    Ok(())
}

#[tokio::test]
async fn text_that_is_not_utf8_closes_with_1007() -> Result<()> {
    let lone = LoneHub::trusted(|options| options).await?;
    for bad in [&b"\xff\xfe"[..], b"{\"content\":\"\xc3\x28\"}", b"\xed\xa0\x80"] {
        let mut alice = lone.hub.connect("alice").await?;
        alice.send_raw(&masked(0x81, bad)).await?;
        alice.expect_close(1007, PATIENCE).await?;
    }
    Ok(())
}

#[tokio::test]
async fn frames_that_break_the_framing_close_with_1002() -> Result<()> {
    let lone = LoneHub::trusted(|options| options).await?;
    let cases: [(&str, Vec<u8>); 5] = [
        ("not masked", vec![0x81, 0x02, b'{', b'}']),
        ("reserved bit", masked(0xC1, b"{}")),
        ("unknown opcode", masked(0x83, b"{}")),
        ("fragmented ping", masked(0x09, b"x")),
        ("continuation of nothing", masked(0x80, b"x")),
    ];
    for (what, bytes) in cases {
        let mut alice = lone.hub.connect("alice").await?;
        alice.send_raw(&bytes).await?;
        alice.expect_close(1002, PATIENCE).await.map_err(|error| error.context(what))?;
    }
    Ok(())
}

#[tokio::test]
async fn a_close_by_the_client_is_answered_and_its_record_goes() -> Result<()> {
    let lone = LoneHub::trusted(|options| options).await?;
    let mut alice = lone.hub.connect("alice").await?;
    // 1000 with no reason.
    alice.send_raw(&masked(0x88, &[0x03, 0xE8])).await?;
    match alice.next(PATIENCE).await? {
        Incoming::Close { code: 1000, .. } => {}
        other => panic!("{other:?}"),
    }
    lone.connections(0, PATIENCE).await?;
    assert_eq!(lone.api()?.user("alice").await?["online"], false);
    Ok(())
}

#[tokio::test]
async fn a_client_that_vanishes_leaves_no_record() -> Result<()> {
    let lone = LoneHub::trusted(|options| options).await?;
    let alice = lone.hub.connect("alice").await?;
    assert_eq!(lone.api()?.user("alice").await?["online"], true);
    drop(alice);
    lone.connections(0, PATIENCE).await?;
    assert_eq!(lone.api()?.user("alice").await?["online"], false);
    Ok(())
}
