//! `GET /ws`: the decision about a client, then the upgrade.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{ConnectInfo, Request, State},
    response::{IntoResponse, Response},
};
use http::{HeaderName, HeaderValue, Method, StatusCode, Version, header};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::{patient_stream::PatientStream, problem::Problem, service::Service};
use crate::{
    protocol::error_code::ErrorCode,
    session::{
        admission::Admitted,
        client_address::ClientAddress,
        edge::Edge,
        handshake::{ConnectInputs, SUBPROTOCOL, is_version_13, websocket_key},
        session_loop,
    },
};

const NODE_ID: HeaderName = HeaderName::from_static("x-wsc-node-id");
const CONNECTION_ID: HeaderName = HeaderName::from_static("x-wsc-connection-id");

pub(super) async fn upgrade(State(service): State<Arc<Service>>, request: Request) -> Response {
    let edge = &service.edge;
    match decide(edge, request).await {
        Ok(response) => response,
        Err(problem) => {
            edge.metrics.refused(problem.code().as_str());
            // The next attempt comes on a new socket, so that the accept rate bounds attempts too.
            problem.with_header(header::CONNECTION, HeaderValue::from_static("close")).into_response()
        }
    }
}

async fn decide(edge: &Arc<Edge>, mut request: Request) -> Result<Response, Problem> {
    // Asked here and not by the route: one for GET would answer HEAD too (RFC 6455 section 4.2.1).
    if request.method() != Method::GET {
        return Err(Problem::new(ErrorCode::BadRequest, "a WebSocket begins with GET")
            .with_status(StatusCode::METHOD_NOT_ALLOWED)
            .with_header(header::ALLOW, HeaderValue::from_static("GET")));
    }
    let accept = derive_accept_key(websocket_key(request.headers())?);
    if !is_version_13(request.headers()) {
        return Err(Problem::new(
            ErrorCode::BadRequest,
            "only version 13 of the WebSocket protocol is spoken",
        )
        .with_status(StatusCode::UPGRADE_REQUIRED)
        .with_header(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13")));
    }
    let auth = &edge.settings.auth;
    let inputs = ConnectInputs::read(request.uri(), request.headers(), auth.proxy_user_header.as_ref())?;
    let on_upgrade = request.extensions_mut().remove::<OnUpgrade>();
    let (Some(on_upgrade), Version::HTTP_11) = (on_upgrade, request.version()) else {
        return Err(Problem::new(ErrorCode::BadRequest, "a WebSocket begins with HTTP/1.1"));
    };
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0);
    let address = peer.map(|peer| ClientAddress::of(peer, request.headers(), &auth.trusted_proxies));
    let admitted = edge.admit(&inputs, address).await.map_err(|refusal| match refusal.code {
        ErrorCode::Draining | ErrorCode::Starting | ErrorCode::NodeFull => {
            Problem::from(refusal).with_retry_after(edge.retry_after())
        }
        _ => Problem::from(refusal),
    })?;

    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    if inputs.offers_subprotocol {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
    }
    for (name, text) in [
        (header::SEC_WEBSOCKET_ACCEPT, accept.as_str()),
        (NODE_ID, edge.settings.node_id.as_str()),
        (CONNECTION_ID, admitted.connection.id.to_string().as_str()),
    ] {
        let value = HeaderValue::from_str(text)
            .map_err(|_| Problem::new(ErrorCode::Internal, "an answer header could not be written"))?;
        headers.insert(name, value);
    }
    let patience = edge.settings.handshake_timeout;
    edge.tasks.spawn(run(on_upgrade, patience, admitted));
    Ok(response)
}

/// Takes over the socket once the answer is written, and runs the connection to its end.
async fn run(on_upgrade: OnUpgrade, patience: Duration, mut admitted: Admitted) {
    let Ok(Ok(upgraded)) = tokio::time::timeout(patience, on_upgrade).await else {
        // The client went before the answer reached it.
        admitted.leave().await;
        return;
    };
    match upgraded.downcast::<TokioIo<PatientStream<TcpStream>>>() {
        // The plain socket spares each read and write a virtual call, and hyper's buffers their memory.
        Ok(parts) => {
            let (socket, leftover) = (parts.io.into_inner().into_inner(), parts.read_buf.to_vec());
            drop(parts.read_buf);
            session_loop::run(socket, leftover, admitted).await;
        }
        // Served by somebody else's server.
        Err(upgraded) => {
            tracing::debug!(connection = %admitted.connection.id, "upgraded on a foreign socket");
            Box::pin(session_loop::run(TokioIo::new(upgraded), Vec::new(), admitted)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_future<A, B, C, F: Future>(_: impl Fn(A, B, C) -> F) -> usize {
        size_of::<F>()
    }

    /// The session's future, and what waits for the upgrade before it, share their place in it.
    #[test]
    fn the_task_of_a_connection_is_small() {
        let task = size_of_future(run);
        assert!(task <= 1100, "{task} bytes");
    }
}
