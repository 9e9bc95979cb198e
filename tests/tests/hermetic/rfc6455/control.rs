//! Section 5.5: pings and pongs. The close frame has a table of its own.

use anyhow::Result;
use wsc_tests::raw_ws::{FIN, LengthForm, PING, PONG, TEXT, frame, frame_with_length};

use super::case::{Case, run_all, say};

fn cases(me: &str) -> Vec<Case> {
    let hello = frame(TEXT, &say(me, "hello"));
    let many: Vec<Vec<u8>> = (0..10).map(|number| format!("ping {number}").into_bytes()).collect();
    let all: Vec<u8> = many.iter().flat_map(|payload| frame(PING, payload)).collect();
    // The section allows one pong for several pings; this hub answers each.
    let pong_each = |case: Case| many.iter().fold(case, |case, payload| case.pong(payload));
    vec![
        Case::new("5.5.2", "a ping of 0 bytes").write(frame(PING, b"")).pong(b""),
        Case::new("5.5.2", "a ping of text").write(frame(PING, b"hello")).pong(b"hello"),
        Case::new("5.5.2", "a ping of bytes that are no text")
            .write(frame(PING, &[0xFF, 0, 0xFE]))
            .pong(&[0xFF, 0, 0xFE]),
        Case::new("5.5.2", "a ping of 125 bytes").write(frame(PING, &[0xFE; 125])).pong(&[0xFE; 125]),
        Case::new("5.5", "a ping of 126 bytes").write(frame(PING, &[0xFE; 126])).closed(1002),
        Case::new("5.5", "a pong of 126 bytes").write(frame(PONG, &[0xFE; 126])).closed(1002),
        Case::new("5.5", "a short ping with a length of 2 bytes")
            .write(frame_with_length(PING, b"x", LengthForm::Bytes2))
            .pong(b"x"),
        Case::new("5.5.2", "a ping byte by byte").chopped(frame(PING, &[b'p'; 125])).pong(&[b'p'; 125]),
        pong_each(Case::new("5.5.2", "ten pings in one write").write(all.clone())),
        pong_each(Case::new("5.5.2", "ten pings byte by byte").chopped(all)),
        Case::new("5.5.3", "a pong nobody asked for").write(frame(PONG, b"")),
        Case::new("5.5.3", "a pong nobody asked for, then a ping")
            .write([frame(PONG, b"unasked"), frame(PING, b"p")].concat())
            .pong(b"p"),
        Case::new("5.5", "a fragmented ping").write(frame(PING & !FIN, b"x")).closed(1002),
        Case::new("5.5", "a fragmented pong").write(frame(PONG & !FIN, b"x")).closed(1002),
        Case::new("5.5", "a fragmented ping, its rest, and a text")
            .write([frame(PING & !FIN, b"x"), frame(FIN, b"y"), hello].concat())
            .closed(1002),
    ]
}

#[tokio::test]
async fn pings_and_pongs_are_as_section_5_5_says() -> Result<()> {
    run_all(cases).await
}
