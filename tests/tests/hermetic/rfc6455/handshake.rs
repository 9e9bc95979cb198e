//! Sections 4.1, 4.2, 4.4, 9.1 and 11.3: the request and its answers.

use anyhow::{Context as _, Result, ensure};
use wsc_tests::{
    lone_hub::LoneHub,
    raw_ws::{HubFrame, PING, RawAnswer, RawWs, frame},
};

/// The headers of a good request, behind its first line.
const GOOD: [(&str, &str); 5] = [
    ("Host", "hub.example"),
    ("Upgrade", "websocket"),
    ("Connection", "Upgrade"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ("Sec-WebSocket-Version", "13"),
];
const LINE: &str = "GET /ws?user_id=alice HTTP/1.1";
/// The answer to the key above, as section 1.3 computes it.
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// A request and what must be answered.
struct Row {
    section: &'static str,
    what: &'static str,
    request: String,
    status: u16,
    headers: Vec<(&'static str, Option<&'static str>)>,
}

impl Row {
    fn new(
        section: &'static str,
        what: &'static str,
        status: u16,
        line: &str,
        headers: &[(&str, &str)],
    ) -> Self {
        let lines: Vec<String> = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let mut expected = Vec::new();
        if status == 101 {
            expected.extend([("Sec-WebSocket-Accept", Some(ACCEPT)), ("Sec-WebSocket-Extensions", None)]);
        }
        Self {
            section,
            what,
            request: format!("{line}\r\n{}\r\n", lines.concat()),
            status,
            headers: expected,
        }
    }

    /// A header of the answer that must be there, or must not.
    fn answers(mut self, name: &'static str, value: Option<&'static str>) -> Self {
        self.headers.push((name, value));
        self
    }

    fn check(&self, answer: &RawAnswer) -> Result<()> {
        ensure!(answer.status == self.status, "{} instead of {}", answer.status, self.status);
        for (name, value) in &self.headers {
            ensure!(
                answer.header(name) == *value,
                "{name} is {:?} instead of {value:?}",
                answer.header(name)
            );
        }
        if self.status == 101 {
            for (name, wanted) in [("Upgrade", "websocket"), ("Connection", "upgrade")] {
                let value = answer.header(name).with_context(|| format!("no {name}"))?;
                ensure!(value.eq_ignore_ascii_case(wanted), "{name}: {value}");
            }
        } else {
            ensure!(answer.header("Sec-WebSocket-Accept").is_none(), "a refusal with a key");
        }
        Ok(())
    }
}

/// The good headers with one replaced.
fn with<'a>(name: &str, value: &'a str) -> Vec<(&'a str, &'a str)> {
    GOOD.iter().map(|header| if header.0 == name { (header.0, value) } else { *header }).collect()
}

/// The good headers without one.
fn without(name: &str) -> Vec<(&'static str, &'static str)> {
    GOOD.into_iter().filter(|header| header.0 != name).collect()
}

/// The good headers and more.
fn and<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    [&GOOD[..], more].concat()
}

