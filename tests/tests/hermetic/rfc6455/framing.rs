//! Sections 5.1, 5.2, 5.6, 5.8.

use anyhow::Result;
use wsc_tests::raw_ws::{BINARY, LengthForm, PING, TEXT, close_payload, frame, frame_with_length, unmasked};

use super::case::{Case, run_all, say, say_sized};

fn cases(me: &str) -> Vec<Case> {
    let hello = say(me, "hello");
    let mut cases = vec![
        // An empty text is a good frame and a bad message: the answer is an error, the connection goes on.
        Case::new("5.6", "a text of 0 bytes").write(frame(TEXT, b"")).error(),
        Case::new("5.6", "a binary of 0 bytes").write(frame(BINARY, b"")).closed(1003),
        Case::new("5.6", "a binary of 126 bytes").write(frame(BINARY, &[7; 126])).closed(1003),
        Case::new("5.6", "a binary of 65,536 bytes").write(frame(BINARY, &[7; 65_536])).closed(1003),
        // The section asks the sender for the shortest form and says nothing of the receiver.
        Case::new("5.2", "a length of 2 bytes for a short text")
            .write(frame_with_length(TEXT, &hello, LengthForm::Bytes2))
            .says("hello"),
        Case::new("5.2", "a length of 8 bytes for a short text")
            .write(frame_with_length(TEXT, &hello, LengthForm::Bytes8))
            .says("hello"),
        // The top bit must be 0. With it the length is over every limit, which is seen first.
        Case::new("5.2", "a length of 8 bytes with the top bit")
            .write([&[TEXT, 0xFF, 0x80][..], &[0; 11]].concat())
            .closed(1009),
        Case::new("5.1", "a text with no mask").write(unmasked(TEXT, &hello)).closed(1002),
        Case::new("5.1", "an empty text with no mask").write(unmasked(TEXT, b"")).closed(1002),
        Case::new("5.1", "a ping with no mask").write(unmasked(PING, b"x")).closed(1002),
        Case::new("5.1", "a close with no mask").write(unmasked(0x88, &close_payload(1000, ""))).closed(1002),
        Case::new("5.3", "a mask of zeros")
            .write([&[TEXT, 0x80 | u8::try_from(hello.len()).unwrap_or(0), 0, 0, 0, 0], &hello[..]].concat())
            .says("hello"),
        Case::new("5.2", "a text byte by byte").chopped(frame(TEXT, &hello)).says("hello"),
        Case::new("5.2", "two texts and a ping in one write")
            .write([frame(TEXT, &hello), frame(PING, b"p"), frame(TEXT, &say(me, "again"))].concat())
            .says("hello")
            .pong(b"p")
            .says("again"),
    ];
    for bytes in [125, 126, 127, 128, 65_535, 65_536] {
        let (text, content) = say_sized(me, bytes);
        cases.push(
            Case::new("5.2", format!("a text of {bytes} bytes")).write(frame(TEXT, &text)).says(&content),
        );
    }
    // Every part of the header comes in a read of its own.
    for at in 1..14 {
        let (text, content) = say_sized(me, 65_536);
        let case = Case::new("5.2", format!("a header that is split before byte {at}"));
        cases.push(case.halves(frame(TEXT, &text), at).says(&content));
    }
    for bits in 1..8 {
        let first = TEXT | bits << 4;
        let case = Case::new("5.2", format!("reserved bits {bits:03b} with no extension"));
        // What is behind the fault is not acted on.
        let bytes = [frame(first, &hello), frame(PING, b"late")].concat();
        cases.push(case.write(bytes).closed(1002));
    }
    cases.push(
        Case::new("5.2", "a reserved bit in a ping, after a good one")
            .write([frame(PING, b"good"), frame(PING | 0x40, b"bad")].concat())
            .pong(b"good")
            .closed(1002),
    );
    for opcode in (3..8).chain(11..16) {
        let case = Case::new("5.2", format!("reserved opcode {opcode}, empty"));
        cases.push(case.write([frame(0x80 | opcode, b""), frame(PING, b"late")].concat()).closed(1002));
        let case = Case::new("5.2", format!("reserved opcode {opcode}, with a payload"));
        cases.push(case.write(frame(0x80 | opcode, b"payload")).closed(1002));
    }
    cases
}

#[tokio::test]
async fn frames_are_read_as_sections_5_1_to_5_3_say() -> Result<()> {
    run_all(cases).await
}
