//! Settings after validation.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use http::HeaderName;
use ipnet::IpNet;

use super::hot_settings::HotSettings;
use crate::identity::NodeId;

/// The API key of `--dev`. Never accepted elsewhere.
pub const DEV_API_KEY: &str = "dev-only-key-do-not-use-in-production";

/// All settings, validated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Name of this node.
    pub node_id: NodeId,
    /// Address of this node for others.
    pub node_ip: String,
    /// UID of the pod; empty outside Kubernetes.
    pub pod_uid: String,
    /// Failure domain; empty when unknown.
    pub zone: String,
    /// Listener for clients.
    pub client_addr: SocketAddr,
    /// Listener for the backend.
    pub api_addr: SocketAddr,
    /// Redis; none for a node that is alone.
    pub redis: Option<RedisSettings>,
    /// Begins every key and channel.
    pub key_prefix: String,
    /// Who owns the prefix; empty for nobody.
    pub owner: String,
    /// Whether events are kept for the backend.
    pub events: bool,
    /// What is kept for each user.
    pub inbox: InboxSettings,
    /// Who may connect.
    pub auth: AuthSettings,
    /// Directory of API keys.
    pub api_keys_dir: Option<PathBuf>,
    /// How often the lease is renewed.
    pub heartbeat_interval: Duration,
    /// After how long a silent node is dead.
    pub lease: Duration,
    /// How often clients are pinged.
    pub ping_interval: Duration,
    /// How long a client that is gone can take up its session; zero for never.
    pub resume_window: Duration,
    /// What may change while the hub runs, as flags and variables say.
    pub hot: HotSettings,
    /// File that changes it; known to have been good.
    pub hot_settings_file: Option<PathBuf>,
    /// Groups one connection may be in.
    pub max_groups: usize,
    /// How many connections one user may have on all nodes.
    pub per_user: PerUserSettings,
    /// What new clients get while Redis is away.
    pub on_registry_down: OnRegistryDown,
    /// Time for a request's header.
    pub handshake_timeout: Duration,
    /// Time between SIGTERM and the end.
    pub grace: Duration,
    /// How log lines look; what is logged is among the hot settings.
    pub log_format: LogFormat,
    /// `--dev`: loopback only, trusted mode, a well-known API key.
    pub dev: bool,
}

/// What kind of Redis there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RedisMode {
    /// One server.
    Standalone,
    /// Sentinels that know the primary.
    Sentinel,
    /// A Redis Cluster.
    Cluster,
}

/// Where Redis is and how to log in. Secrets stay in files, read again at each connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisSettings {
    /// What kind of Redis there is.
    pub mode: RedisMode,
    /// Whether TLS is spoken, to all of them.
    pub tls: bool,
    /// Hosts and ports: the server; the Sentinels; or some nodes of the Redis Cluster. Never empty.
    pub hosts: Vec<(String, u16)>,
    /// Number of the database; 0 in a Redis Cluster.
    pub database: i64,
    /// Name of the primary that the Sentinels watch; empty in the other modes.
    pub sentinel_master: String,
    /// File with the ACL user.
    pub username_file: Option<PathBuf>,
    /// File with the password.
    pub password_file: Option<PathBuf>,
    /// PEM of the authorities.
    pub ca_file: Option<PathBuf>,
    /// PEM of the client certificate.
    pub cert_file: Option<PathBuf>,
    /// PEM of its key.
    pub key_file: Option<PathBuf>,
}

/// How many connections one user may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PerUserSettings {
    /// Most connections on all nodes together; 0 for no limit.
    pub most: u32,
    /// Beyond it the new one is refused; else the oldest are closed.
    pub reject: bool,
}

/// What is kept for each user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InboxSettings {
    /// Most stored messages; 0 when nothing is stored.
    pub messages: u32,
    /// Most bytes of them.
    pub bytes: u64,
    /// How long one is kept.
    pub ttl: Duration,
}

/// What new clients get while the registry is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnRegistryDown {
    /// They are taken, and registered later.
    Accept,
    /// They are refused.
    Refuse,
}

/// How clients say who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthMode {
    /// By a JWT.
    Token,
    /// By a header that a trusted proxy sets.
    Proxy,
    /// By their word. For development.
    Trusted,
}

/// Who may connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthSettings {
    /// How clients say who they are.
    pub mode: AuthMode,
    /// Directory of keys; always there in token mode.
    pub keys_dir: Option<PathBuf>,
    /// Wanted in `iss`.
    pub issuer: Option<String>,
    /// Wanted in `aud`.
    pub audience: Option<String>,
    /// Header with the user; always there in mode proxy.
    pub proxy_user_header: Option<HeaderName>,
    /// Proxies whose headers are believed, in any mode.
    pub trusted_proxies: Vec<IpNet>,
}

/// To whom clients may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientSend {
    /// To nobody.
    None,
    /// To users.
    Users,
    /// To groups.
    Groups,
    /// To users and groups.
    All,
    /// To whom the token says.
    Granted,
}

impl ClientSend {
    /// # Errors
    /// A sentence with the words there are.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Self::None),
            "users" => Ok(Self::Users),
            "groups" => Ok(Self::Groups),
            "all" => Ok(Self::All),
            _ => Err(format!("expected none, users, groups or all, found {text:?}")),
        }
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object per line.
    Json,
    /// For people.
    Text,
}