fn refused() -> Vec<Row> {
    let row = |section, what, headers: Vec<(&str, &str)>| Row::new(section, what, 400, LINE, &headers);
    let old = |what, headers: Vec<(&str, &str)>| {
        Row::new("4.4", what, 426, LINE, &headers).answers("Sec-WebSocket-Version", Some("13"))
    };
    let method = |what, line| Row::new("4.2.1", what, 405, line, &GOOD).answers("Allow", Some("GET"));
    vec![
        row("4.2.1", "no Host", without("Host")),
        row("4.2.1", "two Hosts", and(&[("Host", "other.example")])),
        row("4.2.1", "no Upgrade", without("Upgrade")),
        row("4.2.1", "another Upgrade", with("Upgrade", "h2c")),
        row("4.2.1", "a word that begins with websocket", with("Upgrade", "websockets")),
        row("4.2.1", "no Connection", without("Connection")),
        row("4.2.1", "Connection: keep-alive", with("Connection", "keep-alive")),
        row("4.2.1", "Connection: close", with("Connection", "close")),
        row("4.2.1", "no key", without("Sec-WebSocket-Key")),
        row("4.2.1", "an empty key", with("Sec-WebSocket-Key", "")),
        row("4.2.1", "a key of 15 bytes", with("Sec-WebSocket-Key", "MTIzNDU2Nzg5MDEyMzQ1")),
        row("4.2.1", "a key of 17 bytes", with("Sec-WebSocket-Key", "MTIzNDU2Nzg5MDEyMzQ1Njc=")),
        row(
            "4.2.1",
            "a key of 24 letters that is no base64",
            with("Sec-WebSocket-Key", "!!!!!!!!!!!!!!!!!!!!!!=="),
        ),
        row("4.2.1", "a key with no padding", with("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ")),
        row("11.3.1", "the key twice", and(&[("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")])),
        row("11.3.1", "two keys", and(&[("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA==")])),
        old("no version", without("Sec-WebSocket-Version")),
        old("version 8", with("Sec-WebSocket-Version", "8")),
        old("version 0", with("Sec-WebSocket-Version", "0")),
        old("version 14", with("Sec-WebSocket-Version", "14")),
        old("version 013", with("Sec-WebSocket-Version", "013")),
        old("a list of versions", with("Sec-WebSocket-Version", "13, 8")),
        old("two versions", and(&[("Sec-WebSocket-Version", "8")])),
        Row::new("4.2.1", "HTTP/1.0", 400, "GET /ws?user_id=alice HTTP/1.0", &GOOD),
        Row::new("4.2.1", "a line that is no HTTP", 400, "WEBSOCKET /ws?user_id=alice", &GOOD),
        Row::new("4.2.2", "another path", 404, "GET /wss?user_id=alice HTTP/1.1", &GOOD),
        method("POST", "POST /ws?user_id=alice HTTP/1.1"),
        method("PUT", "PUT /ws?user_id=alice HTTP/1.1"),
        method("HEAD", "HEAD /ws?user_id=alice HTTP/1.1"),
    ]
}

