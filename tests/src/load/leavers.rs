//! Clients that are sent away from one node and connect to another when they were asked to.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    io::{ErrorKind, Read as _, Write as _},
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use memchr::memmem;
use rustix::{
    buffer::spare_capacity,
    event::{Timespec, epoll},
    fd::OwnedFd,
};

use super::swarm::{Opened, PONG, open};

/// Longest wait for what is to come next.
const PATIENCE: Duration = Duration::from_secs(60);
/// The hint when to come back, in the text of a `going_away`.
const HINT: &[u8] = b"\"retry_after_ms\":";
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

    /// Waits until each has been closed and is connected to the other node, at the time that the hub asked of it. How long
    /// that took from the first close until the last.
    ///
    /// # Errors
    /// When a connection ends without a close, an upgrade is refused, or nothing happens for a minute.
    pub fn follow(mut self) -> Result<Duration> {
        let mut ready: Vec<epoll::Event> = Vec::with_capacity(1024);
        let mut buffer = vec![0; 16 * 1024];
        let mut hints = vec![Duration::ZERO; self.clients.len()];
        // Who is to connect, by when.
        let mut due: BinaryHeap<Reverse<(Instant, usize)>> = BinaryHeap::new();
        let (mut moved, mut first, mut last_close) = (0, None, Instant::now());
        let mut happened = Instant::now();
        while moved < self.clients.len() {
            ensure!(happened.elapsed() < PATIENCE, "{moved} of {} clients moved", self.clients.len());
            while let Some(Reverse((_, place))) = due.peek().filter(|Reverse((at, _))| *at <= Instant::now())
            {
                let place = *place;
                due.pop();
                // Dropping the old socket takes it out of the epoll.
                self.clients[place] = open(self.to, &query(place))?;
                self.watch(place, &self.clients[place])?;
                (moved, happened) = (moved + 1, Instant::now());
            }
            let next = due.peek().map_or(Duration::from_millis(100), |Reverse((at, _))| {
                at.saturating_duration_since(Instant::now())
            });
            ready.clear();
            let patience = Timespec::try_from(next.min(Duration::from_millis(100)))?;
            match epoll::wait(&self.epoll, spare_capacity(&mut ready), Some(&patience)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for event in &ready {
                let place = usize::try_from(event.data.u64())?;
                if self.is_closed(place, &mut buffer, &mut hints[place])? {
                    let now = Instant::now();
                    first.get_or_insert(now);
                    (last_close, happened) = (now, now);
                    self.clients[place].socket.write_all(&CLOSE)?;
                    epoll::delete(&self.epoll, &self.clients[place].socket)?;
                    due.push(Reverse((now + hints[place], place)));
                }
            }
        }
        Ok(last_close - first.context("nobody was closed")?)
    }

    /// Reads what is there for a client; whether the hub closes it.
    fn is_closed(&mut self, place: usize, buffer: &mut [u8], hint: &mut Duration) -> Result<bool> {
        let client = &mut self.clients[place];
        let read = match client.socket.read(buffer) {
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        ensure!(read > 0, "the hub ended a connection without a close");
        if let Some(at) = memmem::find(&buffer[..read], HINT) {
            let digits = buffer[at + HINT.len()..read].iter().take_while(|byte| byte.is_ascii_digit());
            *hint = Duration::from_millis(digits.fold(0, |ms, digit| ms * 10 + u64::from(digit - b'0')));
        }
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
