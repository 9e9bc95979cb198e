//! Serves a router on a listener: HTTP/1.1 with bounds on headers, time and sockets.

use std::{
    net::SocketAddr,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{Router, body::Body, extract::ConnectInfo};
use futures::future::Either;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::Service as _;

use super::{accept_pace::AcceptPace, patient_stream::PatientStream, trace_header::TracedCall};
use crate::{observe::Metrics, settings::Hot};

/// Most bytes of a request's header.
const HEADER_BYTES: usize = 16 * 1024;
/// Most bytes read at once: a header, and a little of what follows it.
const BUFFER_BYTES: usize = HEADER_BYTES + 8 * 1024;
/// Sockets that may be open before they are upgraded; more wait in the kernel's backlog.
const SOCKETS: usize = 4096;
/// Connections that may wait in the kernel to be accepted; the system may allow fewer (`net.core.somaxconn`).
pub const BACKLOG: u32 = 4096;
/// A peer that takes nothing of its answers for so long is given up.
const WRITE_PATIENCE: Duration = Duration::from_secs(30);
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
    /// Where the accepts per second are set; none for a listener with no such bound.
    pub pace: Option<Arc<Hot>>,
    /// Whether callers may say which trace a request belongs to.
    pub traced: bool,
    /// Counts waits and failures.
    pub metrics: Arc<Metrics>,
    /// Open sockets; the server is done when they are.
    pub sockets: TaskTracker,
}

impl Server {
    /// Accepts and serves until `shutdown`, then lets requests that are being answered finish.
    pub async fn run(self, shutdown: CancellationToken) {
        let room = Arc::new(Semaphore::new(SOCKETS));
        let mut pace = AcceptPace::new(Instant::now());
        loop {
            let accepted = async {
                let seat = self.seat(&room).await?;
                self.keep_pace(&mut pace).await;
                Some((seat, self.listener.accept().await))
            };
            match shutdown.run_until_cancelled(accepted).await.flatten() {
                None => return,
                Some((seat, Ok((stream, peer)))) => {
                    let (router, header_timeout, traced) =
                        (self.router.clone(), self.header_timeout, self.traced);
                    let (metrics, shutdown) = (Arc::clone(&self.metrics), shutdown.clone());
                    self.sockets.spawn(async move {
                        if let Some(cause) =
                            serve(stream, peer, (router, traced), header_timeout, shutdown).await
                        {
                            metrics.http_failed(cause);
                        }
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

impl Server {
    /// Room for one socket more. While there is none, clients wait in the kernel's backlog.
    async fn seat(&self, room: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
        if let Ok(seat) = Arc::clone(room).try_acquire_owned() {
            return Some(seat);
        }
        self.metrics.accepts_delayed("sockets");
        Arc::clone(room).acquire_owned().await.ok()
    }

    /// Waits until the next socket may be accepted. What comes faster is not refused: it waits in the kernel's backlog,
    /// costs nothing there, and a storm of clients that connect again is served in the order it came, where a refusal
    /// would make each of them try again.
    async fn keep_pace(&self, pace: &mut AcceptPace) {
        let Some(hot) = &self.pace else { return };
        let wait = pace.next(hot.now().limits.accept_rate, Instant::now());
        if !wait.is_zero() {
            self.metrics.accepts_delayed("rate");
            tokio::time::sleep(wait).await;
        }
    }
}

fn is_of_one_client(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// Serves one socket until it is closed or upgraded. Gives the cause, for metrics, when a bound ended it.
async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    (router, traced): (Router, bool),
    header_timeout: Duration,
    shutdown: CancellationToken,
) -> Option<&'static str> {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%peer, %error, "TCP_NODELAY was refused");
    }
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(peer));
        let call = if traced { TracedCall::of(&request) } else { None };
        // A router is always ready.
        let answer = router.clone().call(request);
        match call {
            None => Either::Left(answer),
            // Boxed, so that the many others carry nothing for it.
            Some(call) => Either::Right(Box::pin(call.answer(answer))),
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header_timeout)
        .max_header_size(HEADER_BYTES)
        .max_buf_size(BUFFER_BYTES)
        .serve_connection(TokioIo::new(PatientStream::new(stream, WRITE_PATIENCE)), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    let error = ended.err()?;
    tracing::debug!(%peer, %error, "http connection ended");
    cause(&error)
}

fn cause(error: &hyper::Error) -> Option<&'static str> {
    let io = std::error::Error::source(error).and_then(|source| source.downcast_ref::<std::io::Error>());
    if io.is_some_and(|io| io.kind() == std::io::ErrorKind::TimedOut) {
        return Some("write_timeout");
    }
    match error {
        _ if error.is_timeout() => Some("header_timeout"),
        _ if error.is_parse_too_large() => Some("header_too_large"),
        _ if error.is_parse() => Some("malformed"),
        _ => None,
    }
}
