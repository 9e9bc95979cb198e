//! A WebSocket client for tests: one frame at a time, every wait with a deadline.

use std::{any::Any, net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use futures::{SinkExt as _, StreamExt as _};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{self, Message, client::IntoClientRequest as _},
};

use crate::{api_client::Answer, wait::at_most};

/// How long a test waits for a frame that must come.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// A stream below a WebSocket: TCP, or a port-forward.
pub trait Transport: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Transport for T {}

/// What came from the hub.
#[derive(Debug, Clone, PartialEq)]
pub enum Incoming {
    /// A text frame, as JSON.
    Frame(Value),
    /// A close frame.
    Close {
        /// Close code.
        code: u16,
        /// The text with it.
        reason: String,
    },
    /// The stream ended with no close frame.
    Ended(String),
}

/// An upgrade as a test wants it.
#[derive(Debug, Clone)]
pub struct WsRequest {
    target: String,
    headers: Vec<(String, String)>,
}

impl WsRequest {
    /// `target` is path and query, such as `/ws?user_id=alice`.
    #[must_use]
    pub fn new(target: &str) -> Self {
        Self { target: target.to_owned(), headers: Vec::new() }
    }

    /// For mode trusted.
    #[must_use]
    pub fn user(user: &str) -> Self {
        Self::new(&format!("/ws?user_id={user}"))
    }

    /// For mode token.
    #[must_use]
    pub fn token(token: &str) -> Self {
        Self::new("/ws").header("Authorization", &format!("Bearer {token}"))
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// What an upgrade came to.
pub enum Upgrade {
    /// A WebSocket; `welcome` is not read yet.
    Open(Box<WsClient>),
    /// An HTTP answer instead.
    Refused(Answer),
}

/// An open connection.
pub struct WsClient {
    stream: WebSocketStream<Box<dyn Transport>>,
    /// Headers of the 101 answer.
    pub headers: HeaderMap,
    /// The first frame, once it was read.
    pub welcome: Value,
    /// Whether `resume_done` is given to the test.
    shows_resume: bool,
    /// What the connection needs for as long as it lives, such as a port-forward.
    held: Option<Box<dyn Any + Send>>,
}

impl std::fmt::Debug for WsClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "WsClient({})", self.welcome)
    }
}

impl WsClient {
    /// Asks for an upgrade over a new TCP connection.
    ///
    /// # Errors
    /// When there is no HTTP answer within 10 s.
    pub async fn upgrade(address: SocketAddr, request: &WsRequest) -> Result<Upgrade> {
        let tcp =
            at_most("TCP connects", PATIENCE, TcpStream::connect(address)).await?.context("TCP connect")?;
        tcp.set_nodelay(true)?;
        Self::upgrade_over(Box::new(tcp), &address.to_string(), request).await
    }

    /// Asks for an upgrade over a stream that is open; `host` goes in the `Host` header.
    ///
    /// # Errors
    /// When there is no HTTP answer within 10 s.
    pub async fn upgrade_over(
        transport: Box<dyn Transport>,
        host: &str,
        request: &WsRequest,
    ) -> Result<Upgrade> {
        let mut http = format!("ws://{host}{}", request.target).into_client_request()?;
        for (name, value) in &request.headers {
            let name = http::HeaderName::try_from(name)?;
            http.headers_mut().append(name, http::HeaderValue::try_from(value)?);
        }
        match at_most("the upgrade is answered", PATIENCE, client_async(http, transport)).await? {
            Ok((stream, response)) => {
                let headers = response.headers().clone();
                Ok(Upgrade::Open(Box::new(Self {
                    stream,
                    headers,
                    welcome: Value::Null,
                    shows_resume: false,
                    held: None,
                })))
            }
            Err(tungstenite::Error::Http(response)) => {
                let (parts, body) = response.into_parts();
                let text = String::from_utf8_lossy(&body.unwrap_or_default()).into_owned();
                Ok(Upgrade::Refused(Answer { status: parts.status, headers: parts.headers, text }))
            }
            Err(error) => Err(error).context("the upgrade failed without an HTTP answer"),
        }
    }

    /// Connects and reads `welcome`.
    ///
    /// # Errors
    /// When the upgrade is refused, or something else comes first.
    pub async fn connect(address: SocketAddr, request: &WsRequest) -> Result<Self> {
        Self::welcomed(Self::upgrade(address, request).await?).await
    }

    /// Reads `welcome` of a fresh upgrade.
    ///
    /// # Errors
    /// When the upgrade was refused, or something else comes first.
    pub async fn welcomed(upgrade: Upgrade) -> Result<Self> {
        let mut client = match upgrade {
            Upgrade::Open(client) => *client,
            Upgrade::Refused(answer) => bail!("the upgrade was refused: {} {}", answer.status, answer.text),
        };
        client.welcome = client.expect("welcome").await?;
        Ok(client)
    }

