//! Writes what is queued for one client: everything there is, then one flush.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures::SinkExt;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::Sleep,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Bytes, Error, Message,
        protocol::frame::{
            Frame,
            coding::{Data, OpCode},
        },
    },
};

use crate::{
    local::{
        delivery_tally::Receipt,
        outbound_queue::{Outbound, OutboundQueue, Taken},
    },
    observe::Metrics,
    protocol::{close_reason::CloseReason, wire_frame::WireFrame},
};

/// How long a socket that takes nothing is waited for once the connection is to be closed.
const STALL_PATIENCE: Duration = Duration::from_secs(2);
/// Room that is kept between bursts, in frames.
const KEPT_CAPACITY: usize = 16;

/// Why nothing more is written.
#[derive(Debug)]
pub enum Written {
    /// All frames are in the kernel's buffer; close with this reason.
    All(CloseReason),
    /// The client reads nothing: no close frame would reach it.
    Stalled(CloseReason),
    /// The socket failed.
    Failed(Error),
}

/// Frames on their way from the queue to the socket.
#[derive(Default)]
pub struct FrameWriter {
    taken: Vec<Outbound>,
    /// Position in `taken` of the next frame to hand to the socket.
    next: usize,
    ping: bool,
    unflushed: bool,
    /// Receipts of frames that were handed to the socket but not flushed.
    unconfirmed: Vec<Receipt>,
    stall: Option<Pin<Box<Sleep>>>,
    dropped: usize,
}

impl FrameWriter {
    /// A writer whose first frame is `first`.
    #[must_use]
    pub fn starting_with(first: WireFrame) -> Self {
        Self { taken: vec![Outbound { frame: first, receipt: None }], ..Self::default() }
    }

    /// Asks for a protocol ping before the next frame.
    pub fn ping(&mut self) {
        self.ping = true;
    }

    /// Frames taken from the queue but never handed to the socket.
    #[must_use]
    pub fn unwritten(&self) -> usize {
        self.dropped + self.taken.len() - self.next
    }

    /// Writes until there is nothing to write, the socket takes no more, or the connection is to be closed.
    pub fn poll<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        socket: &mut WebSocketStream<S>,
        queue: &OutboundQueue,
        metrics: &Metrics,
        cx: &mut Context<'_>,
    ) -> Poll<Written> {
        loop {
            match self.poll_write_taken(socket, metrics, cx) {
                Poll::Ready(Ok(())) => self.stall = None,
                Poll::Ready(Err(error)) => return Poll::Ready(Written::Failed(error)),
                Poll::Pending => return self.poll_blocked(queue, cx),
            }
            match ready!(queue.poll_take(cx, &mut self.taken)) {
                Taken::Frames => {}
                Taken::Close(reason) => return Poll::Ready(Written::All(reason)),
            }
        }
    }

    fn poll_write_taken<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        socket: &mut WebSocketStream<S>,
        metrics: &Metrics,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Error>> {
        if self.ping {
            ready!(socket.poll_ready_unpin(cx))?;
            socket.start_send_unpin(Message::Ping(Bytes::new()))?;
            self.ping = false;
            self.unflushed = true;
        }
        let mut bytes = 0;
        while let Some(outbound) = self.taken.get_mut(self.next) {
            ready!(socket.poll_ready_unpin(cx))?;
            // Frames are known to be UTF-8: `Message::Text` would check each again for each recipient.
            let text = outbound.frame.bytes().clone();
            bytes += text.len();
            self.next += 1;
            self.unflushed = true;
            if let Some(mut receipt) = outbound.receipt.take() {
                receipt.at_socket();
                self.unconfirmed.push(receipt);
            }
            metrics.frames_out.inc();
            socket.start_send_unpin(Message::Frame(Frame::message(text, OpCode::Data(Data::Text), true)))?;
        }
        if self.next > 0 {
            metrics.bytes_out.inc_by(u64::try_from(bytes).unwrap_or(u64::MAX));
            self.next = 0;
            self.taken.clear();
            self.taken.shrink_to(KEPT_CAPACITY);
        }
        if self.unflushed {
            ready!(socket.poll_flush_unpin(cx))?;
            self.unflushed = false;
            self.unconfirmed.drain(..).for_each(Receipt::written);
            self.unconfirmed.shrink_to(KEPT_CAPACITY);
        }
        Poll::Ready(Ok(()))
    }

    /// The socket takes no more. Waits without bound for a reader, but not once the connection is to be closed.
    fn poll_blocked(&mut self, queue: &OutboundQueue, cx: &mut Context<'_>) -> Poll<Written> {
        let reason = ready!(queue.poll_closing(cx));
        if reason == CloseReason::TooSlow {
            // What the queue held is dropped already; the close goes before what is left here.
            self.dropped += self.taken.len() - self.next;
            self.taken.truncate(self.next);
        }
        let stall = self.stall.get_or_insert_with(|| Box::pin(tokio::time::sleep(STALL_PATIENCE)));
        stall.as_mut().poll(cx).map(|()| Written::Stalled(reason))
    }
}
