//! The end of a connection on the wire: a close frame that arrives, then the end of TCP.

use std::time::Duration;

use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Message,
        protocol::{CloseFrame, frame::coding::CloseCode},
    },
};

use super::end::End;

/// How long the client may take to answer a close frame and to end its side of TCP.
const PATIENCE: Duration = Duration::from_secs(2);

/// Ends a connection. `broken`: what the client still sends cannot be read as frames.
///
/// What the client still sends is read and thrown away: a socket that is closed with unread bytes answers with a
/// reset, which destroys the close frame on its way (RFC 1122 section 4.2.2.13).
pub async fn finish<S>(mut socket: WebSocketStream<S>, end: &End, broken: bool)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    if *end == End::Lost {
        return;
    }
    let ending = async {
        match end {
            End::ByHub(reason) => {
                let frame = CloseFrame { code: CloseCode::from(reason.code()), reason: reason.text().into() };
                if socket.send(Message::Close(Some(frame))).await.is_err() {
                    return;
                }
                while !broken && matches!(socket.next().await, Some(Ok(_))) {}
            }
            // The socket has the answer to the client's close frame in its buffer.
            End::ByClient(_) => {
                let _ = socket.flush().await;
            }
            End::Lost => {}
        }
        let raw = socket.get_mut();
        if raw.shutdown().await.is_err() {
            return;
        }
        let mut discarded = [0; 1024];
        while raw.read(&mut discarded).await.is_ok_and(|read| read > 0) {}
    };
    // A client that does not end its side has had its chance.
    let _ = tokio::time::timeout(PATIENCE, ending).await;
}
