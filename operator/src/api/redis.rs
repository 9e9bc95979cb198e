//! The Redis that connects the nodes.

use k8s_openapi::api::core::v1::ResourceRequirements;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::pod::requests;
use super::reference::SecretRef;

/// The Redis through which the nodes find each other and pass messages. Exactly one of `managed` and `external`;
/// which one, and the fields that say where data lies, cannot be changed later.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RedisSpec {
    /// A single Redis run by the operator, named `<name>-redis`, with a generated password. `{}` takes every default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub managed: Option<ManagedRedis>,
    /// A Redis that exists already.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external: Option<ExternalRedis>,
    /// Prefix of every key and channel, at most 64 of the characters `A-Z a-z 0-9 : . _ -`. Default (empty):
    /// `wsc:<namespace>:<name>:`, or `wsc:<name>:<hash>:` where that is longer than 64. Two clusters may share a Redis only with different prefixes. Immutable.
    #[schemars(length(max = 64), extend("pattern" = "^[A-Za-z0-9:._-]{0,64}$"))]
    pub key_prefix: String,
}

/// A single Redis run by the operator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ManagedRedis {
    /// Image with `redis-server` and `redis-cli`, 6.2 or newer. Default: the operator's default Redis image.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub image: Option<String>,
    /// `None` (default): data lives in memory only; after a restart of Redis the nodes register again by themselves.
    /// `AOF`: an append-only file on a volume, written through every second. Immutable.
    pub persistence: Persistence,
    /// The volume of persistence AOF; deleted with the resource. Immutable.
    pub storage: StorageSpec,
    /// Requests and limits of the Redis container. Default: requests of cpu 100m and memory 128Mi, no limits. Given, it
    /// replaces the default as a whole.
    pub resources: ResourceRequirements,
    /// Memory Redis may use for data: a whole number of bytes or with Ki, Mi or Gi, default 256Mi. When it is full,
    /// writes are refused; nothing is evicted.
    #[schemars(length(max = 16), extend("pattern" = "^[1-9][0-9]*(Ki|Mi|Gi)?$"))]
    pub max_memory: String,
}

impl Default for ManagedRedis {
    fn default() -> Self {
        Self {
            image: None,
            persistence: Persistence::None,
            storage: StorageSpec::default(),
            resources: requests("100m", "128Mi"),
            max_memory: "256Mi".to_owned(),
        }
    }
}

/// Whether data survives a restart of Redis.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Persistence {
    /// In memory only.
    #[default]
    None,
    /// An append-only file.
    #[serde(rename = "AOF")]
    Aof,
}

/// The volume of persistence AOF.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct StorageSpec {
    /// Size of the volume: a whole number of bytes or with Ki, Mi, Gi or Ti, default 1Gi.
    #[schemars(length(max = 16), extend("pattern" = "^[1-9][0-9]*(Ki|Mi|Gi|Ti)?$"))]
    pub size: String,
    /// StorageClass of the volume. Default: the cluster's default class.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub storage_class_name: Option<String>,
}

impl Default for StorageSpec {
    fn default() -> Self {
        Self { size: "1Gi".to_owned(), storage_class_name: None }
    }
}

/// A Redis that exists already.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ExternalRedis {
    /// `Standalone` (default): one server. `Sentinel`: the addresses are those of Sentinels. `Cluster`: the addresses are
    /// those of some nodes of a Redis Cluster. Immutable.
    pub mode: RedisMode,
    /// Addresses `host:port`, IPv6 in brackets. Mode Standalone takes exactly one; the others at most 16.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(min = 1, max = 16),
        inner(
            length(max = 262),
            regex(
                pattern = r"^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])$"
            )
        )
    )]
    pub addresses: Vec<String>,
    /// What the Sentinels watch; mode Sentinel only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sentinel: Option<SentinelSpec>,
    /// Number of the database, 0 to 1023, default 0; mode Cluster has only 0. Immutable.
    #[schemars(range(min = 0, max = 1023))]
    pub database: i32,
    /// Secret with the key `password` and, for an ACL user, `username`. Default: no authentication. A changed password
    /// is read at the next connection, without a restart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth_secret_ref: Option<SecretRef>,
    /// TLS to Redis.
    pub tls: RedisTlsSpec,
}

/// How an external Redis is built.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RedisMode {
    /// One server.
    #[default]
    Standalone,
    /// A primary and its replicas, found through Sentinels.
    Sentinel,
    /// A Redis Cluster.
    Cluster,
}

/// What the Sentinels watch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SentinelSpec {
    /// Name under which the Sentinels know the primary.
    #[schemars(length(min = 1, max = 128), extend("pattern" = "^[A-Za-z0-9._-]+$"))]
    pub master_name: String,
}

impl RedisMode {
    /// The value of `WSC_REDIS_MODE`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Standalone => "standalone",
            Self::Sentinel => "sentinel",
            Self::Cluster => "cluster",
        }
    }
}

/// TLS to Redis.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RedisTlsSpec {
    /// Whether connections are encrypted. Default false.
    pub enabled: bool,
    /// Secret with the key `ca.crt`: the certificates the server's must be signed by. Default: the authorities in
    /// the hub's image; the standard image has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_secret_ref: Option<SecretRef>,
    /// Secret of type kubernetes.io/tls (`tls.crt`, `tls.key`) with the certificate the hub shows. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_cert_secret_ref: Option<SecretRef>,
}
