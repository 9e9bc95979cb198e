//! One row of the table: what a client writes, and what the hub must answer.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, bail, ensure};
use wsc_tests::{
    lone_hub::LoneHub,
    raw_ws::{CLOSE, HubFrame, PING, RawWs, close_payload, frame},
};

/// How bytes get to the hub.
#[derive(Debug, Clone)]
enum Step {
    /// In one write.
    Write(Vec<u8>),
    /// Each byte in a write of its own.
    Chopped(Vec<u8>),
    /// In two reads of the hub, the second of which begins at this byte. What is before it comes behind a ping in
    /// one write, and its pong is waited for: so the hub has the first part before it gets the second.
    Halves(Vec<u8>, usize),
}

/// How a case ends.
#[derive(Debug, Clone)]
enum End {
    /// The connection goes on.
    Open,
    /// The hub closes with this code and a reason.
    Closed(u16),
    /// The hub answers the client's close, and ends TCP first (section 7.1.1).
    Answered(Option<u16>, String),
}

/// What a client writes and what must come of it.
#[derive(Debug, Clone)]
pub(super) struct Case {
    section: &'static str,
    what: String,
    steps: Vec<Step>,
    contents: Vec<String>,
    pongs: Vec<Vec<u8>>,
    errors: usize,
    end: End,
}

/// A message to oneself, so that the hub's reading of it can be seen.
pub(super) fn say(me: &str, content: &str) -> Vec<u8> {
    format!("{{\"receiver\":\"{me}\",\"content\":\"{content}\"}}").into_bytes()
}

/// A message to oneself of so many bytes, and its content.
pub(super) fn say_sized(me: &str, bytes: usize) -> (Vec<u8>, String) {
    let content = "x".repeat(bytes - say(me, "").len());
    (say(me, &content), content)
}

impl Case {
    /// `section` of RFC 6455 and what is tried.
    pub(super) fn new(section: &'static str, what: impl Into<String>) -> Self {
        Self {
            section,
            what: what.into(),
            steps: Vec::new(),
            contents: Vec::new(),
            pongs: Vec::new(),
            errors: 0,
            end: End::Open,
        }
    }

    /// Writes these bytes.
    pub(super) fn write(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.steps.push(Step::Write(bytes.into()));
        self
    }

    /// Writes these bytes one by one.
    pub(super) fn chopped(mut self, bytes: Vec<u8>) -> Self {
        self.steps.push(Step::Chopped(bytes));
        self
    }

    /// Writes these bytes so that the hub reads them in two parts.
    pub(super) fn halves(mut self, bytes: Vec<u8>, at: usize) -> Self {
        self.steps.push(Step::Halves(bytes, at));
        self
    }

    /// A message with this content comes to the client.
    pub(super) fn says(mut self, content: &str) -> Self {
        self.contents.push(content.to_owned());
        self
    }

    /// A pong with this payload comes, after those before it.
    pub(super) fn pong(mut self, payload: &[u8]) -> Self {
        self.pongs.push(payload.to_vec());
        self
    }

    /// An `error` frame comes.
    pub(super) fn error(mut self) -> Self {
        self.errors += 1;
        self
    }

    /// The hub closes with this code.
    pub(super) fn closed(mut self, code: u16) -> Self {
        self.end = End::Closed(code);
        self
    }

    /// The hub answers the client's close with this one.
    pub(super) fn answered(mut self, code: Option<u16>, reason: &str) -> Self {
        self.end = End::Answered(code, reason.to_owned());
        self
    }

