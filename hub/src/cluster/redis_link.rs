//! One connection to Redis that is built again whenever it ends.

use std::{
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, Cmd, ConnectionAddr, ConnectionInfo, FromRedisValue,
    IntoConnectionInfo, Pipeline, RedisError, ScriptInvocation, TlsCertificates,
    aio::{MultiplexedConnection, PubSub},
    io::tcp::TcpSettings,
};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::{
    RedisSettings,
    backoff::Retry,
    registry_error::{RegistryError, ends_connection, is_refusal},
};

/// Longest a connect with its handshake may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest Redis may think about one command; a Redis that takes longer cannot keep a lease alive.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(2);
/// Between two signs of life on a connection, so that one that ended is replaced before it is needed.
const KEEPALIVE: Duration = Duration::from_secs(1);
/// A connection that lived this long was good, so the next failure begins with the shortest pause again.
const GOOD_AFTER: Duration = Duration::from_secs(5);

/// Where Redis is and how to log in, with the files read at each use.
pub(super) struct RedisAddress {
    settings: RedisSettings,
    info: ConnectionInfo,
    /// `host:port`, for error texts.
    text: String,
    /// Counts the connections that were made.
    reached: watch::Sender<u64>,
}

impl RedisAddress {
    /// Checks the URL.
    ///
    /// # Errors
    /// What is wrong with it, without the URL itself, as it may hold a password.
    pub(super) fn new(settings: RedisSettings) -> Result<Self, String> {
        let info =
            settings.url.as_str().into_connection_info().map_err(|_| {
                "the redis url must look like redis://host:6379 or rediss://host:6379".to_owned()
            })?;
        let text = match info.addr() {
            ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => {
                format!("{host}:{port}")
            }
            _ => return Err("the redis url must begin with redis:// or rediss://".to_owned()),
        };
        if settings.cert_file.is_some() != settings.key_file.is_some() {
            return Err("the redis client certificate and its key must be given together".to_owned());
        }
        let info = info.set_tcp_settings(TcpSettings::default().set_nodelay(true));
        Ok(Self { settings, info, text, reached: watch::Sender::new(0) })
    }

    /// Pauses between attempts, which end when anybody gets through.
    pub(super) fn retry(&self) -> Retry {
        Retry::new(self.reached.subscribe())
    }

    /// A client with the credentials as they are now.
    async fn client(&self) -> Result<Client, RegistryError> {
        // CLIENT SETINFO came with Redis 7.2.
        let mut login = self.info.redis_settings().clone().set_skip_set_lib_name();
        if let Some(path) = &self.settings.username_file {
            login = login.set_username(read_secret(path).await.map_err(RegistryError::AuthFailed)?);
        }
        if let Some(path) = &self.settings.password_file {
            login = login.set_password(read_secret(path).await.map_err(RegistryError::AuthFailed)?);
        }
        let info = self.info.clone().set_redis_settings(login);
        let RedisSettings { ca_file, cert_file, key_file, .. } = &self.settings;
        let tls = matches!(info.addr(), ConnectionAddr::TcpTls { .. });
        let client = if tls && (ca_file.is_some() || cert_file.is_some()) {
            let client_tls = match (cert_file, key_file) {
                (Some(cert), Some(key)) => Some(ClientTlsConfig {
                    client_cert: read_pem(cert).await?,
                    client_key: read_pem(key).await?,
                }),
                _ => None,
            };
            let root_cert = match ca_file {
                Some(path) => Some(read_pem(path).await?),
                None => None,
            };
            Client::build_with_tls(info, TlsCertificates { client_tls, root_cert })
                .map_err(|e| RegistryError::Tls(format!("the certificates are not usable: {e}")))?
        } else {
            Client::open(info).map_err(|e| self.classify(&e))?
        };
        Ok(client)
    }

    /// The whole attempt is bounded here rather than by the client library, which does not bound a subscription.
    async fn connect(&self) -> Result<MultiplexedConnection, RegistryError> {
        let client = self.client().await?;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            .set_response_timeout(Some(RESPONSE_TIMEOUT));
        let connecting = async {
            let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
            // A server that asks for a password lets a client without one in, and refuses its first command.
            redis::cmd("PING").query_async::<()>(&mut connection).await?;
            Ok(connection)
        };
        self.in_time(connecting).await
    }

    /// A connection that hears channels, subscribed to them.
    pub(super) async fn subscribe(&self, channels: &[String]) -> Result<PubSub, RegistryError> {
        let client = self.client().await?;
        let subscribing = async {
            let mut subscription = client.get_async_pubsub().await?;
            subscription.subscribe(channels).await?;
            Ok(subscription)
        };
        self.in_time(subscribing).await
    }

    async fn in_time<T>(
        &self,
        work: impl Future<Output = Result<T, RedisError>>,
    ) -> Result<T, RegistryError> {
        match tokio::time::timeout(CONNECT_TIMEOUT, work).await {
            Ok(Ok(done)) => {
                self.reached.send_modify(|made| *made += 1);
                Ok(done)
            }
            Ok(Err(error)) => Err(self.classify(&error)),
            // A Redis without TLS waits for ever for the end of what it takes for a command.
            Err(_) if matches!(self.info.addr(), ConnectionAddr::TcpTls { .. }) => {
                Err(RegistryError::Unreachable(format!(
                    "redis at {} did not answer in time; check that it runs, can be reached from here and speaks tls",
                    self.text
                )))
            }
            Err(_) => Err(self.classify(&std::io::Error::from(std::io::ErrorKind::TimedOut).into())),
        }
    }

    fn classify(&self, error: &RedisError) -> RegistryError {
        RegistryError::classify(error, &self.text)
    }
}

