//! Many WebSocket clients on one thread: they connect, read, count, and answer pings.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::{
    buffer::spare_capacity,
    event::{Timespec, epoll},
    fd::OwnedFd,
    process::{Resource, Rlimit, getrlimit, setrlimit},
};

use super::frame_counter::FrameCounter;

/// How long an upgrade may take.
const UPGRADE: Duration = Duration::from_secs(10);
/// An answer to a ping without payload, masked with zeros (RFC 6455 section 5.3 asks for a mask, not for a good one).
pub(super) const PONG: [u8; 6] = [0x8A, 0x80, 0, 0, 0, 0];

/// Many WebSocket clients.
pub struct Swarm {
    epoll: OwnedFd,
    clients: Vec<Client>,
    /// Text frames parsed since the upgrades, without the first of each client, which is its welcome.
    pub parsed: u64,
    ready: Vec<epoll::Event>,
    buffer: Box<[u8]>,
}

#[derive(Debug)]
struct Client {
    socket: TcpStream,
    counter: FrameCounter,
    welcomed: bool,
    /// Text frames without the welcome.
    parsed: u64,
    /// When the last of them came.
    last: Instant,
}

impl Swarm {
    /// No clients.
    ///
    /// # Errors
    /// When the system gives no epoll.
    pub fn new() -> Result<Self> {
        Ok(Self {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            clients: Vec::new(),
            parsed: 0,
            ready: Vec::with_capacity(1024),
            buffer: vec![0; 64 * 1024].into_boxed_slice(),
        })
    }

    /// Becomes readable when there is something to read.
    #[must_use]
    pub fn sign(&self) -> &OwnedFd {
        &self.epoll
    }

    /// Sends a text of at most 125 bytes from a client.
    ///
    /// # Errors
    /// When the text is longer, or the socket does not take it.
    pub fn send_text(&mut self, client: usize, text: &str) -> Result<()> {
        ensure!(text.len() <= 125, "{} bytes are more than a short frame holds", text.len());
        // Masked with zeros, as a pong is.
        let mut frame = vec![0x81, 0x80 | u8::try_from(text.len())?, 0, 0, 0, 0];
        frame.extend_from_slice(text.as_bytes());
        let client = self.clients.get_mut(client).context("no such client")?;
        Ok(client.socket.write_all(&frame)?)
    }

    /// Connects one more client as `user`.
    ///
    /// # Errors
    /// When the upgrade is refused or late.
    pub fn connect(&mut self, hub: SocketAddr, user: &str) -> Result<()> {
        self.connect_with(hub, &format!("user_id={user}"))
    }

    /// Connects one more client with a query of one's own.
    ///
    /// # Errors
    /// When the upgrade is refused or late.
    pub fn connect_with(&mut self, hub: SocketAddr, query: &str) -> Result<()> {
        let opened = open(hub, query)?;
        self.add(opened)
    }

    /// Connects clients with these queries at once: all have asked before the first is answered. Gives when each began.
    ///
    /// # Errors
    /// When an upgrade is refused or late.
    pub fn connect_all(
        &mut self,
        hub: SocketAddr,
        queries: impl Iterator<Item = String>,
    ) -> Result<Vec<Instant>> {
        let mut begun = Vec::new();
        let asked: Vec<_> = queries
            .map(|query| {
                begun.push(Instant::now());
                ask(hub, &query)
            })
            .collect::<Result<_>>()?;
        for socket in asked {
            self.add(answered(socket)?)?;
        }
        Ok(begun)
    }

    fn add(&mut self, Opened { socket, counter, welcome }: Opened) -> Result<()> {
        let mut client = Client { socket, counter, welcomed: false, parsed: 0, last: Instant::now() };
        self.parsed += client.take(&welcome)?;
        client.socket.set_nonblocking(true)?;
        let data = epoll::EventData::new_u64(self.clients.len() as u64);
        epoll::add(&self.epoll, &client.socket, data, epoll::EventFlags::IN)?;
        self.clients.push(client);
        Ok(())
    }

    /// Clients connected.
    #[must_use]
    pub fn len(&self) -> usize {
        self.clients.len()
    }

