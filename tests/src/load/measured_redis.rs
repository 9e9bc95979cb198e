//! A Redis under measurement, and what it can do at most.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};

use super::course::PAYLOAD;
use crate::{program, scratch_dir::ScratchDir};

/// How long a start may take.
const START: Duration = Duration::from_secs(10);

/// A Redis. Dropping it kills it and removes what it kept.
#[derive(Debug)]
pub struct MeasuredRedis {
    child: Option<Child>,
    /// Where it listens.
    pub address: SocketAddr,
    arguments: Vec<String>,
    folder: ScratchDir,
}

impl MeasuredRedis {
    /// Starts a server that keeps nothing on disk.
    ///
    /// # Errors
    /// As [`MeasuredRedis::start_with`].
    pub fn start() -> Result<Self> {
        Self::start_with(&["--appendonly", "no"])
    }

    /// Starts a server with more arguments.
    ///
    /// # Errors
    /// When `redis-server` is missing (with how to install it) or does not answer in time.
    pub fn start_with(arguments: &[&str]) -> Result<Self> {
        let folder = ScratchDir::new("measured-redis")?;
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let mut redis = Self { child: None, address, arguments, folder };
        redis.run()?;
        Ok(redis)
    }

    /// Starts it again at the same place after [`MeasuredRedis::kill`]. One that keeps nothing is empty then.
    ///
    /// # Errors
    /// When it does not answer in time.
    pub fn run(&mut self) -> Result<()> {
        let mut command = Command::new(program::installed("redis-server", "redis-server")?);
        command.args(["--bind", "127.0.0.1", "--port", &self.address.port().to_string()]);
        command.args(["--save", "", "--daemonize", "no"]).args(&self.arguments);
        command.current_dir(self.folder.path()).stdin(Stdio::null()).stdout(Stdio::null());
        self.child = Some(command.spawn().context("cannot start redis-server")?);
        let begin = Instant::now();
        while TcpStream::connect(self.address).is_err() {
            ensure!(begin.elapsed() < START, "redis-server does not answer");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Ends it at once, as a crash would.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&mut self) -> Result<()> {
        let mut child = self.child.take().context("redis-server does not run")?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// How many keys it has that match a glob pattern. It does nothing else meanwhile.
    ///
    /// # Errors
    /// When it does not say.
    pub fn keys(&self, pattern: &str) -> Result<u64> {
        let mut socket = TcpStream::connect(self.address)?;
        let count = b"return #redis.call('KEYS', ARGV[1])";
        socket.write_all(&command(&[b"EVAL", count, b"0", pattern.as_bytes()]))?;
        let mut answer = [0; 64];
        let read = socket.read(&mut answer)?;
        let text = String::from_utf8_lossy(&answer[..read]);
        text.trim()
            .strip_prefix(':')
            .and_then(|keys| keys.parse().ok())
            .with_context(|| format!("redis answered {text}"))
    }

    /// Waits until it does not write its log anew: that takes a processor, after many writes at once.
    ///
    /// # Errors
    /// After `within`, or when Redis ends the connection.
    pub fn log_is_settled(&self, within: Duration) -> Result<()> {
        let mut socket = TcpStream::connect(self.address)?;
        let begin = Instant::now();
        let mut answer = vec![0; 16 * 1024];
        loop {
            socket.write_all(&command(&[b"INFO", b"persistence"]))?;
            let mut have = 0;
            // The last line of the answer is a line break of its own.
            while !answer[..have].ends_with(b"\r\n\r\n") {
                let read = socket.read(&mut answer[have..])?;
                ensure!(read > 0, "redis says nothing of its log");
                have += read;
            }
            let text = String::from_utf8_lossy(&answer[..have]);
            if ["aof_rewrite_in_progress:1", "aof_rewrite_scheduled:1"]
                .iter()
                .all(|word| !text.contains(word))
            {
                return Ok(());
            }
            ensure!(begin.elapsed() < within, "redis writes its log anew for too long");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// What a hub is told of it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// Its process; 0 while it does not run.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    /// `count` times PUBLISH of [`PAYLOAD`] bytes to `channel` by `redis-benchmark` on 50 connections, `pipelined` at
    /// once on each.
    ///
    /// # Errors
    /// When `redis-benchmark` is missing or fails.
    pub fn publish(&self, channel: &str, count: u64, pipelined: usize) -> Result<()> {
        let mut command = Command::new(program::installed("redis-benchmark", "redis-tools")?);
        command.args(["-p", &self.address.port().to_string(), "-c", "50", "-q"]);
        command.args(["-n", &count.to_string(), "-P", &pipelined.to_string()]);
        command.args(["PUBLISH", channel, &"x".repeat(usize::from(PAYLOAD))]);
        let done = command.stdin(Stdio::null()).stdout(Stdio::null()).status()?;
        ensure!(done.success(), "redis-benchmark failed: {done}");
        Ok(())
    }

    /// A connection that hears a channel.
    ///
    /// # Errors
    /// When Redis refuses.
    pub fn subscribe(&self, channel: &str) -> Result<TcpStream> {
        let mut socket = TcpStream::connect(self.address)?;
        socket.set_nodelay(true)?;
        socket.write_all(&command(&[b"SUBSCRIBE", channel.as_bytes()]))?;
        let mut answer = Vec::new();
        while !answer.ends_with(b":1\r\n") {
            let mut piece = [0; 256];
            let read = socket.read(&mut piece)?;
            ensure!(read > 0, "redis ended a subscription");
            answer.extend_from_slice(&piece[..read]);
        }
        Ok(socket)
    }
}

/// A command as it travels (RESP2).
#[must_use]
pub fn command(words: &[&[u8]]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
    out
}

/// Times one PUBLISH after the other until a subscriber has it: what any way through Redis costs at least.
#[derive(Debug)]
pub struct RawPublish {
    publisher: TcpStream,
    subscriber: TcpStream,
    command: Vec<u8>,
    /// Bytes of the message as a subscriber gets it.
    pushed: usize,
}

impl RawPublish {
    /// Two connections.
    ///
    /// # Errors
    /// When Redis refuses.
    pub fn connect(redis: &MeasuredRedis) -> Result<Self> {
        let channel = "raw";
        let payload = vec![b'x'; usize::from(PAYLOAD)];
        let publisher = TcpStream::connect(redis.address)?;
        publisher.set_nodelay(true)?;
        Ok(Self {
            publisher,
            subscriber: redis.subscribe(channel)?,
            command: command(&[b"PUBLISH", channel.as_bytes(), &payload]),
            pushed: command(&[b"message", channel.as_bytes(), &payload]).len(),
        })
    }

    /// Publishes one message; how long until it was pushed to the subscriber.
    ///
    /// # Errors
    /// When Redis ends a connection.
    pub fn once(&mut self) -> Result<Duration> {
        let begin = Instant::now();
        self.publisher.write_all(&self.command)?;
        let mut piece = [0; 512];
        let mut left = self.pushed;
        while left > 0 {
            let read = self.subscriber.read(&mut piece)?;
            ensure!(read > 0 && read <= left, "not one message was pushed");
            left -= read;
        }
        let took = begin.elapsed();
        let read = self.publisher.read(&mut piece)?;
        if !piece[..read].starts_with(b":1") {
            bail!("redis answered {:?}", String::from_utf8_lossy(&piece[..read]));
        }
        Ok(took)
    }
}

impl Drop for MeasuredRedis {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.kill());
    }
}