/// The file's text without the line end that editors add.
async fn read_secret(path: &Path) -> Result<String, String> {
    let text = tokio::fs::read_to_string(path)
        .await
        .map_err(|e| format!("the credentials file {} cannot be read: {e}", path.display()))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

async fn read_pem(path: &Path) -> Result<Vec<u8>, RegistryError> {
    tokio::fs::read(path).await.map_err(|e| {
        RegistryError::Tls(format!("the certificate file {} cannot be read: {e}", path.display()))
    })
}

/// Whether the link can be used now.
#[derive(Clone)]
enum LinkState {
    Up { generation: u64, connection: MultiplexedConnection },
    Down(RegistryError),
}

/// Why a command gave nothing.
#[derive(Debug, Clone)]
pub(super) struct CommandFailure {
    pub(super) error: RegistryError,
    /// Whether the command may have been carried out nevertheless.
    pub(super) maybe_done: bool,
}

/// A connection shared by all who send commands; a failed command is told to its caller and never sent again.
pub(super) struct RedisLink {
    address: std::sync::Arc<RedisAddress>,
    state: watch::Sender<LinkState>,
    ended: Notify,
    generations: AtomicU64,
}

impl RedisLink {
    pub(super) fn new(address: std::sync::Arc<RedisAddress>) -> Self {
        let down = RegistryError::Unreachable("no connection to redis was made yet".to_owned());
        let state = watch::Sender::new(LinkState::Down(down));
        Self { address, state, ended: Notify::new(), generations: AtomicU64::new(0) }
    }

    /// Keeps the connection until told to stop.
    pub(super) async fn run(&self, shutdown: CancellationToken) {
        let mut retry = self.address.retry();
        loop {
            retry.begin();
            let attempt = tokio::select! {
                () = shutdown.cancelled() => break,
                attempt = self.address.connect() => attempt,
            };
            match attempt {
                Ok(connection) => {
                    let generation = self.generations.fetch_add(1, Ordering::Relaxed) + 1;
                    let since = Instant::now();
                    self.state.send_replace(LinkState::Up { generation, connection });
                    let ping = redis::cmd("PING");
                    while self.is_up() && !shutdown.is_cancelled() {
                        tokio::select! {
                            () = shutdown.cancelled() => {}
                            () = self.ended.notified() => {}
                            () = tokio::time::sleep(KEEPALIVE) => {
                                // A failure has already changed the state.
                                let _ = self.command::<()>(&ping).await;
                            }
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

    pub(super) fn is_up(&self) -> bool {
        matches!(*self.state.borrow(), LinkState::Up { .. })
    }

    /// Why commands fail at once, if they do.
    pub(super) fn why_down(&self) -> Option<RegistryError> {
        match &*self.state.borrow() {
            LinkState::Up { .. } => None,
            LinkState::Down(error) => Some(error.clone()),
        }
    }

    /// Hears the link go up or down.
    pub(super) fn watch(&self) -> LinkWatch {
        LinkWatch(self.state.subscribe())
    }

    /// Sends one command.
    pub(super) async fn command<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, CommandFailure> {
        let (generation, mut connection) = self.connection()?;
        command.query_async(&mut connection).await.map_err(|e| self.judge(generation, &e))
    }

    /// Sends commands together; the first error is the answer.
    pub(super) async fn pipeline<T: FromRedisValue>(&self, pipeline: &Pipeline) -> Result<T, CommandFailure> {
        let (generation, mut connection) = self.connection()?;
        pipeline.query_async(&mut connection).await.map_err(|e| self.judge(generation, &e))
    }

    /// Runs a script, loading it where Redis does not know it.
    pub(super) async fn script<T: FromRedisValue>(
        &self,
        script: &ScriptInvocation<'_>,
    ) -> Result<T, CommandFailure> {
        let (generation, mut connection) = self.connection()?;
        script.invoke_async(&mut connection).await.map_err(|e| self.judge(generation, &e))
    }

    /// Sends a command and then a script on the same connection, so that Redis sees them in this order, and waits
    /// for both.
    pub(super) async fn command_then_script<T: FromRedisValue>(
        &self,
        command: &Cmd,
        script: &ScriptInvocation<'_>,
    ) -> Result<T, CommandFailure> {
        let (generation, connection) = self.connection()?;
        let (mut first, mut second) = (connection.clone(), connection);
        // `biased`: the command is put on the connection before the script is.
        let (done, answer) = tokio::join!(
            biased;
            command.query_async::<()>(&mut first),
            script.invoke_async(&mut second)
        );
        done.and(answer).map_err(|e| self.judge(generation, &e))
    }

    fn connection(&self) -> Result<(u64, MultiplexedConnection), CommandFailure> {
        match &*self.state.borrow() {
            LinkState::Up { generation, connection } => Ok((*generation, connection.clone())),
            LinkState::Down(error) => Err(CommandFailure { error: error.clone(), maybe_done: false }),
        }
    }

    fn judge(&self, generation: u64, error: &RedisError) -> CommandFailure {
        let classified = self.address.classify(error);
        if ends_connection(error) {
            let changed = self.state.send_if_modified(|state| {
                let same = matches!(state, LinkState::Up { generation: g, .. } if *g == generation);
                if same {
                    *state = LinkState::Down(classified.clone());
                }
                same
            });
            if changed {
                self.ended.notify_one();
            }
        }
        CommandFailure { error: classified, maybe_done: !is_refusal(error) }
    }
}

/// Hears a link go up or down.
pub(super) struct LinkWatch(watch::Receiver<LinkState>);

impl LinkWatch {
    /// Waits for the next change; for ever when the link is gone.
    pub(super) async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
