//! A TCP proxy on loopback that stalls, swallows or cuts what goes through it.

use std::net::SocketAddr;

use anyhow::Result;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    hub_fleet::RedisWiring,
    hub_process::HubOptions,
    redis_server::{RedisOptions, RedisServer},
};

/// What happens to bytes on their way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// They pass.
    Pass,
    /// They wait until they may pass again.
    Stall,
    /// They vanish.
    Swallow,
    /// Those that a Redis sends unasked (RESP3 pushes) vanish, answers pass.
    SwallowPushes,
}

#[derive(Debug, Clone, Copy)]
struct Flows {
    to_server: Flow,
    to_client: Flow,
    /// Nobody is there: all connections are closed, and new ones at once.
    refuses: bool,
    /// Connections of earlier generations are closed.
    generation: u64,
}

/// Forwards connections to one address.
#[derive(Debug)]
pub struct TcpProxy {
    address: SocketAddr,
    flows: watch::Sender<Flows>,
    stop: CancellationToken,
}

impl TcpProxy {
    /// Listens on a free port of loopback.
    ///
    /// # Errors
    /// When there is none.
    pub async fn to(server: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let flows = watch::Sender::new(Flows {
            to_server: Flow::Pass,
            to_client: Flow::Pass,
            refuses: false,
            generation: 0,
        });
        let stop = CancellationToken::new();
        tokio::spawn(accept(listener, server, flows.subscribe(), stop.clone()));
        Ok(Self { address, flows, stop })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Says what happens in each direction from now on, on all connections.
    pub fn set(&self, to_server: Flow, to_client: Flow) {
        self.flows.send_modify(|flows| (flows.to_server, flows.to_client) = (to_server, to_client));
    }

    /// Looks like a server that is not there, or like one that is there again.
    pub fn refuse(&self, refuses: bool) {
        self.flows.send_modify(|flows| flows.refuses = refuses);
    }

    /// Closes all connections at once; new ones are taken.
    pub fn cut(&self) {
        self.flows.send_modify(|flows| flows.generation += 1);
    }
}

impl Drop for TcpProxy {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn accept(
    listener: TcpListener,
    server: SocketAddr,
    flows: watch::Receiver<Flows>,
    stop: CancellationToken,
) {
    let connections = TaskTracker::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => {
                let Ok((client, _)) = accepted else { return };
                let (flows, stop) = (flows.clone(), stop.clone());
                connections.spawn(async move {
                    tokio::select! {
                        () = stop.cancelled() => {}
                        () = forward(client, server, flows) => {}
                    }
                });
            }
        }
    }
}

async fn forward(client: TcpStream, server: SocketAddr, flows: watch::Receiver<Flows>) {
    if flows.borrow().refuses {
        return;
    }
    // A server that is not there looks to the client like one that closes at once.
    let Ok(server) = TcpStream::connect(server).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let mut cut = flows.clone();
    let generation = cut.borrow().generation;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        () = pump(from_client, to_server, flows.clone(), |flows| flows.to_server) => {}
        () = pump(from_server, to_client, flows, |flows| flows.to_client) => {}
        _ = cut.wait_for(|flows| flows.refuses || flows.generation != generation) => {}
    }
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut flows: watch::Receiver<Flows>,
    pick: impl Fn(&Flows) -> Flow,
) {
    let mut bytes = vec![0; 64 * 1024];
    loop {
        let Ok(length @ 1..) = from.read(&mut bytes).await else { return };
        if flows.wait_for(|flows| pick(flows) != Flow::Stall).await.is_err() {
            return;
        }
        let flow = pick(&flows.borrow());
        let swallowed = flow == Flow::Swallow || (flow == Flow::SwallowPushes && bytes[0] == b'>');
        if !swallowed && to.write_all(&bytes[..length]).await.is_err() {
            return;
        }
    }
}

/// A Redis that is reached through a proxy.
#[derive(Debug)]
pub struct ProxiedRedis {
    /// The server itself.
    pub server: RedisServer,
    /// What hubs believe to be the server.
    pub proxy: TcpProxy,
}

impl ProxiedRedis {
    /// Starts both.
    ///
    /// # Errors
    /// When `redis-server` is missing or does not start.
    pub async fn start() -> Result<Self> {
        let server = RedisServer::start(RedisOptions::default()).await?;
        let proxy = TcpProxy::to(SocketAddr::from(([127, 0, 0, 1], server.port()))).await?;
        Ok(Self { server, proxy })
    }
}

impl RedisWiring for ProxiedRedis {
    fn wire(&self, options: HubOptions) -> HubOptions {
        options.set("WSC_REDIS_URL", &format!("redis://{}", self.proxy.address()))
    }
}
