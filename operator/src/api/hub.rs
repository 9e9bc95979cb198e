//! Settings of the hub itself.

use k8s_openapi::api::core::v1::EnvVarSource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::duration::SpecDuration;
use super::inbox::{EventsSpec, InboxSpec};
use super::limits::LimitsSpec;
use super::reference::SecretRef;

/// Environment variables that say what the operator or a field of the spec decides; `hub.env` may not name them. Those of
/// hot settings are not set: what the hub's file of hot settings says would win over them without a word.
pub const MANAGED_ENV: &[&str] = &[
    "WSC_NODE_ID",
    "WSC_HOT_SETTINGS_FILE",
    "WSC_NODE_IP",
    "WSC_POD_UID",
    "WSC_ZONE",
    "WSC_CLIENT_ADDR",
    "WSC_API_ADDR",
    "WSC_REDIS_URL",
    "WSC_REDIS_MODE",
    "WSC_REDIS_SENTINEL_MASTER",
    "WSC_REDIS_USERNAME_FILE",
    "WSC_REDIS_PASSWORD_FILE",
    "WSC_REDIS_CA_FILE",
    "WSC_REDIS_CERT_FILE",
    "WSC_REDIS_KEY_FILE",
    "WSC_KEY_PREFIX",
    "WSC_OWNER",
    "WSC_AUTH_MODE",
    "WSC_AUTH_KEYS_DIR",
    "WSC_PROXY_USER_HEADER",
    "WSC_TRUSTED_PROXIES",
    "WSC_API_KEYS_DIR",
    "WSC_CLIENT_SEND",
    "WSC_ALLOWED_ORIGINS",
    "WSC_HEARTBEAT_INTERVAL",
    "WSC_LEASE",
    "WSC_MAX_CONNECTIONS",
    "WSC_MAX_CONNECTIONS_PER_USER",
    "WSC_ON_EXCESS",
    "WSC_MAX_MESSAGE_BYTES",
    "WSC_OUTBOUND_QUEUE_BYTES",
    "WSC_MESSAGE_BUFFER_SIZE",
    "WSC_INBOX_MAX_MESSAGES",
    "WSC_INBOX_MAX_BYTES",
    "WSC_INBOX_TTL",
    "WSC_EVENTS",
    "WSC_DRAIN_SETTLE",
    "WSC_DRAIN_RATE",
    "WSC_RETRY_AFTER_MAX",
    "WSC_GRACE",
    "WSC_LOG",
    "WSC_LOG_FORMAT",
];

/// Settings of the hub. Hot ones reach the running nodes within about a minute; a change of any other replaces the pods,
/// as `rollout` says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct HubSpec {
    /// Client connections each node accepts, 1 to 1000000, default 50000. A full node refuses new ones with 503 and
    /// stays ready. Hot.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_connections: i32,
    /// Least severe log level that is written: `error`, `warn`, `info` (default), `debug` or `trace`. Hot.
    pub log_level: LogLevel,
    /// Origins whose web pages may connect, such as `https://chat.example.com`, or `*` for all. Default: only pages of the host that is
    /// connected to. Clients that are not browsers send no origin and are not affected. At most 64. Hot.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 512), regex(pattern = r"^(\*|https?://[^/,@\s*?#]+)$")))]
    pub allowed_origins: Vec<String>,
    /// To whom clients may send: `none`, `users`, `groups` or `all`. Default (empty): what the token grants in mode
    /// Token, `all` in mode Trusted. Hot.
    pub client_send: ClientSend,
    /// How clients prove who they are.
    pub auth: AuthSpec,
    /// Secret with the control API's keys: files named `api...` or `admin...` with one key of at least 24 characters
    /// each; the name says the scope, and one `admin` key is needed by the operator. Default: `<name>-api`, created
    /// with one key of each scope. Changed keys act without a restart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_keys_secret_ref: Option<SecretRef>,
    /// How nodes tell each other that they live.
    pub heartbeat: HeartbeatSpec,
    /// Limits of one connection and of one user.
    pub limits: LimitsSpec,
    /// Messages kept for users who are away.
    pub inbox: InboxSpec,
    /// What happens, told to the backend.
    pub events: EventsSpec,
    /// Extra environment variables of the hub container. Names that the operator sets itself are refused. At most 64.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 64),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub env: Vec<HubEnv>,
}

