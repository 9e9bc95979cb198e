//! Writes what is queued for one client: everything there is in one write, up to a bound.

use std::{
    cell::RefCell,
    collections::VecDeque,
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
use tokio_tungstenite::{WebSocketStream, tungstenite::Error};

use super::client_stream::ClientStream;
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
const KEPT_CAPACITY: usize = 4;
/// Frames are gathered for one write until there are this many bytes.
const WRITE_AT_ONCE: usize = 16 * 1024;
/// Room that a thread keeps for gathering: a large frame needs more for a moment.
const KEPT_IMAGE: usize = 64 * 1024;
/// A ping without payload (RFC 6455 section 5.5.2).
const PING: [u8; 2] = [0x89, 0];

thread_local! {
    /// Frames as they travel. Of the thread, so that no connection keeps memory for its next write.
    static IMAGE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

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
    taken: VecDeque<Outbound>,
    ping: bool,
    /// The WebSocket layer may have an answer of its own to write.
    answering: bool,
    /// Receipt of the frame whose rest the stream holds.
    unconfirmed: Option<Receipt>,
    stall: Option<Pin<Box<Sleep>>>,
    dropped: usize,
}

impl FrameWriter {
    /// A writer whose first frame is `first`.
    #[must_use]
    pub fn starting_with(first: WireFrame) -> Self {
        Self { taken: VecDeque::from([Outbound { frame: first, receipt: None }]), ..Self::default() }
    }

    /// Asks for a protocol ping before the next frame.
    pub fn ping(&mut self) {
        self.ping = true;
    }

    /// The WebSocket layer has read something that it may answer by itself: that goes before the next frame.
    pub fn answers_go_first(&mut self) {
        self.answering = true;
    }

    /// Frames taken from the queue but never handed to the socket.
    #[must_use]
    pub fn unwritten(&self) -> usize {
        self.dropped + self.taken.len()
    }

    /// Writes until there is nothing to write, the socket takes no more, or the connection is to be closed.
    pub fn poll<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        socket: &mut WebSocketStream<ClientStream<S>>,
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
        socket: &mut WebSocketStream<ClientStream<S>>,
        metrics: &Metrics,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Error>> {
        loop {
            // The rest of a frame goes first, then what the WebSocket layer answers by itself. To ask the layer when
            // there is neither costs as much as all else here.
            if self.answering || socket.get_ref().has_rest() {
                ready!(socket.poll_flush_unpin(cx))?;
                self.answering = false;
            }
            if let Some(receipt) = self.unconfirmed.take() {
                receipt.written();
            }
            if self.taken.is_empty() && !self.ping {
                self.taken.shrink_to(KEPT_CAPACITY);
                return Poll::Ready(Ok(()));
            }
            ready!(IMAGE.with_borrow_mut(|image| {
                let written = self.poll_write_image(image, socket.get_mut(), metrics, cx);
                image.shrink_to(KEPT_IMAGE);
                written
            }))?;
        }
    }

    /// One write of as many frames as are gathered at once.
    fn poll_write_image<S: AsyncWrite + Unpin>(
        &mut self,
        image: &mut Vec<u8>,
        stream: &mut ClientStream<S>,
        metrics: &Metrics,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Error>> {
        image.clear();
        if self.ping {
            image.extend_from_slice(&PING);
        }
        let frames_begin = image.len();
        for outbound in &self.taken {
            outbound.frame.put_image(image);
            if image.len() >= WRITE_AT_ONCE {
                break;
            }
        }
        let written = ready!(Pin::new(&mut *stream).poll_write(cx, image))?;
        if written == 0 {
            return Poll::Ready(Err(std::io::Error::from(std::io::ErrorKind::WriteZero).into()));
        }
        let mut end = if std::mem::take(&mut self.ping) { frames_begin } else { 0 };
        let (mut frames, mut bytes) = (0, 0);
        while end < written
            && let Some(Outbound { frame, receipt }) = self.taken.pop_front()
        {
            end += frame.image_len();
            frames += 1;
            bytes += frame.len() as u64;
            match receipt {
                None => {}
                Some(receipt) if end <= written => receipt.written(),
                Some(mut receipt) => {
                    receipt.at_socket();
                    self.unconfirmed = Some(receipt);
                }
            }
        }
        if end > written {
            stream.keep_rest(&image[written..end]);
        }
        metrics.frames_out.inc_by(frames);
        metrics.bytes_out.inc_by(bytes);
        Poll::Ready(Ok(()))
    }

    /// The socket takes no more. Waits without bound for a reader, but not once the connection is to be closed.
    fn poll_blocked(&mut self, queue: &OutboundQueue, cx: &mut Context<'_>) -> Poll<Written> {
        let reason = ready!(queue.poll_closing(cx));
        if reason.is_slowness() {
            // What the queue held is dropped already; the close goes before what is left here.
            self.dropped += self.taken.len();
            self.taken.clear();
        }
        let stall = self.stall.get_or_insert_with(|| Box::pin(tokio::time::sleep(STALL_PATIENCE)));
        stall.as_mut().poll(cx).map(|()| Written::Stalled(reason))
    }
}
