//! How frames reach a socket: in how many writes, in which order, with how much memory.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::SystemTime,
};

use futures::{FutureExt, StreamExt, task::noop_waker_ref};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::{WebSocketStream, tungstenite::protocol::Role};

use super::{
    client_stream::ClientStream,
    frame_writer::{FrameWriter, Written},
    pulse::Pulse,
};
use crate::{
    identity::{ClientId, ConnectionId, UserId},
    local::{
        connection::Connection,
        delivery_tally::DeliveryTally,
        outbound_queue::{OutboundQueue, QueueLimits},
    },
    observe::Metrics,
    protocol::{close_reason::CloseReason, wire_frame::WireFrame},
};

/// A socket that counts calls as a kernel would see them, and takes only as much as it has room for.
#[derive(Debug, Default)]
struct Socket {
    incoming: Vec<u8>,
    taken: Vec<u8>,
    room: usize,
    writes: usize,
    reads: usize,
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.incoming.is_empty() {
            return Poll::Pending;
        }
        self.reads += 1;
        let count = self.incoming.len().min(into.remaining());
        into.put_slice(&self.incoming[..count]);
        self.incoming.drain(..count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let count = bytes.len().min(self.room);
        if count == 0 {
            return Poll::Pending;
        }
        self.writes += 1;
        self.room -= count;
        self.taken.extend_from_slice(&bytes[..count]);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

struct Client {
    socket: WebSocketStream<ClientStream<Socket>>,
    writer: FrameWriter,
    queue: OutboundQueue,
    metrics: Metrics,
}

impl Client {
    fn new(room: usize) -> Self {
        let connection = Connection::new(
            ConnectionId::new(ulid::Ulid::from_parts(0, 0)),
            UserId::new("alice").unwrap(),
            ClientId::new("phone").unwrap(),
            "127.0.0.1:1".into(),
            SystemTime::UNIX_EPOCH,
            QueueLimits { bytes: 1, messages: 1 },
        );
        let pulse = Arc::new(Pulse::new(Arc::new(connection), 0, None));
        let stream = ClientStream::new(
            Socket { room, taken: Vec::with_capacity(1 << 20), ..Socket::default() },
            pulse,
        );
        let socket = WebSocketStream::from_raw_socket(stream, Role::Server, None).now_or_never().unwrap();
        let queue = OutboundQueue::new(QueueLimits { bytes: 1 << 20, messages: 1000 });
        Self { socket, writer: FrameWriter::default(), queue, metrics: Metrics::new() }
    }

    fn poll(&mut self) -> Poll<Written> {
        let mut cx = Context::from_waker(noop_waker_ref());
        self.writer.poll(&mut self.socket, &self.queue, &self.metrics, &mut cx)
    }

    /// Reads a ping with payload "hi", masked with zeros, and on, which is when the WebSocket layer answers it.
    fn hear_ping(&mut self) {
        self.wire().incoming.extend([0x89, 0x82, 0, 0, 0, 0, b'h', b'i']);
        let mut cx = Context::from_waker(noop_waker_ref());
        assert!(matches!(self.socket.poll_next_unpin(&mut cx), Poll::Ready(Some(Ok(_)))));
        self.writer.answers_go_first();
        assert!(self.socket.poll_next_unpin(&mut cx).is_pending());
    }

    fn wire(&mut self) -> &mut Socket {
        self.socket.get_mut().socket()
    }
}

fn frame(length: usize) -> WireFrame {
    WireFrame::new("x".repeat(length))
}

/// The limit of one write per delivered frame, and of 0.1 in bursts of 16, for the part of it that is ours to decide.
#[test]
fn a_frame_that_comes_alone_is_one_write_and_sixteen_at_once_are_one_too() {
    let frame = frame(128);
    for burst in [1, 16] {
        let mut client = Client::new(usize::MAX);
        for _ in 0..100 {
            (0..burst).for_each(|_| client.queue.push(frame.clone(), None).unwrap());
            assert!(client.poll().is_pending());
        }
        let wire = client.wire();
        assert_eq!((wire.writes, wire.reads), (100, 0), "burst of {burst}");
        assert_eq!(wire.taken.len(), 100 * burst * frame.image_len());
        assert_eq!(client.metrics.frames_out.get(), 100 * burst as u64);
        assert_eq!(client.metrics.bytes_out.get(), 12_800 * burst as u64);
    }
}

#[test]
fn a_delivered_frame_allocates_nothing() {
    let frame = frame(128);
    let mut client = Client::new(usize::MAX);
    let mut deliver = |count: usize| {
        allocation_counter::measure(|| {
            for _ in 0..count {
                let tally = DeliveryTally::new();
                client.queue.push(frame.clone(), Some(tally.receipt())).unwrap();
                assert!(client.poll().is_pending());
                assert_eq!(tally.settled().now_or_never(), Some(1));
            }
        })
        .count_total
    };
    // The first ones make room in the queue, in the writer, and in the thread's buffer.
    deliver(4);
    assert_eq!(deliver(1000), 1000, "one tally for each send, and nothing more");
}

#[test]
fn bytes_keep_their_order_and_receipts_tell_the_truth_however_little_the_socket_takes() {
    let lengths = [3, 200, 0, 125, 126, 70_000, 1];
    let mut expected = vec![0x89, 0];
    lengths.iter().for_each(|length| frame(*length).put_image(&mut expected));
    for room in [1, 2, 3, 4, 127, 129, 130, 16_000, 70_009, 1 << 20] {
        let mut client = Client::new(0);
        let tally = DeliveryTally::new();
        client.writer.ping();
        for length in lengths {
            client.queue.push(frame(length), Some(tally.receipt())).unwrap();
        }
        let settled = tally.settled();
        while client.wire().taken.len() < expected.len() {
            assert!(client.poll().is_pending());
            let mut left = client.wire().taken.len().saturating_sub(2);
            let whole = lengths.iter().map(|length| frame(*length).image_len()).take_while(|length| {
                let fits = *length <= left;
                left = left.saturating_sub(*length);
                fits
            });
            let whole = u32::try_from(whole.count()).unwrap();
            assert_eq!(settled.written(), whole, "room for {room}");
            client.wire().room = room;
        }
        assert!(client.poll().is_pending());
        assert_eq!(client.wire().taken, expected, "room for {room}");
        assert_eq!((settled.written(), client.writer.unwritten()), (7, 0));
    }
}

#[test]
fn an_answer_to_a_ping_waits_for_the_rest_of_a_frame() {
    let mut client = Client::new(50);
    client.queue.push(frame(100), None).unwrap();
    assert!(client.poll().is_pending());
    client.hear_ping();
    assert_eq!(client.wire().taken.len(), 50);
    client.queue.push(frame(1), None).unwrap();
    client.wire().room = usize::MAX;
    assert!(client.poll().is_pending());
    let mut expected = Vec::new();
    frame(100).put_image(&mut expected);
    expected.extend([0x8A, 2, b'h', b'i']);
    frame(1).put_image(&mut expected);
    assert_eq!(client.wire().taken, expected);
}

#[test]
fn a_frame_does_not_cut_an_answer_of_which_the_socket_took_a_part() {
    let mut client = Client::new(1);
    client.hear_ping();
    assert_eq!(client.wire().taken, [0x8A]);
    client.queue.push(frame(1), None).unwrap();
    assert!(client.poll().is_pending());
    client.wire().room = usize::MAX;
    assert!(client.poll().is_pending());
    let mut expected = vec![0x8A, 2, b'h', b'i'];
    frame(1).put_image(&mut expected);
    assert_eq!(client.wire().taken, expected);
}

#[test]
fn a_close_comes_after_what_was_queued() {
    let mut client = Client::new(usize::MAX);
    client.queue.push(frame(5), None).unwrap();
    client.queue.close(CloseReason::Restart);
    assert!(matches!(client.poll(), Poll::Ready(Written::All(CloseReason::Restart))));
    assert_eq!(client.wire().taken.len(), 7);
}

#[test]
fn a_large_message_is_read_in_few_calls() {
    let mut client = Client::new(0);
    let mut masked = vec![0x81, 0xFE, 0xFF, 0xFF, 0, 0, 0, 0];
    masked.extend([b'x'; 65_535]);
    client.wire().incoming = masked;
    let mut cx = Context::from_waker(noop_waker_ref());
    let Poll::Ready(Some(Ok(message))) = client.socket.poll_next_unpin(&mut cx) else {
        unreachable!("no message")
    };
    assert_eq!(message.len(), 65_535);
    assert_eq!(client.wire().reads, 5);
}
