//! Sections 5.6 and 8.1: text is UTF-8, wherever it is split.

use anyhow::Result;
use wsc_tests::raw_ws::{FIN, PING, TEXT, frame};

use super::case::{Case, run_all, say};

const START: u8 = TEXT & !FIN;
const LAST: u8 = FIN;

/// Sequences of two, three and four bytes, and the borders of each length (section 8.1, RFC 3629).
const VALID: &str = "\u{80}\u{7FF}\u{800}\u{D7FF}\u{E000}\u{FFFD}\u{FFFE}\u{FFFF}\u{10000}\u{10FFFF}κόσμε€𝄞";

/// What no UTF-8 decoder may take, and why.
const INVALID: [(&str, &[u8]); 18] = [
    ("a continuation with no start", b"\x80"),
    ("a continuation behind a letter", b"a\xBF"),
    ("a start of two with a letter behind it", b"\xC3("),
    ("a start of three with one byte", b"\xE2\x82("),
    ("a start of four with two bytes", b"\xF0\x9D\x84("),
    ("an overlong slash of two", b"\xC0\xAF"),
    ("an overlong slash of three", b"\xE0\x80\xAF"),
    ("an overlong slash of four", b"\xF0\x80\x80\xAF"),
    ("the largest overlong of two", b"\xC1\xBF"),
    ("the largest overlong of three", b"\xE0\x9F\xBF"),
    ("the largest overlong of four", b"\xF0\x8F\xBF\xBF"),
    ("the first surrogate", b"\xED\xA0\x80"),
    ("the last surrogate", b"\xED\xBF\xBF"),
    ("a pair of surrogates", b"\xED\xA0\xB4\xED\xB4\x9E"),
    ("above the last character", b"\xF4\x90\x80\x80"),
    ("a sequence of five", b"\xF8\x88\x80\x80\x80"),
    ("byte FE", b"\xFE"),
    ("byte FF", b"\xFF"),
];

fn valid_cases(me: &str) -> Vec<Case> {
    let text = say(me, VALID);
    let begins = text.len() - VALID.len() - 2;
    let ping = frame(PING, b"between");
    let mut cases = vec![
        Case::new("5.6", "every length of sequence").write(frame(TEXT, &text)).says(VALID),
        Case::new("5.6", "every length of sequence, byte by byte").chopped(frame(TEXT, &text)).says(VALID),
        Case::new("8.1", "a fragment per byte of every sequence")
            .write(
                text.iter()
                    .enumerate()
                    .flat_map(|(at, byte)| {
                        let first = if at == 0 {
                            START
                        } else if at + 1 == text.len() {
                            LAST
                        } else {
                            0
                        };
                        frame(first, &[*byte])
                    })
                    .collect::<Vec<u8>>(),
            )
            .says(VALID),
    ];
    for at in begins..=begins + VALID.len() {
        let (left, right) = text.split_at(at);
        let fragments = [frame(START, left), ping.clone(), frame(LAST, right)].concat();
        cases.push(
            Case::new("8.1", format!("two fragments, split before byte {at}"))
                .write(fragments)
                .pong(b"between")
                .says(VALID),
        );
        let whole = frame(TEXT, &text);
        let in_frame = whole.len() - text.len() + at;
        let case = Case::new("8.1", format!("one frame in two segments, split before byte {at}"));
        cases.push(case.halves(whole, in_frame).says(VALID));
    }
    cases
}

fn invalid_cases(me: &str) -> Vec<Case> {
    let with = |bytes: &[u8]| -> Vec<u8> {
        let whole = say(me, "\u{1}");
        let at = whole.iter().position(|byte| *byte == 1).unwrap_or(0);
        [&whole[..at], bytes, &whole[at + 1..]].concat()
    };
    let good = frame(TEXT, &say(me, "late"));
    let mut cases = Vec::new();
    for (what, bytes) in INVALID {
        let text = with(bytes);
        cases.push(Case::new("8.1", what).write([frame(TEXT, &text), good.clone()].concat()).closed(1007));
        for at in 1..bytes.len() {
            let begins = text.len() - bytes.len() - 2;
            let (left, right) = text.split_at(begins + at);
            let case = Case::new("8.1", format!("{what}, two fragments, split at {at}"));
            cases.push(case.write([frame(START, left), frame(LAST, right)].concat()).closed(1007));
        }
        // The section lets a server fail as soon as it sees the fault. This one does so at the end of the fragment.
        let case = Case::new("8.1", format!("{what}, in a first fragment with no other"));
        cases.push(case.write(frame(START, &[bytes, b"(("].concat())).closed(1007));
    }
    // At the end of a frame these are beginnings, at the end of a message they are faults.
    for unfinished in [&b"\xC3"[..], b"\xE2", b"\xE2\x82", b"\xF0", b"\xF0\x9D", b"\xF0\x9D\x84"] {
        let what = format!("a message that ends in {unfinished:x?}");
        cases.push(Case::new("8.1", what.clone()).write(frame(TEXT, unfinished)).closed(1007));
        let empty_end = [frame(START, unfinished), frame(LAST, b"")].concat();
        cases.push(Case::new("8.1", format!("{what}, then an empty fragment")).write(empty_end).closed(1007));
        let broken_off = [frame(START, unfinished), frame(LAST, b"(")].concat();
        cases.push(Case::new("8.1", format!("{what}, then a letter")).write(broken_off).closed(1007));
    }
    cases
}

#[tokio::test]
async fn valid_text_passes_wherever_it_is_split() -> Result<()> {
    run_all(valid_cases).await
}

#[tokio::test]
async fn invalid_text_closes_with_1007_wherever_it_is_split() -> Result<()> {
    run_all(invalid_cases).await
}
