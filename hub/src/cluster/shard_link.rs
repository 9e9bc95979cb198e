//! One connection to one primary, built again whenever it ends.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use redis::{RedisError, aio::MultiplexedConnection};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::{
    RedisMode,
    redis_address::{Endpoint, RedisAddress, sign_of_life},
    registry_error::{RegistryError, ends_connection, is_refusal},
    sentinel,
};

/// Between two signs of life on a connection, so that one that ended, or whose server is no primary any more, is
/// replaced before it is needed.
const KEEPALIVE: Duration = Duration::from_secs(1);
/// A connection that lived this long was good, so the next failure begins with the shortest pause again.
const GOOD_AFTER: Duration = Duration::from_secs(5);
/// How often the Sentinels are asked whether the primary is still the one in use: one that was cut off from its
/// replicas does not know that another took its place.
const CONFIRM: Duration = Duration::from_secs(5);

/// Which server a link goes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// To this one.
    Server(Endpoint),
    /// To the primary that the Sentinels name.
    Watched(String),
}

impl Target {
    /// The one primary of a standalone Redis, or of one behind Sentinels. A Redis Cluster has none: its first node
    /// stands for it.
    pub(super) fn only(address: &RedisAddress) -> Self {
        if let RedisMode::Sentinel { master } = address.mode() {
            return Self::Watched(master.clone());
        }
        let nowhere = Endpoint { host: String::new(), port: 0 };
        Self::Server(address.seeds().next().unwrap_or(nowhere))
    }

    /// Where it is now.
    pub(super) async fn find(&self, address: &RedisAddress) -> Result<Endpoint, RegistryError> {
        match self {
            Self::Server(at) => Ok(at.clone()),
            Self::Watched(master) => sentinel::primary(address, master).await,
        }
    }

    /// Whether it is known to be elsewhere now.
    pub(super) async fn has_left(&self, at: &Endpoint, address: &RedisAddress) -> bool {
        match self {
            Self::Server(_) => false,
            Self::Watched(master) => {
                sentinel::primary(address, master).await.is_ok_and(|primary| primary != *at)
            }
        }
    }
}

/// Whether the link can be used now.
#[derive(Clone)]
enum LinkState {
    Up(OpenLink),
    Down(RegistryError),
}

/// A connection as it is now.
#[derive(Clone)]
pub(super) struct OpenLink {
    generation: u64,
    at: Endpoint,
    pub(super) connection: MultiplexedConnection,
}

impl OpenLink {
    /// The server it goes to.
    pub(super) fn at(&self) -> &Endpoint {
        &self.at
    }
}

/// Why a command gave nothing.
#[derive(Debug, Clone)]
pub(super) struct CommandFailure {
    pub(super) error: RegistryError,
    /// Whether the command may have been carried out nevertheless.
    pub(super) maybe_done: bool,
}

/// A connection shared by all who send commands to one primary.
pub(super) struct ShardLink {
    address: Arc<RedisAddress>,
    target: Target,
    state: watch::Sender<LinkState>,
    ended: Notify,
    generations: AtomicU64,
}

impl ShardLink {
    pub(super) fn new(address: Arc<RedisAddress>, target: Target) -> Self {
        let down = RegistryError::Unreachable("no connection to redis was made yet".to_owned());
        let state = watch::Sender::new(LinkState::Down(down));
        Self { address, target, state, ended: Notify::new(), generations: AtomicU64::new(0) }
    }