fn accepted() -> Vec<Row> {
    let row = |section, what, headers: Vec<(&str, &str)>| Row::new(section, what, 101, LINE, &headers);
    let protocol = |what, offered: &str, answer| {
        let headers = and(&[("Sec-WebSocket-Protocol", offered)]);
        Row::new("4.2.2", what, 101, LINE, &headers).answers("Sec-WebSocket-Protocol", answer)
    };
    let deflate = |what, offered: &str| {
        Row::new("9.1", what, 101, LINE, &and(&[("Sec-WebSocket-Extensions", offered)]))
    };
    let lower: Vec<(String, &str)> = GOOD.iter().map(|(n, v)| (n.to_ascii_lowercase(), *v)).collect();
    let upper: Vec<(String, &str)> = GOOD.iter().map(|(n, v)| (n.to_ascii_uppercase(), *v)).collect();
    fn borrowed<'a>(headers: &'a [(String, &'a str)]) -> Vec<(&'a str, &'a str)> {
        headers.iter().map(|(name, value)| (name.as_str(), *value)).collect()
    }
    vec![
        row("4.2.1", "the headers of section 1.2", GOOD.to_vec()).answers("Sec-WebSocket-Protocol", None),
        row("4.2.1", "names in small letters", borrowed(&lower)),
        row("4.2.1", "names in capitals", borrowed(&upper)),
        row("4.2.1", "Upgrade: WEBSOCKET", with("Upgrade", "WEBSOCKET")),
        row("4.2.1", "Upgrade among others", with("Upgrade", "h2c, websocket")),
        row("4.2.1", "Connection among others", with("Connection", "keep-alive, UPGRADE")),
        row("4.2.1", "Connection in two lines", and(&[("Connection", "keep-alive")])),
        row("4.2.1", "an Origin of the same host", and(&[("Origin", "http://hub.example")])),
        row("4.2.1", "headers nobody knows", and(&[("X-Future", "1"), ("Sec-WebSocket-Future", "1")])),
        Row::new("4.1", "a whole URI", 101, "GET http://hub.example/ws?user_id=alice HTTP/1.1", &GOOD),
        protocol("the hub's subprotocol", "wsc.v1", Some("wsc.v1")),
        protocol("the hub's subprotocol among others", "chat, wsc.v1, superchat", Some("wsc.v1")),
        protocol("only other subprotocols", "chat, superchat", None),
        row(
            "4.2.2",
            "subprotocols in two lines",
            and(&[("Sec-WebSocket-Protocol", "a"), ("Sec-WebSocket-Protocol", "wsc.v1")]),
        )
        .answers("Sec-WebSocket-Protocol", Some("wsc.v1")),
        deflate("permessage-deflate is not taken up", "permessage-deflate; client_max_window_bits"),
        deflate("several extensions are not taken up", "foo, bar; baz=2, permessage-deflate"),
        deflate("a malformed list of extensions", ";;=,"),
    ]
}

#[expect(clippy::print_stdout, reason = "figures of a test")]
async fn run(rows: Vec<Row>) -> Result<()> {
    let lone = LoneHub::trusted(|options| options).await?;
    let mut failed = Vec::new();
    let count = rows.len();
    for row in rows {
        let tried = async {
            let (mut socket, answer) = RawWs::request(lone.hub.client, row.request.as_bytes()).await?;
            row.check(&answer).with_context(|| answer.head.clone())?;
            if row.status == 101 {
                socket.next_json().await.context("the welcome")?;
                socket.barrier(b"works").await?;
            }
            anyhow::Ok(())
        };
        if let Err(error) = tried.await {
            failed.push(format!("section {}: {}: {error:#}", row.section, row.what));
        }
    }
    ensure!(failed.is_empty(), "{} of {count} cases failed:\n{}", failed.len(), failed.join("\n"));
    println!("{count} cases passed");
    Ok(())
}

#[tokio::test]
async fn handshakes_that_section_4_2_1_excludes_are_refused() -> Result<()> {
    run(refused()).await
}

#[tokio::test]
async fn handshakes_that_section_4_2_1_allows_are_accepted_with_nothing_but_what_was_asked() -> Result<()> {
    run(accepted()).await
}

/// Section 4.1 makes a client wait for the answer; one that does not is understood all the same.
#[tokio::test]
async fn frames_right_behind_the_request_are_read() -> Result<()> {
    let lone = LoneHub::trusted(|options| options).await?;
    let good = Row::new("4.1", "", 101, LINE, &GOOD).request;
    let both = [good.as_bytes(), &frame(PING, b"early")].concat();
    let (mut socket, answer) = RawWs::request(lone.hub.client, &both).await?;
    assert_eq!(answer.status, 101, "{}", answer.head);
    let mut frames = [socket.next().await?, socket.next().await?];
    frames.sort_by_key(|frame| matches!(frame, HubFrame::Pong(_)));
    assert!(matches!(&frames[0], HubFrame::Text(text) if text.contains("welcome")), "{frames:?}");
    assert_eq!(frames[1], HubFrame::Pong(b"early".to_vec()));
    Ok(())
}

/// A body would be taken for frames.
#[tokio::test]
async fn a_handshake_with_a_body_is_refused() -> Result<()> {
    let lone = LoneHub::trusted(|options| options).await?;
    for (name, value, body) in
        [("Content-Length", "5", "hello"), ("Transfer-Encoding", "chunked", "0\r\n\r\n")]
    {
        let head = Row::new("4.1", "", 400, LINE, &and(&[(name, value)])).request;
        let (_socket, answer) = RawWs::request(lone.hub.client, (head + body).as_bytes()).await?;
        assert_eq!(answer.status, 400, "{name}: {}", answer.head);
    }
    Ok(())
}
