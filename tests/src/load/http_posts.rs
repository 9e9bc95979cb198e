//! POST requests on kept-alive connections, one outstanding on each, on the thread of the load.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
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
}

#[derive(Debug)]
struct Connection {
    socket: TcpStream,
    answer: Vec<u8>,
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
            connections.push(Connection { socket, answer: Vec::new() });
        }
        Ok(Self {
            epoll,
            connections,
            ready: Vec::with_capacity(256),
            buffer: vec![0; 64 * 1024].into_boxed_slice(),
        })
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
            for (_, answers) in self.poll(Duration::ZERO)? {
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
            for (place, answers) in self.poll(Duration::from_micros(200))? {
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
    fn poll(&mut self, patience: Duration) -> Result<Vec<(usize, u64)>> {
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
                    come.push((place, whole_answers(&mut connection.answer)?));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(come)
    }
}

/// Takes whole answers out of `bytes` and counts them.
fn whole_answers(bytes: &mut Vec<u8>) -> Result<u64> {
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
    bytes.drain(..begin);
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_counted_when_they_are_whole() {
        let one = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
        let mut bytes = [&one[..], one, &one[..one.len() - 1]].concat();
        assert_eq!(whole_answers(&mut bytes).unwrap(), 2);
        assert_eq!(bytes.len(), one.len() - 1);
        bytes.push(b'}');
        assert_eq!((whole_answers(&mut bytes).unwrap(), bytes.len()), (1, 0));
        assert!(whole_answers(&mut b"HTTP/1.1 401 Unauthorized\r\n\r\n".to_vec()).is_err());
    }
}