    /// Keeps the connection until told to stop.
    pub(super) async fn run(&self, shutdown: CancellationToken) {
        let mut retry = self.address.retry();
        loop {
            retry.begin();
            let attempt = tokio::select! {
                () = shutdown.cancelled() => break,
                attempt = self.connect() => attempt,
            };
            match attempt {
                Ok(link) => {
                    let since = Instant::now();
                    self.state.send_replace(LinkState::Up(link.clone()));
                    let mut watching = std::pin::pin!(self.watch_over(link));
                    // The notice may be of a connection before this one.
                    while self.is_up() {
                        tokio::select! {
                            () = shutdown.cancelled() => break,
                            () = self.ended.notified() => {}
                            () = &mut watching => break,
                        }
                    }
                    if since.elapsed() >= GOOD_AFTER {
                        retry.reset();
                    }
                    retry.begin();
                }
                Err(error) => {
                    self.state.send_replace(LinkState::Down(error));
                }
            }
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = retry.pause() => {}
            }
        }
        let down = RegistryError::Unreachable("this node is shutting down".to_owned());
        self.state.send_replace(LinkState::Down(down));
    }

    async fn connect(&self) -> Result<OpenLink, RegistryError> {
        let at = self.target.find(&self.address).await?;
        let connection = self.address.connect(&at).await?;
        let generation = self.generations.fetch_add(1, Ordering::Relaxed) + 1;
        Ok(OpenLink { generation, at, connection })
    }

    /// Returns when the connection is of no use any more.
    async fn watch_over(&self, mut link: OpenLink) {
        let mut confirmed = Instant::now();
        loop {
            tokio::time::sleep(KEEPALIVE).await;
            if let Err(error) = sign_of_life(&mut link.connection).await {
                // Whatever it is: a server that does not say how it is cannot be relied on.
                self.put_down(&link, self.address.classify(&error, &link.at));
                return;
            }
            if confirmed.elapsed() >= CONFIRM {
                if self.target.has_left(&link.at, &self.address).await {
                    let why = format!("the sentinels name another primary than {}", link.at);
                    self.put_down(&link, RegistryError::Unreachable(why));
                    return;
                }
                confirmed = Instant::now();
            }
        }
    }

    pub(super) fn is_up(&self) -> bool {
        matches!(*self.state.borrow(), LinkState::Up(_))
    }

    /// Why commands fail at once, if they do.
    pub(super) fn why_down(&self) -> Option<RegistryError> {
        match &*self.state.borrow() {
            LinkState::Up(_) => None,
            LinkState::Down(error) => Some(error.clone()),
        }
    }

    /// Hears the link go up or down.
    pub(super) fn watch(&self) -> ShardWatch {
        ShardWatch(self.state.subscribe())
    }

    /// The connection as it is now.
    ///
    /// # Errors
    /// When there is none: nothing was sent then.
    pub(super) fn open(&self) -> Result<OpenLink, CommandFailure> {
        match &*self.state.borrow() {
            LinkState::Up(link) => Ok(link.clone()),
            LinkState::Down(error) => Err(CommandFailure { error: error.clone(), maybe_done: false }),
        }
    }

    /// What an error of a connection means to whoever sent the command, and to the connection.
    pub(super) fn judge(&self, link: &OpenLink, error: &RedisError) -> CommandFailure {
        let classified = self.address.classify(error, &link.at);
        if ends_connection(error) {
            self.put_down(link, classified.clone());
        }
        CommandFailure { error: classified, maybe_done: !is_refusal(error) }
    }

    /// Asks the server whether it still is a primary.
    ///
    /// # Errors
    /// When it is not, or does not say; what it answered just before may be wrong then.
    pub(super) async fn confirm_primary(&self, mut link: OpenLink) -> Result<(), CommandFailure> {
        sign_of_life(&mut link.connection)
            .await
            .map_err(|error| CommandFailure { maybe_done: true, ..self.judge(&link, &error) })
    }

    fn put_down(&self, link: &OpenLink, why: RegistryError) {
        let changed = self.state.send_if_modified(|state| {
            let same = matches!(state, LinkState::Up(now) if now.generation == link.generation);
            if same {
                *state = LinkState::Down(why);
            }
            same
        });
        if changed {
            self.ended.notify_one();
        }
    }
}

/// Hears a link go up or down.
pub(super) struct ShardWatch(watch::Receiver<LinkState>);

impl ShardWatch {
    /// Waits for the next change; for ever when the link is gone.
    pub(super) async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Changes until now are no news.
    pub(super) fn mark_seen(&mut self) {
        self.0.mark_unchanged();
    }
}