impl Default for HubSpec {
    fn default() -> Self {
        Self {
            max_connections: 50_000,
            log_level: LogLevel::Info,
            allowed_origins: Vec::new(),
            client_send: ClientSend::ByGrant,
            auth: AuthSpec::default(),
            api_keys_secret_ref: None,
            heartbeat: HeartbeatSpec::default(),
            limits: LimitsSpec::default(),
            inbox: InboxSpec::default(),
            events: EventsSpec::default(),
            env: Vec::new(),
        }
    }
}

/// Log level of the hub.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Only failures.
    Error,
    /// Also what may become a failure.
    Warn,
    /// Also the milestones of normal work.
    #[default]
    Info,
    /// Also single decisions.
    Debug,
    /// Everything.
    Trace,
}

impl LogLevel {
    /// The hub's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// To whom clients may send.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ClientSend {
    /// What the authentication mode says.
    #[default]
    #[serde(rename = "")]
    ByGrant,
    /// To nobody.
    None,
    /// To users.
    Users,
    /// To groups.
    Groups,
    /// To users and groups.
    All,
}

impl ClientSend {
    /// The hub's word for it; empty leaves it to the hub.
    pub fn word(self) -> &'static str {
        match self {
            Self::ByGrant => "",
            Self::None => "none",
            Self::Users => "users",
            Self::Groups => "groups",
            Self::All => "all",
        }
    }
}

/// How clients prove who they are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AuthSpec {
    /// `Token` (default): a signed JWT whose `sub` is the user. `Proxy`: a proxy in front of the hub names the user in a
    /// header, see `proxy`. `Trusted`: whatever user id the client gives is believed; for development only.
    pub mode: AuthMode,
    /// Secret with the keys that verify tokens: files `<kid>.key` (HMAC, at least 32 bytes), `<kid>.pem` (public key) or
    /// `jwks.json`. Default in mode Token: `<name>-auth`, created with one random HMAC key `default.key`. Changed keys
    /// act without a restart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keys_secret_ref: Option<SecretRef>,
    /// The proxies in front of the hub that are believed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy: Option<ProxySpec>,
}

/// The proxies in front of the hub that are believed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ProxySpec {
    /// Header in which the proxy names the user; in mode Proxy only, where it is the only way to name one. The proxy
    /// must overwrite what clients send under this name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128), extend("pattern" = "^[A-Za-z0-9-]+$"))]
    pub user_header: Option<String>,
    /// Networks such as `10.0.0.0/8` or `2001:db8::/32` from which the user header and `X-Forwarded-For` are believed.
    /// Default: none. At most 32.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(max = 43), regex(pattern = r"^[0-9A-Fa-f.:]+/[0-9]{1,3}$")))]
    pub trusted_cidrs: Vec<String>,
}

/// Authentication mode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AuthMode {
    /// Signed tokens.
    #[default]
    Token,
    /// A header of a trusted proxy.
    Proxy,
    /// The client's word.
    Trusted,
}

impl AuthMode {
    /// The value of `WSC_AUTH_MODE`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Proxy => "proxy",
            Self::Trusted => "trusted",
        }
    }
}

/// How nodes tell each other that they live. A node that is gone is noticed when its lease ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct HeartbeatSpec {
    /// Time between two heartbeats of a node: a duration of at least 1s, default 10s.
    pub interval: SpecDuration,
    /// Time without a heartbeat after which a node counts as gone and its users as offline: a duration of at least
    /// three intervals and at most 60s, default 30s.
    pub lease: SpecDuration,
}

impl Default for HeartbeatSpec {
    fn default() -> Self {
        Self { interval: SpecDuration::from_secs(10), lease: SpecDuration::from_secs(30) }
    }
}

/// One environment variable.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HubEnv {
    /// Name of the variable, at most 128 characters.
    #[schemars(length(max = 128), extend("pattern" = "^[A-Za-z_][A-Za-z0-9_.-]*$"))]
    pub name: String,
    /// Value, at most 8192 characters. Default: empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8192))]
    pub value: Option<String>,
    /// Where the value comes from, instead of `value`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_from: Option<EnvVarSource>,
}
