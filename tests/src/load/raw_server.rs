//! The ceiling: sends prepared frames in a bare loop, on sockets that are set up like the hub's.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};

use super::swarm::any_port;

/// Serves until its input ends. Prints its port, takes as many upgrades as the first line says, then for each line
/// `frames_per_write length` sends that to every socket.
///
/// # Errors
/// When a socket fails.
pub fn run() -> Result<()> {
    let listener = TcpListener::bind(any_port())?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", listener.local_addr()?)?;
    out.flush()?;
    let mut lines = std::io::stdin().lock().lines();
    let count: usize = lines.next().context("no number of sockets")??.trim().parse()?;
    let mut sockets = Vec::with_capacity(count);
    for _ in 0..count {
        sockets.push(upgrade(listener.accept()?.0)?);
    }
    for line in lines {
        let line = line?;
        let (frames, length) = line.trim().split_once(' ').context("frames and length")?;
        let image = image(frames.parse()?, length.parse()?);
        for socket in &mut sockets {
            socket.write_all(&image)?;
        }
    }
    Ok(())
}

/// `frames` text frames of `length` bytes each, at most 65,535.
fn image(frames: usize, length: u16) -> Vec<u8> {
    let mut one = vec![0x81];
    match u8::try_from(length) {
        Ok(short @ 0..=125) => one.push(short),
        _ => {
            one.push(126);
            one.extend(length.to_be_bytes());
        }
    }
    one.extend(std::iter::repeat_n(b'x', usize::from(length)));
    one.repeat(frames)
}

/// Answers as a WebSocket server does, with one frame of welcome. Nobody here checks the key.
fn upgrade(mut socket: TcpStream) -> Result<TcpStream> {
    socket.set_nodelay(true)?;
    let mut request = Vec::new();
    let mut piece = [0; 1024];
    while !request.ends_with(b"\r\n\r\n") {
        let read = socket.read(&mut piece)?;
        ensure!(read > 0, "a client went before its upgrade");
        request.extend_from_slice(&piece[..read]);
    }
    socket.write_all(b"HTTP/1.1 101 Switching Protocols\r\n\r\n\x81\x02{}")?;
    Ok(socket)
}

/// The ceiling as a process, started from this program itself. Dropping it ends it.
#[derive(Debug)]
pub struct RawServer {
    child: Child,
    input: ChildStdin,
    /// Where it listens.
    pub address: SocketAddr,
    _output: BufReader<ChildStdout>,
}

impl RawServer {
    /// Starts it; it will take `sockets` clients.
    ///
    /// # Errors
    /// When this program cannot be started again.
    pub fn start(sockets: usize) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("raw-server")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut input = child.stdin.take().context("no input")?;
        let mut output = BufReader::new(child.stdout.take().context("no output")?);
        let mut line = String::new();
        output.read_line(&mut line)?;
        let address = line.trim().parse().with_context(|| format!("no address: {line:?}"))?;
        writeln!(input, "{sockets}")?;
        Ok(Self { child, input, address, _output: output })
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends `frames` frames of `length` bytes to each socket, in one write each.
    ///
    /// # Errors
    /// When it has ended.
    pub fn send(&mut self, frames: usize, length: u16) -> Result<()> {
        Ok(self.input.write_all(format!("{frames} {length}\n").as_bytes())?)
    }
}

impl Drop for RawServer {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