    /// Asks for an upgrade that must be refused.
    ///
    /// # Errors
    /// When it is not refused.
    pub async fn refused(address: SocketAddr, request: &WsRequest) -> Result<Answer> {
        match Self::upgrade(address, request).await? {
            Upgrade::Refused(answer) => {
                ensure!(answer.status != StatusCode::SWITCHING_PROTOCOLS);
                Ok(answer)
            }
            Upgrade::Open(_) => bail!("the upgrade of {request:?} was accepted"),
        }
    }

    /// From now on [`WsClient::next`] also gives `resume_done`, which says that a device has all that was stored; others
    /// pass over it, since it may come before or after anything else that is not stored.
    #[must_use]
    pub fn showing_resume(mut self) -> Self {
        self.shows_resume = true;
        self
    }

    /// Keeps something alive for as long as the connection.
    #[must_use]
    pub fn holding(mut self, held: impl Any + Send) -> Self {
        self.held = Some(Box::new(held));
        self
    }

    /// The node that serves the connection, as `welcome` says.
    #[must_use]
    pub fn node(&self) -> &str {
        self.welcome["node_id"].as_str().unwrap_or("")
    }

    /// Sends one JSON text frame.
    ///
    /// # Errors
    /// When the connection is closed.
    pub async fn send(&mut self, frame: &Value) -> Result<()> {
        self.send_text(&frame.to_string()).await
    }

    /// Sends any text.
    ///
    /// # Errors
    /// When the connection is closed.
    pub async fn send_text(&mut self, text: &str) -> Result<()> {
        self.send_message(Message::text(text)).await
    }

    /// Sends a binary frame.
    ///
    /// # Errors
    /// When the connection is closed.
    pub async fn send_binary(&mut self, bytes: &[u8]) -> Result<()> {
        self.send_message(Message::binary(bytes.to_vec())).await
    }

    async fn send_message(&mut self, message: Message) -> Result<()> {
        at_most("a frame is written", PATIENCE, self.stream.send(message)).await?.context("cannot send")
    }

    /// Writes bytes to the stream below the WebSocket, to break the protocol on purpose.
    ///
    /// # Errors
    /// When the stream is closed.
    pub async fn send_raw(&mut self, bytes: &[u8]) -> Result<()> {
        let stream = self.stream.get_mut();
        stream.write_all(bytes).await.context("cannot write")?;
        stream.flush().await.context("cannot flush")
    }

    /// The next frame or the end, whatever it is. Protocol pings are answered on the way.
    ///
    /// # Errors
    /// When nothing comes within `within`.
    pub async fn next(&mut self, within: Duration) -> Result<Incoming> {
        at_most("a frame comes", within, async {
            loop {
                if let Some(incoming) = self.next_sign().await? {
                    return Ok(incoming);
                }
            }
        })
        .await?
    }

    /// The same however long it takes, as long as the hub gives signs of life: pings are some.
    ///
    /// # Errors
    /// When nothing at all comes for `silence`.
    pub async fn next_unless_silent(&mut self, silence: Duration) -> Result<Incoming> {
        loop {
            if let Some(incoming) = at_most("a sign of life", silence, self.next_sign()).await?? {
                return Ok(incoming);
            }
        }
    }

    /// What comes next; none when it is nothing that a test is to see, such as a ping.
    async fn next_sign(&mut self) -> Result<Option<Incoming>> {
        Ok(Some(match self.stream.next().await {
            Some(Ok(Message::Text(text))) => {
                let frame: Value =
                    serde_json::from_str(&text).with_context(|| format!("not JSON: {text}"))?;
                if frame["message_type"] == "resume_done" && !self.shows_resume {
                    return Ok(None);
                }
                Incoming::Frame(frame)
            }
            Some(Ok(Message::Close(Some(close)))) => {
                let reason = close.reason.as_str().to_owned();
                // Answering the close is what a client has to do (RFC 6455 section 5.5.1).
                drop(self.stream.flush().await);
                Incoming::Close { code: close.code.into(), reason }
            }
            Some(Ok(Message::Close(None))) => Incoming::Ended("close with no code".into()),
            Some(Ok(Message::Binary(bytes))) => bail!("a binary frame of {} bytes", bytes.len()),
            Some(Ok(_)) => return Ok(None),
            Some(Err(error)) => Incoming::Ended(error.to_string()),
            None => Incoming::Ended("end of stream".into()),
        }))
    }

