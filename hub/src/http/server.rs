//! Serves a router on a listener: HTTP/1.1 with bounds on headers, time and sockets.

use std::{net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use axum::{Router, body::Body, extract::ConnectInfo};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::Service as _;

/// Most bytes of a request's header.
const HEADER_BYTES: usize = 16 * 1024;
/// Sockets that may be open before they are upgraded; more wait in the kernel's backlog.
const SOCKETS: usize = 4096;
/// Pause after an accept that failed, for example because the process has no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A listener and what it serves.
pub struct Server {
    /// Bound and listening.
    pub listener: TcpListener,
    /// What is served.
    pub router: Router,
    /// Time for a request's header, and for the next request on the same socket.
    pub header_timeout: Duration,
    /// Open sockets; the server is done when they are.
    pub sockets: TaskTracker,
}

impl Server {
    /// Accepts and serves until `shutdown`, then lets requests that are being answered finish.
    pub async fn run(self, shutdown: CancellationToken) {
        let room = Arc::new(Semaphore::new(SOCKETS));
        loop {
            let accepted = async {
                let seat = Arc::clone(&room).acquire_owned().await.ok()?;
                Some((seat, self.listener.accept().await))
            };
            match shutdown.run_until_cancelled(accepted).await.flatten() {
                None => return,
                Some((seat, Ok((stream, peer)))) => {
                    let serving =
                        serve(stream, peer, self.router.clone(), self.header_timeout, shutdown.clone());
                    self.sockets.spawn(async move {
                        serving.await;
                        drop(seat);
                    });
                }
                // That client is gone; the next one need not wait.
                Some((_, Err(error))) if is_of_one_client(&error) => {}
                Some((_, Err(error))) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

fn is_of_one_client(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// Serves one socket until it is closed or upgraded.
async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    header_timeout: Duration,
    shutdown: CancellationToken,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%peer, %error, "TCP_NODELAY was refused");
    }
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(peer));
        // A router is always ready.
        router.clone().call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header_timeout)
        .max_buf_size(HEADER_BYTES)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "http connection ended");
    }
}