    async fn run(self, address: SocketAddr, me: &str) -> Result<()> {
        let mut socket = RawWs::connect(address, me).await?;
        let mut seen = Seen::default();
        for step in &self.steps {
            // What is written behind a fault finds the hub's side closed now and then.
            let may_fail = !matches!(self.end, End::Open);
            if let Err(error) = take(&mut socket, step, &mut seen).await
                && !may_fail
            {
                return Err(error);
            }
        }
        match &self.end {
            End::Open => {
                while !seen.has_all_of(&self) {
                    seen.take(socket.next().await.with_context(|| format!("seen until then: {seen:?}"))?)?;
                }
                let surplus = socket.barrier(b"nothing else").await?;
                ensure!(surplus.is_empty(), "more than was asked for: {surplus:?}");
                socket.write(&frame(CLOSE, &close_payload(1000, ""))).await?;
                ensure!(socket.next().await? == HubFrame::Close(Some(1000), String::new()));
            }
            End::Closed(code) => {
                let (got, reason) = seen.until_close(&mut socket).await?;
                ensure!(got == Some(*code), "close {got:?} ({reason}) instead of {code}");
                ensure!(!reason.is_empty(), "close {code} has no reason");
                // The hub may have ended TCP already, since what follows a broken frame cannot be read.
                drop(socket.write(&frame(CLOSE, &close_payload(*code, ""))).await);
            }
            End::Answered(code, reason) => {
                let got = seen.until_close(&mut socket).await?;
                ensure!(got == (*code, reason.clone()), "answered with {got:?}");
            }
        }
        // With no reset, which would throw away what is on its way to the client.
        ensure!(socket.next().await? == HubFrame::Fin, "frames after the close");
        ensure!(seen.pongs == self.pongs, "pongs {:?} instead of {:?}", seen.pongs, self.pongs);
        // A message that was accepted before the fault may find the connection closing.
        let all = matches!(self.end, End::Open);
        ensure!(!all || seen.contents == self.contents, "{:?} instead of {:?}", seen.contents, self.contents);
        ensure!(
            seen.contents.iter().all(|content| self.contents.contains(content)),
            "acted on what came after the fault: {:?}",
            seen.contents
        );
        ensure!(
            !all || seen.errors == self.errors,
            "{} error frames instead of {}",
            seen.errors,
            self.errors
        );
        Ok(())
    }
}

#[derive(Debug, Default)]
struct Seen {
    contents: Vec<String>,
    pongs: Vec<Vec<u8>>,
    errors: usize,
}

impl Seen {
    fn has_all_of(&self, case: &Case) -> bool {
        self.contents.len() >= case.contents.len()
            && self.pongs.len() >= case.pongs.len()
            && self.errors >= case.errors
    }

    fn take(&mut self, frame: HubFrame) -> Result<()> {
        match frame {
            HubFrame::Pong(payload) => self.pongs.push(payload),
            HubFrame::Ping(_) => {}
            HubFrame::Text(text) => {
                let json: serde_json::Value = serde_json::from_str(&text)?;
                match json["message_type"].as_str() {
                    Some("text") => self.contents.push(json["content"].as_str().unwrap_or("?").to_owned()),
                    Some("error") => self.errors += 1,
                    _ => bail!("an unexpected text: {text}"),
                }
            }
            end @ (HubFrame::Close(..) | HubFrame::Fin) => bail!("{end:?}; seen until then: {self:?}"),
        }
        Ok(())
    }

    async fn until_close(&mut self, socket: &mut RawWs) -> Result<(Option<u16>, String)> {
        loop {
            match socket.next().await? {
                HubFrame::Close(code, reason) => return Ok((code, reason)),
                other => self.take(other)?,
            }
        }
    }
}

async fn take(socket: &mut RawWs, step: &Step, seen: &mut Seen) -> Result<()> {
    match step {
        Step::Write(bytes) => socket.write(bytes).await,
        Step::Chopped(bytes) => {
            for byte in bytes {
                socket.write(&[*byte]).await?;
            }
            Ok(())
        }
        Step::Halves(bytes, at) => {
            let first = [&frame(PING, b"first half"), &bytes[..*at]].concat();
            socket.write(&first).await?;
            loop {
                match socket.next().await? {
                    HubFrame::Pong(payload) if payload == b"first half" => break,
                    other => seen.take(other)?,
                }
            }
            socket.write(&bytes[*at..]).await
        }
    }
}

/// Runs a table against one hub, each case on a connection and with a user of its own, and names all that fail.
#[expect(clippy::print_stdout, reason = "figures of a test")]
pub(super) async fn run_all(cases: impl Fn(&str) -> Vec<Case>) -> Result<()> {
    let lone = LoneHub::trusted(|options| options).await?;
    let mut failed = Vec::new();
    let count = cases("u000").len();
    for number in 0..count {
        let me = format!("u{number:03}");
        let case = cases(&me).swap_remove(number);
        let name = format!("section {}: {}", case.section, case.what);
        if let Err(error) = case.run(lone.hub.client, &me).await {
            failed.push(format!("{name}: {error:#}"));
        }
    }
    ensure!(failed.is_empty(), "{} of {count} cases failed:\n{}", failed.len(), failed.join("\n"));
    let output = lone.hub.output();
    ensure!(!output.contains("panicked"), "{output}");
    println!("{count} cases passed");
    Ok(())
}
