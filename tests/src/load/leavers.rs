//! Clients that are sent away from one node and connect to another at once.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use rustix::{
    buffer::spare_capacity,
    event::{Timespec, epoll},
    fd::OwnedFd,
};

use super::swarm::{Opened, PONG, open};

/// Longest wait for what is to come next.
const PATIENCE: Duration = Duration::from_secs(60);
/// A close without code, masked with zeros: the answer to the hub's.
const CLOSE: [u8; 6] = [0x88, 0x80, 0, 0, 0, 0];

/// Clients of one node, to be followed to another.
pub struct Leavers {
    epoll: OwnedFd,
    clients: Vec<Opened>,
    to: SocketAddr,
}

impl Leavers {
    /// Connects `count` users to one node.
    ///
    /// # Errors
    /// When an upgrade is refused or late.
    pub fn connect(from: SocketAddr, to: SocketAddr, count: usize) -> Result<Self> {
        let mut leavers = Self {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            clients: Vec::with_capacity(count),
            to,
        };
        for place in 0..count {
            let client = open(from, &query(place))?;
            leavers.watch(place, &client)?;
            leavers.clients.push(client);
        }
        Ok(leavers)
    }

    fn watch(&self, place: usize, client: &Opened) -> Result<()> {
        client.socket.set_nonblocking(true)?;
        Ok(epoll::add(
            &self.epoll,
            &client.socket,
            epoll::EventData::new_u64(place as u64),
            epoll::EventFlags::IN,
        )?)
    }

    /// Waits until each has been closed and is connected to the other node. How long that took from the first close on.
    ///
    /// # Errors
    /// When a connection ends without a close, an upgrade is refused, or nothing happens for a minute.
    pub fn follow(mut self) -> Result<Duration> {
        let mut ready: Vec<epoll::Event> = Vec::with_capacity(1024);
        let mut buffer = vec![0; 16 * 1024];
        let (mut moved, mut first, mut last) = (0, None, Instant::now());
        while moved < self.clients.len() {
            ensure!(last.elapsed() < PATIENCE, "{moved} of {} clients moved", self.clients.len());
            ready.clear();
            let patience = Timespec::try_from(Duration::from_millis(100))?;
            match epoll::wait(&self.epoll, spare_capacity(&mut ready), Some(&patience)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for event in &ready {
                let place = usize::try_from(event.data.u64())?;
                if self.is_closed(place, &mut buffer)? {
                    first.get_or_insert_with(Instant::now);
                    self.clients[place].socket.write_all(&CLOSE)?;
                    let client = open(self.to, &query(place))?;
                    self.watch(place, &client)?;
                    // Dropping the old one takes it out of the epoll.
                    self.clients[place] = client;
                    (moved, last) = (moved + 1, Instant::now());
                }
            }
        }
        Ok(first.context("nobody was closed")?.elapsed())
    }

    /// Reads what is there for a client; whether the hub closes it.
    fn is_closed(&mut self, place: usize, buffer: &mut [u8]) -> Result<bool> {
        let client = &mut self.clients[place];
        let read = match client.socket.read(buffer) {
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        ensure!(read > 0, "the hub ended a connection without a close");
        let frames = client.counter.feed(&buffer[..read]);
        for _ in 0..frames.pings {
            client.socket.write_all(&PONG)?;
        }
        Ok(frames.closes > 0)
    }
}

fn query(place: usize) -> String {
    format!("user_id=leaver-{place}")
}
