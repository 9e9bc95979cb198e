//! What a node must know to take its place in a cluster.

use std::{path::PathBuf, time::Duration};

use crate::{
    identity::NodeId,
    routing::{inbox::InboxLimits, ports::LoginPolicy},
};

/// The node's own facts and how to reach the registry. Validated by whoever parsed them.
#[derive(Debug, Clone)]
pub struct ClusterSettings {
    /// The registry; `None` for a node that is alone.
    pub redis: Option<RedisSettings>,
    /// What every key and channel begins with, such as `wsc:`.
    pub key_prefix: String,
    /// Who may use the prefix; empty when nobody else could.
    pub owner: String,
    /// This node.
    pub node: NodeId,
    /// Its address as others reach it.
    pub node_ip: String,
    /// Port of the client listener.
    pub client_port: u16,
    /// Port of the API listener.
    pub api_port: u16,
    /// UID of the pod; empty outside Kubernetes.
    pub pod_uid: String,
    /// Failure domain; empty when unknown.
    pub zone: String,
    /// Release of the hub.
    pub version: String,
    /// Between two heartbeats; well below `lease`.
    pub heartbeat_interval: Duration,
    /// How long a node counts as alive after its last heartbeat.
    pub lease: Duration,
    /// Whether the backend wants to hear what happens.
    pub events: bool,
    /// What is kept for each user.
    pub inbox: InboxLimits,
    /// How many connections one user may have.
    pub login: LoginPolicy,
    /// How long a client that is gone can take up its session; zero for never.
    pub resume_window: Duration,
}

/// What kind of Redis there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RedisMode {
    /// One server.
    Standalone,
    /// Sentinels, which know where the primary is.
    Sentinel {
        /// The name under which they watch it.
        master: String,
    },
    /// A Redis Cluster.
    Cluster,
}

/// How to reach Redis. The files are read again at each connect, so that a changed secret acts without a restart.
#[derive(Debug, Clone)]
pub struct RedisSettings {
    /// What kind of Redis there is.
    pub mode: RedisMode,
    /// Whether TLS is spoken, to Sentinels as well.
    pub tls: bool,
    /// Hosts and ports: the server; the Sentinels; or some nodes of the Redis Cluster.
    pub hosts: Vec<(String, u16)>,
    /// Number of the database; 0 in a Redis Cluster.
    pub database: i64,
    /// Holds the ACL user's name; without it, or when it is empty, `default`.
    pub username_file: Option<PathBuf>,
    /// Holds the password; without it, or when it is empty, none.
    pub password_file: Option<PathBuf>,
    /// PEM certificates that sign the server's; without it the system's.
    pub ca_file: Option<PathBuf>,
    /// PEM client certificate chain; together with `key_file`.
    pub cert_file: Option<PathBuf>,
    /// PEM client key.
    pub key_file: Option<PathBuf>,
}
