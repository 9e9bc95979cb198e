//! What a node must know to take its place in a cluster.

use std::{path::PathBuf, time::Duration};

use crate::identity::NodeId;

/// The node's own facts and how to reach the registry. Validated by whoever parsed them, except the URL,
/// which [`super::build`] checks.
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
}

/// How to reach a standalone Redis. The files are read again at each connect, so that a changed secret acts
/// without a restart.
#[derive(Clone)]
pub struct RedisSettings {
    /// `redis://host:port[/db]` or `rediss://` for TLS.
    pub url: String,
    /// Holds the ACL user's name; without it the name in the URL, else `default`.
    pub username_file: Option<PathBuf>,
    /// Holds the password; without it the one in the URL, else none.
    pub password_file: Option<PathBuf>,
    /// PEM certificates that sign the server's; without it the system's.
    pub ca_file: Option<PathBuf>,
    /// PEM client certificate chain; together with `key_file`.
    pub cert_file: Option<PathBuf>,
    /// PEM client key.
    pub key_file: Option<PathBuf>,
}

impl std::fmt::Debug for RedisSettings {
    /// Leaves the URL out: it may hold a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisSettings")
            .field("username_file", &self.username_file)
            .field("password_file", &self.password_file)
            .field("ca_file", &self.ca_file)
            .field("cert_file", &self.cert_file)
            .field("key_file", &self.key_file)
            .finish_non_exhaustive()
    }
}