    /// For each client, how many text frames it has parsed without its welcome, and when the last of them came.
    pub fn progress(&self) -> impl Iterator<Item = (u64, Instant)> {
        self.clients.iter().map(|client| (client.parsed, client.last))
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.clients.is_empty()
    }

    /// Reads until `parsed` has come to `count`.
    ///
    /// # Errors
    /// After `within`, or when the hub ends a connection.
    pub fn read_until(&mut self, count: u64, within: Duration) -> Result<()> {
        let begin = Instant::now();
        while self.parsed < count {
            ensure!(begin.elapsed() < within, "{} of {count} frames came in {within:?}", self.parsed);
            self.read_some(Duration::from_millis(100))?;
        }
        Ok(())
    }

    /// Reads what is there, or waits for something at most `patience`.
    ///
    /// # Errors
    /// When the hub ends a connection.
    pub fn read_some(&mut self, patience: Duration) -> Result<()> {
        let mut ready = std::mem::take(&mut self.ready);
        ready.clear();
        let patience = Timespec::try_from(patience)?;
        match epoll::wait(&self.epoll, spare_capacity(&mut ready), Some(&patience)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in &ready {
            let client = &mut self.clients[usize::try_from(event.data.u64())?];
            match client.socket.read(&mut self.buffer) {
                Ok(0) => bail!("the hub ended a connection"),
                Ok(read) => self.parsed += client.take(&self.buffer[..read])?,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.ready = ready;
        Ok(())
    }
}

/// A connection whose upgrade was answered.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) socket: TcpStream,
    pub(super) counter: FrameCounter,
    /// What came with the answer, not counted yet.
    pub(super) welcome: Vec<u8>,
}

/// Asks for an upgrade, and waits for it.
///
/// # Errors
/// When the upgrade is refused or late.
pub(super) fn open(hub: SocketAddr, query: &str) -> Result<Opened> {
    answered(ask(hub, query)?)
}

/// Asks for an upgrade.
fn ask(hub: SocketAddr, query: &str) -> Result<TcpStream> {
    let mut socket = TcpStream::connect(hub).with_context(|| format!("cannot connect client {query}"))?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(UPGRADE))?;
    let request = format!(
        "GET /ws?{query} HTTP/1.1\r\nHost: {hub}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    socket.write_all(request.as_bytes())?;
    Ok(socket)
}

/// Waits for the answer.
fn answered(mut socket: TcpStream) -> Result<Opened> {
    let (mut answer, mut buffer) = (Vec::new(), [0; 4096]);
    let head = loop {
        let read = socket.read(&mut buffer).context("no answer to an upgrade")?;
        ensure!(read > 0, "closed instead of an upgrade: {}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&buffer[..read]);
        if let Some(end) = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            break end + 4;
        }
    };
    ensure!(answer.starts_with(b"HTTP/1.1 101"), "no upgrade: {}", String::from_utf8_lossy(&answer));
    let welcome = answer.split_off(head);
    Ok(Opened { socket, counter: FrameCounter::default(), welcome })
}

impl Client {
    /// Text frames that ended in `bytes`, the welcome left out.
    fn take(&mut self, bytes: &[u8]) -> Result<u64> {
        let mut frames = self.counter.feed(bytes);
        ensure!(frames.closes == 0, "the hub closed a connection");
        for _ in 0..frames.pings {
            self.socket.write_all(&PONG)?;
        }
        if !self.welcomed && frames.text > 0 {
            self.welcomed = true;
            frames.text -= 1;
        }
        if frames.text > 0 {
            self.parsed += frames.text;
            self.last = Instant::now();
        }
        Ok(frames.text)
    }
}

/// Lets this process and its children open `files` files.
///
/// # Errors
/// When the system's hard limit is lower; it says how to raise it.
pub fn allow_open_files(files: u64) -> Result<()> {
    let now = getrlimit(Resource::Nofile);
    if now.current.is_none_or(|soft| soft >= files) {
        return Ok(());
    }
    ensure!(
        now.maximum.is_none_or(|hard| hard >= files),
        "at most {:?} files may be open, {files} are needed: ulimit -Hn {files}",
        now.maximum
    );
    Ok(setrlimit(Resource::Nofile, Rlimit { current: Some(files), maximum: now.maximum })?)
}

/// Where a hub of a measurement listens: any free port of loopback.
#[must_use]
pub fn any_port() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}
