//! Sections 5.5.1 and 7: closing.

use anyhow::{Result, ensure};
use serde_json::json;
use wsc_tests::{
    lone_hub::LoneHub,
    raw_ws::{BINARY, CLOSE, HubFrame, PING, RawWs, TEXT, close_payload, frame},
    ws_client::PATIENCE,
};

use super::case::{Case, run_all, say};

fn cases(me: &str) -> Vec<Case> {
    let normal = frame(CLOSE, &close_payload(1000, ""));
    let longest = "r".repeat(123);
    let accents = format!("{}r", "ü".repeat(61));
    let mut cases = vec![
        Case::new("5.5.1", "a close with no code").write(frame(CLOSE, b"")).answered(None, ""),
        Case::new("5.5.1", "a close of one byte").write(frame(CLOSE, &[3])).closed(1002),
        Case::new("5.5.1", "a code and no reason").write(normal.clone()).answered(Some(1000), ""),
        Case::new("5.5.1", "a code and a reason")
            .write(frame(CLOSE, &close_payload(1001, "page left")))
            .answered(Some(1001), "page left"),
        Case::new("5.5.1", "a close byte by byte")
            .chopped(frame(CLOSE, &close_payload(1000, "bye")))
            .answered(Some(1000), "bye"),
        Case::new("5.5", "a reason of 123 bytes")
            .write(frame(CLOSE, &close_payload(1000, &longest)))
            .answered(Some(1000), &longest),
        Case::new("5.5", "a reason of 123 bytes, most in pairs")
            .write(frame(CLOSE, &close_payload(1000, &accents)))
            .answered(Some(1000), &accents),
        Case::new("5.5", "a reason of 124 bytes")
            .write(frame(CLOSE, &close_payload(1000, &"r".repeat(124))))
            .closed(1002),
        Case::new("5.5.1", "a reason that is not UTF-8")
            .write(frame(CLOSE, b"\x03\xE8\xFF\xFE"))
            .closed(1007),
        Case::new("5.5.1", "a reason cut in a character")
            .write(frame(CLOSE, b"\x03\xE8ok\xE2\x82"))
            .closed(1007),
        Case::new("5.5", "a close in fragments")
            .write(frame(CLOSE & 0x7F, &close_payload(1000, "")))
            .closed(1002),
        Case::new("5.5.1", "two closes")
            .write([normal.clone(), normal.clone()].concat())
            .answered(Some(1000), ""),
        Case::new("5.5.1", "a close, then another code")
            .write([normal.clone(), frame(CLOSE, &close_payload(3000, "no, this"))].concat())
            .answered(Some(1000), ""),
        Case::new("5.5.1", "a ping behind the close is not answered")
            .write([normal.clone(), frame(PING, b"late")].concat())
            .answered(Some(1000), ""),
        Case::new("5.5.1", "a text behind the close is not acted on")
            .write([normal.clone(), frame(TEXT, &say(me, "late"))].concat())
            .answered(Some(1000), ""),
        Case::new("5.5.1", "bytes that are no frame behind the close")
            .write([normal.clone(), vec![0xFF; 5000]].concat())
            .answered(Some(1000), ""),
        Case::new("5.5.1", "64 KiB behind the close")
            .write([normal.clone(), frame(BINARY, &[0; 65_536])].concat())
            .answered(Some(1000), ""),
        Case::new("5.5.2", "a ping before the close is answered")
            .write([frame(PING, b"early"), normal.clone()].concat())
            .pong(b"early")
            .answered(Some(1000), ""),
        Case::new("7.1.7", "a fault, then a close: the fault's code counts")
            .write([frame(TEXT | 0x40, b"x"), normal].concat())
            .closed(1002),
    ];
    for code in [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 3000, 3999, 4000, 4999] {
        cases.push(
            Case::new("7.4", format!("code {code}"))
                .write(frame(CLOSE, &close_payload(code, "why")))
                .answered(Some(code), "why"),
        );
    }
    // Never on the wire (7.4.1), reserved, or in no range at all (7.4.2).
    for code in [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535] {
        let case = Case::new("7.4", format!("code {code}, which nobody may send"));
        cases.push(case.write(frame(CLOSE, &close_payload(code, ""))).closed(1002));
    }
    cases
}

#[tokio::test]
async fn a_close_is_answered_as_section_7_says() -> Result<()> {
    run_all(cases).await
}

#[tokio::test]
async fn a_client_that_ends_tcp_behind_its_close_still_gets_the_answer() -> Result<()> {
    let lone = LoneHub::trusted(|options| options).await?;
    let mut socket = RawWs::connect(lone.hub.client, "alice").await?;
    socket.write(&frame(CLOSE, &close_payload(4321, "half closed"))).await?;
    socket.finish().await?;
    assert_eq!(socket.next().await?, HubFrame::Close(Some(4321), "half closed".into()));
    assert_eq!(socket.next().await?, HubFrame::Fin);
    lone.connections(0, PATIENCE).await
}

#[tokio::test]
async fn a_client_that_ends_tcp_with_no_close_gets_the_end_and_no_frame() -> Result<()> {
    let lone = LoneHub::trusted(|options| options).await?;
    for unfinished in [&b""[..], &[TEXT], &frame(TEXT, b"half a frame")[..9]] {
        let mut socket = RawWs::connect(lone.hub.client, "alice").await?;
        socket.write(unfinished).await?;
        socket.finish().await?;
        assert_eq!(socket.next().await?, HubFrame::Fin, "after {unfinished:?}");
        lone.connections(0, PATIENCE).await?;
    }
    Ok(())
}

/// Section 7.1.1 and 5.5.1: the hub's own close waits for the client's answer, but not for ever.
#[tokio::test]
async fn the_hubs_close_waits_for_the_answer_and_takes_frames_before_it() -> Result<()> {
    let lone = LoneHub::trusted(|options| options).await?;
    for answers in [true, false] {
        let mut socket = RawWs::connect(lone.hub.client, "alice").await?;
        let long = "ü".repeat(200);
        let kicked = lone.api()?.kick("alice", &long).await?;
        assert_eq!(kicked["kicked_connections"], json!(1), "{kicked}");
        let HubFrame::Close(Some(4001), reason) = socket.next().await? else {
            anyhow::bail!("no close 4001");
        };
        ensure!(reason.starts_with("kicked: üü") && (121..=123).contains(&reason.len()), "{reason}");
        if answers {
            // On their way when the close came: not answered, and no fault.
            socket.write(&frame(PING, b"late")).await?;
            socket.write(&frame(TEXT, &say("alice", "late"))).await?;
            socket.write(&frame(CLOSE, &close_payload(4001, ""))).await?;
        }
        // A client that does not answer is given 2 s.
        assert_eq!(socket.next().await?, HubFrame::Fin, "answers: {answers}");
        socket.finish().await?;
        lone.connections(0, PATIENCE).await?;
    }
    Ok(())
}