    /// The next frame, which must have this type.
    ///
    /// # Errors
    /// When something else comes, or nothing within 10 s.
    pub async fn expect(&mut self, message_type: &str) -> Result<Value> {
        match self.next(PATIENCE).await.with_context(|| format!("waiting for a {message_type} frame"))? {
            Incoming::Frame(frame) if frame["message_type"] == message_type => Ok(frame),
            other => Err(anyhow!("expected a {message_type} frame, got {other:?}")),
        }
    }

    /// The next frame must be a text with this content.
    ///
    /// # Errors
    /// When something else comes, or nothing within 10 s.
    pub async fn expect_text(&mut self, content: &str) -> Result<Value> {
        let frame = self.expect("text").await?;
        ensure!(frame["content"] == content, "content {} instead of {content:?}", frame["content"]);
        Ok(frame)
    }

    /// The next frame must be an error; gives its sentence.
    ///
    /// # Errors
    /// When something else comes, or nothing within 10 s.
    pub async fn expect_error(&mut self, code: &str) -> Result<String> {
        let frame = self.expect("error").await?;
        ensure!(frame["code"] == code, "code {} instead of {code}: {frame}", frame["code"]);
        let detail = frame["content"].as_str().unwrap_or_default();
        ensure!(detail.len() > 8, "no sentence: {frame}");
        Ok(detail.to_owned())
    }

    /// The connection must be closed by the hub, frames before it are passed over; gives the reason.
    ///
    /// # Errors
    /// When another code comes, the stream ends bare, or nothing comes within `within`.
    pub async fn expect_close(&mut self, code: u16, within: Duration) -> Result<String> {
        loop {
            match self.next(within).await.with_context(|| format!("waiting for close {code}"))? {
                Incoming::Frame(_) => {}
                Incoming::Close { code: got, reason } if got == code => {
                    ensure!(!reason.is_empty(), "close {code} has no reason");
                    return Ok(reason);
                }
                other => bail!("expected close {code}, got {other:?}"),
            }
        }
    }

    /// Proves that nothing is under way to this client: the answer to a ping is the very next frame, since the hub
    /// keeps the order of what it queued.
    ///
    /// # Errors
    /// When anything else comes first.
    pub async fn expect_nothing(&mut self) -> Result<()> {
        let id = format!("barrier-{}", rand::random::<u32>());
        self.send(&json!({"message_type": "ping", "message_id": id})).await?;
        let pong = self.expect("pong").await?;
        ensure!(pong["message_id"] == id.as_str(), "another pong: {pong}");
        Ok(())
    }

    /// Sends a text to a user and gives the status in the `result` frame, which must come next.
    ///
    /// # Errors
    /// When something else comes, or nothing within 10 s.
    pub async fn send_to(&mut self, receiver: &str, content: &str) -> Result<String> {
        let id = format!("m-{}", rand::random::<u32>());
        let frame =
            json!({"message_type": "text", "receiver": receiver, "content": content, "message_id": id});
        self.send(&frame).await?;
        let result = self.expect("result").await?;
        ensure!(result["message_id"] == id.as_str(), "another result: {result}");
        Ok(result["status"].as_str().unwrap_or_default().to_owned())
    }

    /// Closes with 1000 and waits for the end.
    ///
    /// # Errors
    /// When the hub does not answer the close within 10 s.
    pub async fn close(mut self) -> Result<()> {
        at_most("the close is written", PATIENCE, self.stream.close(None)).await?.context("cannot close")?;
        loop {
            match self.next(PATIENCE).await? {
                Incoming::Frame(_) => {}
                Incoming::Close { .. } | Incoming::Ended(_) => return Ok(()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn pings_are_signs_of_life_and_no_frames() {
        let (near, far) = tokio::io::duplex(1024);
        let hub = tokio::spawn(async move {
            let mut hub = tokio_tungstenite::accept_async(far).await.unwrap();
            for _ in 0..5 {
                hub.send(Message::Ping(Vec::new().into())).await.unwrap();
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            hub.send(Message::text("{}")).await.unwrap();
            hub
        });
        let upgrade = WsClient::upgrade_over(Box::new(near), "hub", &WsRequest::new("/ws")).await.unwrap();
        let Upgrade::Open(mut client) = upgrade else { panic!("refused") };
        assert!(client.next(Duration::from_millis(50)).await.is_err());
        let silence = Duration::from_millis(400);
        assert_eq!(client.next_unless_silent(silence).await.unwrap(), Incoming::Frame(json!({})));
        let _hub = hub.await.unwrap();
        assert!(client.next_unless_silent(Duration::from_millis(50)).await.is_err());
    }
}
