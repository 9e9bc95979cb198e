//! A WebSocket client that writes any bytes and checks each byte it gets, for tests of the framing itself.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::wait::at_most;

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(10);
/// The mask of [`frame`]; no byte of it is zero, so that a payload that is not unmasked is noticed.
const MASK: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

/// First byte of a whole text frame.
pub const TEXT: u8 = 0x81;
/// First byte of a whole binary frame.
pub const BINARY: u8 = 0x82;
/// First byte of a close frame.
pub const CLOSE: u8 = 0x88;
/// First byte of a ping.
pub const PING: u8 = 0x89;
/// First byte of a pong.
pub const PONG: u8 = 0x8A;
/// The bit that says that no fragment follows.
pub const FIN: u8 = 0x80;

/// How a frame's length is written (RFC 6455 section 5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LengthForm {
    /// As short as possible, as the section asks.
    Shortest,
    /// Two bytes behind 126.
    Bytes2,
    /// Eight bytes behind 127.
    Bytes8,
}

/// A masked frame, as a client has to send it; `first` is its first byte.
#[must_use]
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    frame_with_length(first, payload, LengthForm::Shortest)
}

/// A masked frame whose length is written in a chosen form.
#[must_use]
pub fn frame_with_length(first: u8, payload: &[u8], form: LengthForm) -> Vec<u8> {
    let mut bytes = header(first, payload.len() as u64, form, Some(MASK));
    bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

/// A frame with no mask, which a client must not send.
#[must_use]
pub fn unmasked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = header(first, payload.len() as u64, LengthForm::Shortest, None);
    bytes.extend(payload);
    bytes
}

/// Only the header of a masked frame, which announces `length` bytes.
#[must_use]
pub fn announcing(first: u8, length: u64) -> Vec<u8> {
    header(first, length, LengthForm::Shortest, Some(MASK))
}

/// The payload of a close frame.
#[must_use]
pub fn close_payload(code: u16, reason: &str) -> Vec<u8> {
    [&code.to_be_bytes(), reason.as_bytes()].concat()
}

fn header(first: u8, length: u64, form: LengthForm, mask: Option<[u8; 4]>) -> Vec<u8> {
    let masked = if mask.is_some() { 0x80 } else { 0 };
    let mut bytes = vec![first];
    match (form, length) {
        (LengthForm::Shortest, 0..=125) => bytes.push(masked | length.to_be_bytes()[7]),
        (LengthForm::Shortest, 126..=0xFFFF) | (LengthForm::Bytes2, _) => {
            bytes.push(masked | 126);
            bytes.extend(&length.to_be_bytes()[6..]);
        }
        (LengthForm::Shortest | LengthForm::Bytes8, _) => {
            bytes.push(masked | 127);
            bytes.extend(length.to_be_bytes());
        }
    }
    bytes.extend(mask.iter().flatten());
    bytes
}

/// A frame from the hub, which was checked as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HubFrame {
    /// A text.
    Text(String),
    /// A ping, not answered.
    Ping(Vec<u8>),
    /// A pong.
    Pong(Vec<u8>),
    /// A close: code, if there is one, and reason.
    Close(Option<u16>, String),
    /// The hub ended its side of TCP.
    Fin,
}

/// The answer to an upgrade.
#[derive(Debug, Clone)]
pub struct RawAnswer {
    /// Status code; 0 when TCP ended without an answer.
    pub status: u16,
    /// Status line and headers as they came.
    pub head: String,
}

impl RawAnswer {
    /// The value of a header, when it is there exactly once.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.head.lines().skip(1).filter_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        });
        values.next().filter(|_| values.next().is_none())
    }
}

/// A socket on which every byte is the test's own.
#[derive(Debug)]
pub struct RawWs {
    stream: TcpStream,
    unread: Vec<u8>,
}

