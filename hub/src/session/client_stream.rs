//! The socket of one client: tells the pulse when the client is heard, and holds memory only while bytes wait.
//!
//! Reads go through a buffer of the thread, so that an idle connection has none and a busy one still reads much
//! at a time. Of what is written, only the rest of a frame that the socket took in part is kept.

use std::{
    cell::RefCell,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::pulse::Pulse;

/// Most bytes of one read from the socket.
const READ_AT_ONCE: usize = 16 * 1024;

thread_local! {
    static READ: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_AT_ONCE].into_boxed_slice());
}

/// The socket of one client.
#[derive(Debug)]
pub struct ClientStream<S> {
    inner: S,
    pulse: Arc<Pulse>,
    /// Read from the socket, not yet asked for.
    ahead: Bytes,
    /// The rest of a frame of which the socket took the beginning: nothing may be written before it.
    rest: Bytes,
}

impl<S> ClientStream<S> {
    /// Wraps `inner`.
    pub fn new(inner: S, pulse: Arc<Pulse>) -> Self {
        Self { inner, pulse, ahead: Bytes::new(), rest: Bytes::new() }
    }

    #[cfg(test)]
    pub(super) fn socket(&mut self) -> &mut S {
        &mut self.inner
    }

    /// Whether something is to be written before anything else.
    pub(super) fn has_rest(&self) -> bool {
        !self.rest.is_empty()
    }

    /// Keeps what is to be written before anything else. There is no other rest.
    pub(super) fn keep_rest(&mut self, rest: &[u8]) {
        debug_assert!(self.rest.is_empty(), "two rests");
        self.rest = Bytes::copy_from_slice(rest);
    }
}

impl<S: AsyncWrite + Unpin> ClientStream<S> {
    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.rest.is_empty() {
            match ready!(Pin::new(&mut self.inner).poll_write(cx, &self.rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.rest.advance(written),
            }
        }
        // Lets go of the memory.
        self.rest = Bytes::new();
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ClientStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.ahead.is_empty() {
            ready!(READ.with_borrow_mut(|scratch| {
                let mut read = ReadBuf::new(scratch);
                ready!(Pin::new(&mut this.inner).poll_read(cx, &mut read))?;
                let (now, later) = read.filled().split_at(read.filled().len().min(buffer.remaining()));
                buffer.put_slice(now);
                this.ahead = Bytes::copy_from_slice(later);
                if !now.is_empty() {
                    this.pulse.heard();
                }
                Poll::Ready(io::Result::Ok(()))
            }))?;
        } else {
            let now = this.ahead.split_to(this.ahead.len().min(buffer.remaining()));
            buffer.put_slice(&now);
            if this.ahead.is_empty() {
                this.ahead = Bytes::new();
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ClientStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_rest(cx))?;
        Pin::new(&mut self.inner).poll_write(cx, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_rest(cx))?;
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_rest(cx))?;
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
