//! The one task of a connection: reads, writes and pings on one socket, with no channel and no split.

use std::{
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll},
};

use futures::StreamExt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Message,
        protocol::{Role, WebSocketConfig},
    },
};

use super::{
    admission::Admitted,
    backend_sends::BackendSends,
    client_groups::ClientGroups,
    client_sends::ClientSends,
    client_stream::ClientStream,
    end::End,
    farewell,
    frame_writer::{FrameWriter, Written},
    inbound::Inbound,
};
use crate::protocol::{
    close_reason::CloseReason,
    server_frame::{self, Welcome},
};

/// Kept per connection while it is idle, so small: [`ClientStream`] is who reads much at a time.
const READ_BUFFER: usize = 128;
/// Most bytes of answers to pings that wait for a client that reads nothing; only the last one is kept beyond.
const MOST_ANSWERS: usize = 4 * 1024;
/// Frames read before other tasks get their turn.
const READS_PER_TURN: usize = 64;
/// A close frame without a code reads as this (RFC 6455 section 7.1.5).
const NO_CODE: u16 = 1005;

struct Session<S> {
    socket: WebSocketStream<ClientStream<S>>,
    writer: FrameWriter,
    inbound: Inbound,
    admitted: Admitted,
    /// Bytes of the largest message, as the socket was told.
    largest: usize,
    /// Nothing more is read once the hub has found a reason to close.
    reading: bool,
    /// What the client still sends cannot be read as frames.
    broken: bool,
    stalled: bool,
}

/// Runs a connection on an upgraded socket until both sides have ended it. `leftover`: bytes that were read
/// together with the request.
pub async fn run<S>(socket: S, leftover: Vec<u8>, admitted: Admitted)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (edge, connection) = (Arc::clone(&admitted.edge), Arc::clone(&admitted.connection));
    let limit = edge.hot.now().limits.max_message_bytes;
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(0)
        .max_write_buffer_size(MOST_ANSWERS)
        .max_message_size(Some(limit))
        .max_frame_size(Some(limit));
    let heard = ClientStream::new(socket, Arc::clone(admitted.watched().pulse()));
    let welcome = server_frame::welcome(&Welcome {
        connection_id: connection.id,
        client_id: &connection.client,
        user_id: &connection.user,
        node_id: &edge.settings.node_id,
        ping_interval: edge.settings.ping_interval,
        session: connection.session,
        resumed: admitted.resumed,
    });
    let sends = ClientSends::new(Arc::clone(&edge), Arc::clone(&connection));
    let groups = ClientGroups::new(Arc::clone(&edge), Arc::clone(&connection));
    let backend = BackendSends::new(Arc::clone(&edge), Arc::clone(&connection));
    // Boxed, both: what a future holds across its steps it holds for ever, once as argument and once as variable.
    let socket =
        Box::pin(WebSocketStream::from_partially_read(heard, leftover, Role::Server, Some(config))).await;
    let mut session = Box::new(Session {
        socket,
        writer: FrameWriter::starting_with(welcome),
        inbound: Inbound::new(sends, groups, backend, Arc::clone(&edge.hot)),
        admitted,
        largest: limit,
        reading: true,
        broken: false,
        stalled: false,
    });
    // A kick between the decision and now comes before any welcome.
    let end = match connection.queue.closing() {
        Some(reason) => End::ByHub(reason),
        None => {
            edge.metrics.opened.inc();
            tracing::debug!(connection = %connection.id, user = %connection.user, "connected");
            edge.announce_connected(&connection);
            let end = poll_fn(|cx| session.poll(cx)).await;
            edge.announce_disconnected(&connection, &end);
            end
        }
    };
    let queue = &connection.queue;
    let dropped = session.writer.unwritten() + queue.depth().0 + queue.dropped();
    edge.metrics.dropped(end.drop_cause(), dropped);
    let (code, reason) = end.label();
    edge.metrics.closed(code, reason);
    tracing::debug!(connection = %connection.id, user = %connection.user, code, reason, "ended");

    Box::pin(part(session, end)).await;
}

/// The last words, and the connection's place given back.
async fn part<S>(session: Box<Session<S>>, end: End)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let Session { socket, broken, stalled, mut admitted, writer, .. } = *session;
    // Whoever waits for frames that were not written learns it now, not after the farewell.
    drop(writer);
    let last_words = async {
        if !stalled {
            farewell::finish(socket, &end, broken).await;
        }
    };
    tokio::join!(admitted.leave(), last_words);
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        if let Poll::Ready(end) = self.poll_read(cx) {
            return Poll::Ready(end);
        }
        if self.admitted.watched().pulse().take_ping() {
            self.writer.ping();
        }
        let metrics = &self.admitted.edge.metrics;
        let queue = &self.admitted.connection.queue;
        self.writer.poll(&mut self.socket, queue, metrics, cx).map(|written| match written {
            Written::All(reason) => End::ByHub(reason),
            Written::Stalled(reason) => {
                self.stalled = true;
                End::ByHub(reason)
            }
            Written::Failed(_) => End::Lost,
        })
    }

    /// Reads what is there. Pending also when nothing is to be read any more.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        // The reader grows its buffer for a large message, and would use it for ever after if nothing else held it
        // when the next one is looked for.
        let mut _held = None;
        for _ in 0..READS_PER_TURN {
            if !self.reading {
                return Poll::Pending;
            }
            let message = match self.socket.poll_next_unpin(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => return Poll::Ready(End::Lost),
                Poll::Ready(Some(Err(error))) => match End::from_error(&error, self.largest) {
                    End::ByHub(reason) => {
                        self.admitted.connection.queue.close(reason);
                        (self.reading, self.broken) = (false, true);
                        continue;
                    }
                    end => return Poll::Ready(end),
                },
                Poll::Ready(Some(Ok(message))) => message,
            };
            self.writer.answers_go_first();
            match &message {
                Message::Text(text) => self.reading = self.inbound.text(text, &mut self.admitted),
                Message::Binary(_) => {
                    self.admitted.connection.queue.close(CloseReason::Binary);
                    self.reading = false;
                }
                Message::Ping(_) => self.inbound.ping(&self.admitted),
                Message::Close(frame) => {
                    let code = frame.as_ref().map_or(NO_CODE, |frame| frame.code.into());
                    return Poll::Ready(End::ByClient(code));
                }
                Message::Pong(_) | Message::Frame(_) => {}
            }
            _held = Some(message);
        }
        // There may be more in the buffer, and nobody else would wake this task for it.
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;

    use super::*;

    fn size_of_future<A, B, C, F: Future>(_: impl Fn(A, B, C) -> F) -> usize {
        size_of::<F>()
    }

    /// Every connection carries this for all of its life. The larger part is the state of the WebSocket layer; what
    /// grows beyond has taken in something that belongs in a box.
    #[test]
    fn the_future_of_a_connection_is_small() {
        let future = size_of_future(run::<tokio::net::TcpStream>);
        let session = size_of::<Session<tokio::net::TcpStream>>();
        assert!(future <= 700 && session <= 1100, "{future} bytes and {session} in a box");
    }
}
