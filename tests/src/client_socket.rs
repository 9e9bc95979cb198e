//! Connections over sockets with properties of their own.

use std::net::{IpAddr, SocketAddr};

use anyhow::Result;
use socket2::SockRef;
use tokio::net::TcpSocket;

use crate::ws_client::{WsClient, WsRequest};

/// Room for what was not read, so small that little gets lost in the kernels of both sides, bytes.
const RECEIVE_BUFFER: u32 = 4096;
/// Small segments keep the other side's send buffer small too: the kernel sizes it in segments.
const SEGMENT: u32 = 536;

/// Connects a user in mode trusted over a socket that holds little. It stalls for as long as nobody reads from it.
///
/// # Errors
/// When the upgrade is refused.
pub async fn stalling(hub: SocketAddr, user: &str) -> Result<WsClient> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    SockRef::from(&socket).set_tcp_mss(SEGMENT)?;
    let stream = socket.connect(hub).await?;
    let upgrade = WsClient::upgrade_over(Box::new(stream), &hub.to_string(), &WsRequest::user(user)).await?;
    WsClient::welcomed(upgrade).await
}

/// Asks for an upgrade from another address of this machine, such as `127.0.0.2`.
///
/// # Errors
/// When there is no HTTP answer.
pub async fn upgrade_from(
    source: IpAddr,
    hub: SocketAddr,
    request: &WsRequest,
) -> Result<crate::ws_client::Upgrade> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(source, 0))?;
    let stream = socket.connect(hub).await?;
    WsClient::upgrade_over(Box::new(stream), &hub.to_string(), request).await
}
