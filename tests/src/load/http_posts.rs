//! POST requests on kept-alive connections, one outstanding on each, on the thread of the load.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use memchr::memmem;
use rustix::{
    buffer::spare_capacity,
    event::{Timespec, epoll},
    fd::OwnedFd,
};

use super::swarm::Swarm;

/// Longest wait for answers.
const PATIENCE: Duration = Duration::from_secs(60);

/// Kept-alive connections to a control API.
pub struct HttpPosts {
    epoll: OwnedFd,
    connections: Vec<Connection>,
    ready: Vec<epoll::Event>,
    buffer: Box<[u8]>,
    /// Which request comes next.
    next: usize,
    /// Looked for in each answer.
    word: Option<memmem::Finder<'static>>,
}

#[derive(Debug)]
struct Connection {
    socket: TcpStream,
    answer: Vec<u8>,
    /// Whether an answer is to come.
    waits: bool,
    /// Request that the socket has not taken whole, and how much it has.
    unsent: Option<(usize, usize)>,
}

/// What a turn came to.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    /// Requests begun.
    pub started: u64,
    /// Whole answers that came.
    pub answered: u64,
    /// Times that the word looked for was in them.
    pub words: u64,
}

impl HttpPosts {
    /// Opens `count` connections.
    ///
    /// # Errors
    /// When one is refused.
    pub fn connect(api: SocketAddr, count: usize) -> Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut connections = Vec::with_capacity(count);
        for place in 0..count {
            let socket = TcpStream::connect(api).context("cannot connect to the api")?;
            socket.set_nodelay(true)?;
            socket.set_nonblocking(true)?;
            epoll::add(&epoll, &socket, epoll::EventData::new_u64(place as u64), epoll::EventFlags::IN)?;
            connections.push(Connection { socket, answer: Vec::new(), waits: false, unsent: None });
        }
        Ok(Self {
            epoll,
            connections,
            ready: Vec::with_capacity(256),
            buffer: vec![0; 256 * 1024].into_boxed_slice(),
            next: 0,
            word: None,
        })
    }

    /// The same, and counts how often `word` is in the answers.
    #[must_use]
    pub fn counting(mut self, word: &'static str) -> Self {
        self.word = Some(memmem::Finder::new(word));
        self
    }

    /// Becomes readable when there is something for [`HttpPosts::turn`].
    #[must_use]
    pub fn sign(&self) -> &OwnedFd {
        &self.epoll
    }

    /// Requests without a whole answer.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.connections.iter().filter(|connection| connection.waits).count()
    }

    /// Gives at most `room` connections that wait for nothing their next request, and takes the answers that are there.
    /// Does not wait.
    ///
    /// # Errors
    /// When another status than 200 comes.
    pub fn turn(&mut self, requests: &[Vec<u8>], room: u64) -> Result<Turn> {
        let mut turn = Turn::default();
        for connection in &mut self.connections {
            if !connection.waits && turn.started < room {
                connection.unsent = Some((self.next % requests.len().max(1), 0));
                connection.waits = true;
                self.next += 1;
                turn.started += 1;
            }
            connection.write_on(requests)?;
        }
        for (_, answers) in self.poll(Duration::ZERO, &mut turn.words)? {
            turn.answered += answers;
        }
        Ok(turn)
    }

    /// A request with an API key and a JSON body.
    #[must_use]
    pub fn request(path: &str, key: &str, body: &str) -> Vec<u8> {
        format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .into_bytes()
    }

    /// Writes `bytes`, one request or several, on the first connection, without waiting for answers.
    ///
    /// # Errors
    /// When the socket does not take all.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let connection = self.connections.first_mut().context("no connection")?;
        Ok(connection.socket.write_all(bytes)?)
    }

    /// Reads until `count` answers with status 200 have come, while the clients of `swarm` read too.
    ///
    /// # Errors
    /// When another status comes, or too little in time.
    pub fn answers(&mut self, count: u64, swarm: &mut Swarm) -> Result<()> {
        let begin = Instant::now();
        let mut come = 0;
        while come < count {
            ensure!(begin.elapsed() < PATIENCE, "{come} of {count} answers came");
            for (_, answers) in self.poll(Duration::ZERO, &mut 0)? {
                come += answers;
            }
            swarm.read_some(Duration::ZERO)?;
        }
        Ok(())
    }

    /// Sends `requests` in turn, `total` in all, each as soon as its connection has the answer to the one before,
    /// while the clients of `swarm` read too. Returns when all are answered.
    ///
    /// # Errors
    /// When another status than 200 comes, or too little in time.
    pub fn run(&mut self, requests: &[Vec<u8>], total: u64, swarm: &mut Swarm) -> Result<()> {
        let begin = Instant::now();
        let mut next = requests.iter().cycle();
        let (mut sent, mut answered) = (0, 0);
        for connection in &mut self.connections {
            if sent < total {
                connection.socket.write_all(next.next().context("no requests")?)?;
                sent += 1;
            }
        }
        while answered < total {
            ensure!(begin.elapsed() < PATIENCE, "{answered} of {total} answers came");
            for (place, answers) in self.poll(Duration::from_micros(200), &mut 0)? {
                answered += answers;
                for _ in 0..answers {
                    if sent < total {
                        self.connections[place].socket.write_all(next.next().context("no requests")?)?;
                        sent += 1;
                    }
                }
            }
            swarm.read_some(Duration::ZERO)?;
        }
        Ok(())
    }

    /// Connections on which whole answers came, and how many.
    fn poll(&mut self, patience: Duration, words: &mut u64) -> Result<Vec<(usize, u64)>> {
        self.ready.clear();
        let patience = Timespec::try_from(patience)?;
        match epoll::wait(&self.epoll, spare_capacity(&mut self.ready), Some(&patience)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut come = Vec::with_capacity(self.ready.len());
        for event in &self.ready {
            let place = usize::try_from(event.data.u64())?;
            let connection = &mut self.connections[place];
            match connection.socket.read(&mut self.buffer) {
                Ok(0) => bail!("the api ended a connection"),
                Ok(read) => {
                    connection.answer.extend_from_slice(&self.buffer[..read]);
                    let (answers, length) = whole_answers(&connection.answer)?;
                    if let Some(word) = &self.word {
                        *words += word.find_iter(&connection.answer[..length]).count() as u64;
                    }
                    connection.answer.drain(..length);
                    connection.waits &= answers == 0;
                    come.push((place, answers));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(come)
    }
}

impl Connection {
    /// Writes what the socket takes of a request.
    fn write_on(&mut self, requests: &[Vec<u8>]) -> Result<()> {
        while let Some((request, sent)) = self.unsent {
            let rest = requests.get(request).and_then(|bytes| bytes.get(sent..)).unwrap_or_default();
            if rest.is_empty() {
                self.unsent = None;
                return Ok(());
            }
            match self.socket.write(rest) {
                Ok(written) => self.unsent = Some((request, sent + written)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// How many whole answers `bytes` begins with, and their length.
fn whole_answers(bytes: &[u8]) -> Result<(u64, usize)> {
    let (mut count, mut begin) = (0, 0);
    while let Some(end) = bytes[begin..].windows(4).position(|four| four == b"\r\n\r\n") {
        let head = std::str::from_utf8(&bytes[begin..begin + end])?;
        ensure!(head.starts_with("HTTP/1.1 200"), "not 200: {}", String::from_utf8_lossy(&bytes[begin..]));
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
        });
        let whole = begin + end + 4 + length.context("an answer without content-length")?;
        if bytes.len() < whole {
            break;
        }
        begin = whole;
        count += 1;
    }
    Ok((count, begin))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_counted_when_they_are_whole() {
        let one = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
        let mut bytes = [&one[..], one, &one[..one.len() - 1]].concat();
        assert_eq!(whole_answers(&bytes).unwrap(), (2, 2 * one.len()));
        bytes.push(b'}');
        assert_eq!(whole_answers(&bytes).unwrap(), (3, 3 * one.len()));
        assert!(whole_answers(b"HTTP/1.1 401 Unauthorized\r\n\r\n").is_err());
    }
}
