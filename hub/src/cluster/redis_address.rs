//! Where Redis is and how to log in.

use std::{collections::HashMap, fmt, path::Path, time::Duration};

use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, ConnectionAddr, ErrorKind, IntoConnectionInfo,
    ProtocolVersion, RedisConnectionInfo, RedisError, ServerErrorKind, TlsCertificates, Value,
    aio::{AsyncPushSender, MultiplexedConnection},
    io::tcp::TcpSettings,
};
use tokio::sync::watch;

use super::{RedisMode, RedisSettings, backoff::Retry, registry_error::RegistryError};

/// Longest a connect with its handshake may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest Redis may think about one command; a Redis that takes longer cannot keep a lease alive.
pub(super) const RESPONSE_TIMEOUT: Duration = Duration::from_secs(2);

/// A server: host and port.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Endpoint {
    pub(super) host: String,
    pub(super) port: u16,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Login {
    /// To a server that keeps data, with the credentials.
    Data,
    /// To a Sentinel, with the credentials: there is no database.
    Sentinel,
    /// To a Sentinel that wants no credentials.
    SentinelOpen,
}

/// How to subscribe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Subscribing {
    /// `SUBSCRIBE`: heard wherever it was published.
    Plain,
    /// `SSUBSCRIBE`: in a Redis Cluster, at the server that has the channel's slot.
    Sharded,
}

/// Where Redis is and how to log in, with the files read at each use.
pub(super) struct RedisAddress {
    settings: RedisSettings,
    /// Counts the connections that were made.
    reached: watch::Sender<u64>,
}

impl RedisAddress {
    /// Checks what can be checked without reaching anybody.
    ///
    /// # Errors
    /// What is wrong with the settings.
    pub(super) fn new(settings: RedisSettings) -> Result<Self, String> {
        if settings.hosts.is_empty() {
            return Err("the address of redis is missing".to_owned());
        }
        if settings.mode == RedisMode::Standalone && settings.hosts.len() > 1 {
            return Err("a standalone redis has one address".to_owned());
        }
        if settings.mode == RedisMode::Cluster && settings.database != 0 {
            return Err("a redis cluster has only the database 0".to_owned());
        }
        if settings.cert_file.is_some() != settings.key_file.is_some() {
            return Err("the redis client certificate and its key must be given together".to_owned());
        }
        Ok(Self { settings, reached: watch::Sender::new(0) })
    }

    pub(super) fn mode(&self) -> &RedisMode {
        &self.settings.mode
    }

    /// The servers that the settings name.
    pub(super) fn seeds(&self) -> impl Iterator<Item = Endpoint> {
        self.settings.hosts.iter().map(|(host, port)| Endpoint { host: host.clone(), port: *port })
    }

    /// Pauses between attempts, which end when anybody gets through.
    pub(super) fn retry(&self) -> Retry {
        Retry::new(self.reached.subscribe())
    }