impl RawWs {
    /// Sends a request, given with all its line ends, and reads the answer's head.
    ///
    /// # Errors
    /// When there is neither an answer nor an end within 10 s.
    pub async fn request(address: SocketAddr, request: &[u8]) -> Result<(Self, RawAnswer)> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let mut socket = Self { stream, unread: Vec::new() };
        socket.write(request).await?;
        let answer = at_most("the request is answered", PATIENCE, async {
            loop {
                if let Some(end) = find(&socket.unread, b"\r\n\r\n") {
                    let head: Vec<u8> = socket.unread.drain(..end + 4).collect();
                    return anyhow::Ok(String::from_utf8(head)?);
                }
                if socket.read_more().await? == 0 {
                    return Ok(String::new());
                }
            }
        });
        let head = answer.await??;
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
        Ok((socket, RawAnswer { status, head }))
    }

    /// Connects as a user of mode trusted and reads `welcome`.
    ///
    /// # Errors
    /// When the upgrade is refused, or the first frame is no text.
    pub async fn connect(address: SocketAddr, user: &str) -> Result<Self> {
        let request = format!(
            "GET /ws?user_id={user} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        );
        let (mut socket, answer) = Self::request(address, request.as_bytes()).await?;
        ensure!(answer.status == 101, "the upgrade was refused: {}", answer.head);
        match socket.next().await? {
            HubFrame::Text(text) if text.contains("\"welcome\"") => Ok(socket),
            other => bail!("{other:?} instead of the welcome"),
        }
    }

    /// Writes bytes, in one system call where the kernel takes them so.
    ///
    /// # Errors
    /// When the hub has reset the connection.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).await.context("cannot write")
    }

    /// Ends the client's side of TCP.
    ///
    /// # Errors
    /// When the hub has reset the connection.
    pub async fn finish(&mut self) -> Result<()> {
        self.stream.shutdown().await.context("cannot end the writing side")
    }

    /// The next frame, checked against what RFC 6455 asks of a server.
    ///
    /// # Errors
    /// When the hub breaks the protocol, resets TCP, or nothing comes within 10 s.
    pub async fn next(&mut self) -> Result<HubFrame> {
        at_most("a frame comes", PATIENCE, async {
            loop {
                if let Some((frame, length)) = parse(&self.unread)? {
                    self.unread.drain(..length);
                    return Ok(frame);
                }
                if self.read_more().await? == 0 {
                    ensure!(self.unread.is_empty(), "TCP ends in the middle of a frame: {:?}", self.unread);
                    return Ok(HubFrame::Fin);
                }
            }
        })
        .await?
    }

    /// The next frame must be a text; gives it as JSON. Pings of the hub are passed over.
    ///
    /// # Errors
    /// When something else comes.
    pub async fn next_json(&mut self) -> Result<Value> {
        loop {
            match self.next().await? {
                HubFrame::Text(text) => return Ok(serde_json::from_str(&text)?),
                HubFrame::Ping(_) => {}
                other => bail!("{other:?} instead of a text"),
            }
        }
    }

    /// Makes sure that the hub has read all that was written: its answer to a ping comes after what led to frames
    /// before it. Gives what came before.
    ///
    /// # Errors
    /// When the connection ends first.
    pub async fn barrier(&mut self, name: &[u8]) -> Result<Vec<HubFrame>> {
        self.write(&frame(PING, name)).await?;
        let mut before = Vec::new();
        loop {
            match self.next().await? {
                HubFrame::Pong(payload) if payload == name => return Ok(before),
                end @ (HubFrame::Fin | HubFrame::Close(..)) => {
                    bail!("{end:?} before the barrier; {before:?}")
                }
                other => before.push(other),
            }
        }
    }

    async fn read_more(&mut self) -> Result<usize> {
        self.stream.read_buf(&mut self.unread).await.context("cannot read")
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

/// Reads a frame and how many bytes it took; `None` when it is not whole yet.
fn parse(bytes: &[u8]) -> Result<Option<(HubFrame, usize)>> {
    let [first, second, rest @ ..] = bytes else { return Ok(None) };
    ensure!(first & 0x70 == 0, "reserved bits {first:#x} without an extension (section 5.2)");
    ensure!(second & 0x80 == 0, "a server masks no frame (section 5.1)");
    let extended = match second {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    if rest.len() < extended {
        return Ok(None);
    }
    let length = match extended {
        0 => u64::from(*second),
        _ => rest[..extended].iter().fold(0, |length, byte| length << 8 | u64::from(*byte)),
    };
    let shortest = match length {
        0..=125 => 0,
        126..=0xFFFF => 2,
        _ => 8,
    };
    ensure!(extended == shortest, "length {length} in {extended} bytes (section 5.2)");
    let length = usize::try_from(length)?;
    let Some(payload) = rest[extended..].get(..length) else { return Ok(None) };
    ensure!(first & FIN != 0, "the hub sends no fragments");
    let frame = match *first {
        TEXT => HubFrame::Text(String::from_utf8(payload.to_vec()).context("text that is not UTF-8")?),
        CLOSE | PING | PONG if length > 125 => bail!("a control frame of {length} bytes (section 5.5)"),
        PING => HubFrame::Ping(payload.to_vec()),
        PONG => HubFrame::Pong(payload.to_vec()),
        CLOSE => match payload {
            [] => HubFrame::Close(None, String::new()),
            [high, low, reason @ ..] => {
                let code = u16::from_be_bytes([*high, *low]);
                let sendable = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
                ensure!(sendable, "close code {code} is not one to send (section 7.4)");
                let reason = std::str::from_utf8(reason).context("a reason that is not UTF-8")?;
                HubFrame::Close(Some(code), reason.to_owned())
            }
            [_] => bail!("half of a close code (section 5.5.1)"),
        },
        other => bail!("opcode {other:#x}: the hub speaks text only"),
    };
    Ok(Some((frame, 2 + extended + length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_take_the_documented_forms() {
        let lengths = [(0, 2), (125, 2), (126, 4), (65_535, 4), (65_536, 10)];
        for (length, bytes) in lengths {
            assert_eq!(header(TEXT, length, LengthForm::Shortest, None).len(), bytes, "{length}");
        }
        assert_eq!(frame_with_length(TEXT, b"x", LengthForm::Bytes2)[..4], [TEXT, 0x80 | 126, 0, 1]);
    }

    #[test]
    fn what_a_server_must_not_send_is_noticed() {
        let bad: [&[u8]; 8] = [
            &frame(TEXT, b"masked"),
            &[0xC1, 0],
            &[0x83, 0],
            &[TEXT, 126, 0, 1, b'x'],
            &[TEXT, 1, 0xFF],
            &[CLOSE, 1, 3],
            &[CLOSE, 2, 0x03, 0xED],
            &[0x01, 1, b'x'],
        ];
        for bytes in bad {
            assert!(parse(bytes).is_err(), "{bytes:?}");
        }
        assert!(parse(&[TEXT, 5, b'x']).unwrap().is_none());
        assert_eq!(parse(&[PONG, 1, 7, 9]).unwrap(), Some((HubFrame::Pong(vec![7]), 3)));
    }
}
