//! Waits for several sources of events at once.

use std::time::Duration;

use anyhow::Result;
use rustix::{
    buffer::spare_capacity,
    event::{Timespec, epoll},
    fd::{AsFd, OwnedFd},
};

/// An epoll over epolls: rings when any has something.
pub struct Doorbell {
    epoll: OwnedFd,
    ready: Vec<epoll::Event>,
}

impl Doorbell {
    /// Rings for all of `signs`.
    ///
    /// # Errors
    /// When the system gives no epoll.
    pub fn new<'a>(signs: impl IntoIterator<Item = &'a OwnedFd>) -> Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        for (place, sign) in (0u64..).zip(signs) {
            epoll::add(&epoll, sign.as_fd(), epoll::EventData::new_u64(place), epoll::EventFlags::IN)?;
        }
        Ok(Self { epoll, ready: Vec::with_capacity(16) })
    }

    /// Returns when something is there, or after `patience`.
    ///
    /// # Errors
    /// When the system refuses to wait.
    pub fn wait(&mut self, patience: Duration) -> Result<()> {
        self.ready.clear();
        let patience = Timespec::try_from(patience)?;
        match epoll::wait(&self.epoll, spare_capacity(&mut self.ready), Some(&patience)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