    /// A client with the credentials as they are now.
    async fn client(
        &self,
        at: &Endpoint,
        login: Login,
        protocol: ProtocolVersion,
    ) -> Result<Client, RegistryError> {
        let RedisSettings {
            tls, database, username_file, password_file, ca_file, cert_file, key_file, ..
        } = &self.settings;
        // CLIENT SETINFO came with Redis 7.2.
        let mut settings = RedisConnectionInfo::default().set_protocol(protocol).set_skip_set_lib_name();
        if login == Login::Data {
            settings = settings.set_db(*database);
        }
        if login != Login::SentinelOpen {
            if let Some(name) = read_secret(username_file.as_deref()).await? {
                settings = settings.set_username(name);
            }
            if let Some(password) = read_secret(password_file.as_deref()).await? {
                settings = settings.set_password(password);
            }
        }
        let (host, port) = (at.host.clone(), at.port);
        let address = if *tls {
            ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }
        } else {
            ConnectionAddr::Tcp(host, port)
        };
        let info = address
            .into_connection_info()
            .map_err(|e| self.classify(&e, at))?
            .set_tcp_settings(TcpSettings::default().set_nodelay(true))
            .set_redis_settings(settings);
        if !*tls || (ca_file.is_none() && cert_file.is_none()) {
            return Client::open(info).map_err(|e| self.classify(&e, at));
        }
        let client_tls = match (cert_file, key_file) {
            (Some(cert), Some(key)) => {
                Some(ClientTlsConfig { client_cert: read_pem(cert).await?, client_key: read_pem(key).await? })
            }
            _ => None,
        };
        let root_cert = match ca_file {
            Some(path) => Some(read_pem(path).await?),
            None => None,
        };
        Client::build_with_tls(info, TlsCertificates { client_tls, root_cert })
            .map_err(|e| RegistryError::Tls(format!("the certificates are not usable: {e}")))
    }

    /// A connection for commands to a primary.
    pub(super) async fn connect(&self, at: &Endpoint) -> Result<MultiplexedConnection, RegistryError> {
        let client = self.client(at, Login::Data, ProtocolVersion::RESP2).await?;
        let connecting = async {
            let mut connection = client.get_multiplexed_async_connection_with_config(&config()).await?;
            // A server that asks for a password lets a client without one in, and refuses its first command.
            sign_of_life(&mut connection).await?;
            Ok(connection)
        };
        let connection = self.in_time(at, connecting).await?;
        self.reached.send_modify(|made| *made += 1);
        Ok(connection)
    }

    /// A connection that hears channels of a primary. What comes is given to `sender`, by the task that reads the
    /// socket: it must not block.
    pub(super) async fn hear(
        &self,
        at: &Endpoint,
        subscribing: Subscribing,
        channels: &[String],
        sender: impl AsyncPushSender,
    ) -> Result<MultiplexedConnection, RegistryError> {
        let client = self.client(at, Login::Data, ProtocolVersion::RESP3).await?;
        let config = config().set_push_sender(sender);
        let hearing = async {
            let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
            sign_of_life(&mut connection).await?;
            match subscribing {
                Subscribing::Plain => connection.subscribe(channels).await?,
                Subscribing::Sharded => {
                    for channel in channels {
                        redis::cmd("SSUBSCRIBE").arg(channel).query_async::<()>(&mut connection).await?;
                    }
                }
            }
            Ok(connection)
        };
        let connection = self.in_time(at, hearing).await?;
        self.reached.send_modify(|made| *made += 1);
        Ok(connection)
    }

    /// Asks a server one question on a connection of its own.
    pub(super) async fn ask<T: redis::FromRedisValue>(
        &self,
        at: &Endpoint,
        login: Login,
        question: &redis::Cmd,
    ) -> Result<T, RegistryError> {
        let client = self.client(at, login, ProtocolVersion::RESP2).await?;
        let asking = async {
            let mut connection = client.get_multiplexed_async_connection_with_config(&config()).await?;
            question.query_async(&mut connection).await
        };
        self.in_time(at, asking).await
    }

    /// The whole attempt is bounded here rather than by the client library, which does not bound a subscription.
    async fn in_time<T>(
        &self,
        at: &Endpoint,
        work: impl Future<Output = Result<T, RedisError>>,
    ) -> Result<T, RegistryError> {
        match tokio::time::timeout(CONNECT_TIMEOUT, work).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(error)) => Err(self.classify(&error, at)),
            // A Redis without TLS waits for ever for the end of what it takes for a command.
            Err(_) if self.settings.tls => Err(RegistryError::Unreachable(format!(
                "redis at {at} did not answer in time; check that it runs, can be reached from here and speaks tls"
            ))),
            Err(_) => Err(self.classify(&std::io::Error::from(std::io::ErrorKind::TimedOut).into(), at)),
        }
    }

    pub(super) fn classify(&self, error: &RedisError, at: &Endpoint) -> RegistryError {
        RegistryError::classify(error, &at.to_string())
    }
}

fn config() -> AsyncConnectionConfig {
    AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(Some(RESPONSE_TIMEOUT))
}

/// Asks the server how it is; a replica is no place to write to, so it counts as an error.
pub(super) async fn sign_of_life(connection: &mut MultiplexedConnection) -> Result<(), RedisError> {
    // Unlike ROLE and INFO this needs no right of an administrator.
    let about: HashMap<String, Value> = redis::cmd("HELLO").query_async(connection).await?;
    match about.get("role") {
        Some(Value::BulkString(role)) if role != b"master" => {
            let kind = ErrorKind::Server(ServerErrorKind::ReadOnly);
            Err(RedisError::from((kind, "the server is a replica")))
        }
        _ => Ok(()),
    }
}

/// The file's text without the line end that editors add; an empty file is as good as none.
async fn read_secret(path: Option<&Path>) -> Result<Option<String>, RegistryError> {
    let Some(path) = path else { return Ok(None) };
    let text = tokio::fs::read_to_string(path).await.map_err(|e| {
        RegistryError::AuthFailed(format!("the credentials file {} cannot be read: {e}", path.display()))
    })?;
    let text = text.trim_end_matches(['\r', '\n']);
    Ok((!text.is_empty()).then(|| text.to_owned()))
}

async fn read_pem(path: &Path) -> Result<Vec<u8>, RegistryError> {
    tokio::fs::read(path).await.map_err(|e| {
        RegistryError::Tls(format!("the certificate file {} cannot be read: {e}", path.display()))
    })
}
