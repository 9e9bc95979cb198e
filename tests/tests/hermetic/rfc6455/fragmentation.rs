//! Section 5.4.

use anyhow::Result;
use wsc_tests::raw_ws::{BINARY, CLOSE, FIN, PING, PONG, TEXT, close_payload, frame};

use super::case::{Case, run_all, say};

const START: u8 = TEXT & !FIN;
const MORE: u8 = 0;
const LAST: u8 = FIN;

/// A message in pieces of so many bytes, with frames between them.
fn pieces(text: &[u8], bytes: usize, between: &[u8]) -> Vec<u8> {
    let count = text.len().div_ceil(bytes);
    let mut out = Vec::new();
    for (number, piece) in text.chunks(bytes).enumerate() {
        let start = if number == 0 { TEXT } else { LAST };
        let first = if number + 1 == count { start } else { start & !FIN };
        out.extend(frame(first, piece));
        if number + 1 < count {
            out.extend(between);
        }
    }
    out
}

fn cases(me: &str) -> Vec<Case> {
    let hello = say(me, "hello");
    let whole = frame(TEXT, &hello);
    let (left, right) = hello.split_at(7);
    let ping = frame(PING, b"between");
    vec![
        Case::new("5.4", "two fragments").write(pieces(&hello, 20, b"")).says("hello"),
        Case::new("5.4", "a fragment per byte").write(pieces(&hello, 1, b"")).says("hello"),
        Case::new("5.4", "two fragments byte by byte").chopped(pieces(&hello, 20, b"")).says("hello"),
        Case::new("5.4", "empty fragments before, between and behind")
            .write(
                [
                    frame(START, b""),
                    frame(MORE, left),
                    frame(MORE, b""),
                    frame(MORE, right),
                    frame(LAST, b""),
                ]
                .concat(),
            )
            .says("hello"),
        Case::new("5.4", "nothing but empty fragments")
            .write([frame(START, b""), frame(MORE, b""), frame(LAST, b"")].concat())
            .error(),
        Case::new("5.4", "a ping between two fragments")
            .write(pieces(&hello, 20, &ping))
            .pong(b"between")
            .says("hello"),
        Case::new("5.4", "a ping between two fragments, byte by byte")
            .chopped(pieces(&hello, 20, &ping))
            .pong(b"between")
            .says("hello"),
        Case::new("5.4", "a pong between two fragments")
            .write(pieces(&hello, 20, &frame(PONG, b"x")))
            .says("hello"),
        Case::new("5.4", "a ping between each of five fragments")
            .write(pieces(&hello, hello.len().div_ceil(5), &ping))
            .pong(b"between")
            .pong(b"between")
            .pong(b"between")
            .pong(b"between")
            .says("hello"),
        Case::new("5.4", "a last fragment of nothing")
            .write([frame(LAST, left), whole.clone()].concat())
            .closed(1002),
        Case::new("5.4", "a fragment of nothing")
            .write([frame(MORE, left), whole.clone()].concat())
            .closed(1002),
        Case::new("5.4", "a fragment of nothing, empty").write(frame(MORE, b"")).closed(1002),
        Case::new("5.4", "a fragment behind a whole text")
            .write([whole.clone(), frame(LAST, b"more")].concat())
            .says("hello")
            .closed(1002),
        Case::new("5.4", "a text while a message is open")
            .write([frame(START, left), whole.clone()].concat())
            .closed(1002),
        Case::new("5.4", "the start of another text while a message is open")
            .write([frame(START, left), frame(START, left), frame(LAST, right)].concat())
            .closed(1002),
        Case::new("5.4", "a binary while a text is open")
            .write([frame(START, left), frame(BINARY, b"x")].concat())
            .closed(1002),
        Case::new("5.4", "two messages in fragments, one after the other")
            .write([pieces(&hello, 9, b""), pieces(&say(me, "again"), 9, b"")].concat())
            .says("hello")
            .says("again"),
        Case::new("5.6", "a binary in fragments")
            .write([frame(BINARY & !FIN, b"x"), frame(MORE, b"y"), frame(LAST, b"z")].concat())
            .closed(1003),
        Case::new("5.4", "a close while a message is open")
            .write([frame(START, left), frame(CLOSE, &close_payload(1000, "enough"))].concat())
            .answered(Some(1000), "enough"),
        Case::new("5.2", "a reserved opcode while a message is open")
            .write([frame(START, left), frame(FIN | 3, b""), frame(LAST, right)].concat())
            .closed(1002),
        Case::new("5.2", "a reserved bit in a later fragment")
            .write([frame(START, left), frame(LAST | 0x40, right)].concat())
            .closed(1002),
        Case::new("5.4", "a fragmented ping while a message is open")
            .write([frame(START, left), frame(PING & !FIN, b""), frame(LAST, right)].concat())
            .closed(1002),
    ]
}

#[tokio::test]
async fn fragments_are_joined_as_section_5_4_says() -> Result<()> {
    run_all(cases).await
}
