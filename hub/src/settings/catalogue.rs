//! The list of settings: what `--help` shows and what the operator may set.

/// One setting: a flag, the variable of the same name, and what people are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// The variable, such as `WSC_NODE_ID`; the flag is `--node-id`.
    pub variable: &'static str,
    /// Heading in `--help`.
    pub heading: &'static str,
    /// What stands for the value in `--help`.
    pub value: &'static str,
    /// The default in words; empty for none.
    pub default: &'static str,
    /// What it does, with unit and range.
    pub help: &'static str,
}

impl Setting {
    /// The flag without its dashes.
    #[must_use]
    pub fn flag(&self) -> String {
        self.variable.trim_start_matches("WSC_").to_ascii_lowercase().replace('_', "-")
    }
}

const NODE: &str = "Node";
const LISTEN: &str = "Listeners and limits";
const REDIS: &str = "Redis";
const EVENTS: &str = "Events for the backend";
const INBOX: &str = "Stored messages";
const AUTH: &str = "Who may do what";
const LIFE: &str = "Heartbeats and shutdown";
const LOGS: &str = "Logs";

const fn setting(
    heading: &'static str,
    variable: &'static str,
    value: &'static str,
    default: &'static str,
    help: &'static str,
) -> Setting {
    Setting { variable, heading, value, default, help }
}

/// Every setting that acts.
pub const CATALOGUE: &[Setting] = &[
    setting(
        NODE,
        "WSC_NODE_ID",
        "ID",
        "POD_NAME, else the host name",
        "Name of this node, unique in its cluster: a DNS label",
    ),
    setting(NODE, "WSC_NODE_IP", "IP", "detected", "Address of this node as shown by /nodes"),
    setting(
        NODE,
        "WSC_POD_UID",
        "UID",
        "",
        "UID of the pod; lets a restarted container take its own lease over at once",
    ),
    setting(
        NODE,
        "WSC_HOT_SETTINGS_FILE",
        "FILE",
        "",
        "YAML with allowed_origins, log_level, client_send, max_connections, limits and drain; read again when it changes, wins over flags and variables",
    ),
    setting(NODE, "WSC_ZONE", "ZONE", "", "Failure domain as shown by /nodes"),
    setting(
        LISTEN,
        "WSC_CLIENT_ADDR",
        "IP:PORT",
        "0.0.0.0:8080",
        "Where clients connect; port 0 takes any free one",
    ),
    setting(
        LISTEN,
        "WSC_API_ADDR",
        "IP:PORT",
        "0.0.0.0:8081",
        "Where the backend connects; port 0 takes any free one",
    ),
    setting(
        LISTEN,
        "WSC_MAX_CONNECTIONS",
        "N",
        "50000",
        "Connections on this node, 1 to 1000000; never more than the open-files limit less 512",
    ),
    setting(
        LISTEN,
        "WSC_MAX_CONNECTIONS_PER_USER",
        "N",
        "0",
        "Connections of one user on all nodes together, 0 to 10000; 0 for no limit",
    ),
    setting(
        LISTEN,
        "WSC_ON_EXCESS",
        "WHAT",
        "close_oldest",
        "When a user has more: close_oldest closes the oldest with 4002, reject refuses the new one with 429",
    ),
    setting(LISTEN, "WSC_MAX_MESSAGE_BYTES", "BYTES", "65536", "Largest client message, 128 to 16777216"),
    setting(
        LISTEN,
        "WSC_OUTBOUND_QUEUE_BYTES",
        "BYTES",
        "262144",
        "Bytes that may wait for one client, 1024 to 1073741824; beyond it the client is closed with 4004",
    ),
    setting(
        LISTEN,
        "WSC_MESSAGE_BUFFER_SIZE",
        "N",
        "1024",
        "Messages that may wait for one client, 1 to 1000000; beyond it the client is closed with 4004",
    ),
    setting(
        LISTEN,
        "WSC_QUEUE_MEMORY",
        "BYTES",
        "25 % of the memory limit",
        "Bytes that may wait for all clients together, 1048576 to 1099511627776; beyond it the largest queue is closed with 4004 first",
    ),
    setting(
        LISTEN,
        "WSC_CLIENT_RATE",
        "N",
        "50",
        "Frames per second from one client, 1 to 100000, with bursts of twice that",
    ),
    setting(
        LISTEN,
        "WSC_CLIENT_IN_FLIGHT",
        "N",
        "64",
        "Messages of one client being sent at the same time, 1 to 10000",
    ),
    setting(LISTEN, "WSC_MAX_GROUPS", "N", "128", "Groups one connection may be in, 1 to 4096"),
    setting(
        LISTEN,
        "WSC_MAX_CONNECTIONS_PER_ADDRESS",
        "N",
        "0: no limit",
        "Connections from one client address (IPv6: one /64 network), 0 to 1000000; more are refused with 429",
    ),
    setting(
        LISTEN,
        "WSC_ACCEPT_RATE",
        "N",
        "2000",
        "Sockets the client listener accepts per second, 1 to 1000000; more wait in the kernel",
    ),
    setting(
        LISTEN,
        "WSC_HANDSHAKE_TIMEOUT",
        "DURATION",
        "5s",
        "Time for a client to send its request's header, 100ms to 1m",
    ),
    setting(
        REDIS,
        "WSC_REDIS_URL",
        "URL",
        "none: this node is alone",
        "redis://HOST[:PORT][/DB], or rediss:// for TLS; a comma list of Sentinels or of nodes of a Redis Cluster; user and password belong into files",
    ),
    setting(
        REDIS,
        "WSC_REDIS_MODE",
        "MODE",
        "standalone",
        "standalone: one server; sentinel: the URL lists Sentinels; cluster: the URL lists nodes of a Redis Cluster",
    ),
    setting(
        REDIS,
        "WSC_REDIS_SENTINEL_MASTER",
        "NAME",
        "",
        "Name of the primary that the Sentinels watch; mode sentinel only",
    ),
    setting(
        REDIS,
        "WSC_REDIS_USERNAME_FILE",
        "FILE",
        "",
        "File with the ACL user, also tried with Sentinels; read again at each connect",
    ),
    setting(
        REDIS,
        "WSC_REDIS_PASSWORD_FILE",
        "FILE",
        "",
        "File with the password; read again at each connect",
    ),
    setting(
        REDIS,
        "WSC_REDIS_CA_FILE",
        "FILE",
        "",
        "PEM file of the authorities that sign the server's certificate; rediss:// only",
    ),
    setting(REDIS, "WSC_REDIS_CERT_FILE", "FILE", "", "PEM file of the client certificate; rediss:// only"),
    setting(
        REDIS,
        "WSC_REDIS_KEY_FILE",
        "FILE",
        "",
        "PEM file of the client certificate's key; rediss:// only",
    ),
    setting(
        REDIS,
        "WSC_ON_REGISTRY_DOWN",
        "WHAT",
        "accept",
        "While Redis is away: accept takes new clients and registers them later, refuse answers them 503",
    ),
    setting(
        REDIS,
        "WSC_KEY_PREFIX",
        "TEXT",
        "wsc:",
        "Begins every key and channel; nodes that share it form a cluster: A-Z a-z 0-9 : . _ -, at most 64",
    ),
    setting(
        REDIS,
        "WSC_OWNER",
        "TEXT",
        "",
        "Who owns the prefix; while another owner lives this node stays 'starting'",
    ),
    setting(
        EVENTS,
        "WSC_EVENTS",
        "BOOL",
        "false",
        "true: what happens to connections and what clients send to @backend is kept for GET /v1/events",
    ),
    setting(
        INBOX,
        "WSC_INBOX_MAX_MESSAGES",
        "N",
        "1000",
        "Stored messages kept for one user, 0 to 100000; 0: nothing is stored, and who asks for it is answered 400",
    ),
    setting(
        INBOX,
        "WSC_INBOX_MAX_BYTES",
        "BYTES",
        "1048576",
        "Bytes of stored messages kept for one user, 1024 to 268435456",
    ),
    setting(
        INBOX,
        "WSC_INBOX_TTL",
        "DURATION",
        "168h",
        "How long a stored message is kept, 1s to 8760h; the same on every node, as the two before",
    ),
    setting(
        AUTH,
        "WSC_AUTH_MODE",
        "MODE",
        "token",
        "token: a JWT says who connects; proxy: a header of a trusted proxy says it; trusted: the client says it (development)",
    ),
    setting(
        AUTH,
        "WSC_AUTH_KEYS_DIR",
        "DIR",
        "",
        "Directory of keys that verify tokens: <kid>.key, a secret of 32 bytes or more; <kid>.pem, a public key (RSA, P-256, Ed25519); jwks.json; read again when it changes",
    ),
    setting(AUTH, "WSC_TOKEN_ISSUER", "TEXT", "", "Wanted in the tokens' iss"),
    setting(AUTH, "WSC_TOKEN_AUDIENCE", "TEXT", "", "Wanted in the tokens' aud"),
    setting(
        AUTH,
        "WSC_PROXY_USER_HEADER",
        "NAME",
        "",
        "Header in which a trusted proxy names the user; mode proxy only, where it is the only way to name one",
    ),
    setting(
        AUTH,
        "WSC_TRUSTED_PROXIES",
        "LIST",
        "none",
        "Comma list of networks such as 10.0.0.0/8 or 2001:db8::/32 whose X-Forwarded-For, and in mode proxy whose user header, are believed; they must overwrite or append to what clients send",
    ),
    setting(
        AUTH,
        "WSC_API_KEYS_DIR",
        "DIR",
        "none: the API refuses everybody",
        "Directory of API keys: files api* and admin*, one key of 24 characters or more each; read again when it changes",
    ),
    setting(
        AUTH,
        "WSC_CLIENT_SEND",
        "WHO",
        "all if trusted, else what the token grants",
        "To whom clients may send: none, users, groups or all",
    ),
    setting(
        AUTH,
        "WSC_ALLOWED_ORIGINS",
        "LIST",
        "the same host",
        "Comma list of origins, such as https://example.org, whose pages may connect; * alone allows all",
    ),
    setting(
        LIFE,
        "WSC_HEARTBEAT_INTERVAL",
        "DURATION",
        "10s",
        "How often the lease is renewed, 100ms to 20s",
    ),
    setting(
        LIFE,
        "WSC_LEASE",
        "DURATION",
        "30s",
        "After how long a silent node is dead: at least 3 heartbeats, at most 60s",
    ),
    setting(
        LIFE,
        "WSC_PING_INTERVAL",
        "DURATION",
        "25s",
        "How often clients are pinged, 100ms to 10m; two unanswered close with 4005",
    ),
    setting(
        LIFE,
        "WSC_RESUME_WINDOW",
        "DURATION",
        "2m",
        "How long a client that is gone can take up its session on any node, 0s (never) to 24h",
    ),
    setting(
        LIFE,
        "WSC_DRAIN_SETTLE",
        "DURATION",
        "5s",
        "A node that drains takes clients for this long until load balancers have noticed, 0s to 5m",
    ),
    setting(
        LIFE,
        "WSC_DRAIN_RATE",
        "N",
        "200",
        "Connections that a drain closes per second, 1 to 100000; more when the time would not suffice",
    ),
    setting(
        LIFE,
        "WSC_GRACE",
        "DURATION",
        "110s",
        "Longest time between SIGTERM and the end, 1s to 1h: the pod's grace less 10s",
    ),
    setting(
        LIFE,
        "WSC_RETRY_AFTER_MAX",
        "DURATION",
        "1s",
        "Clients sent away wait up to this before they connect again, 0s to 1m",
    ),
    setting(
        LOGS,
        "WSC_LOG",
        "LEVEL",
        "info",
        "error, warn, info, debug or trace; or directives such as info,wsc_hub::cluster=debug",
    ),
    setting(LOGS, "WSC_LOG_FORMAT", "FORMAT", "json, or text on a terminal", "json or text"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_and_variables_have_the_same_name() {
        assert!(CATALOGUE.iter().any(|s| s.flag() == "redis-password-file"));
        assert!(CATALOGUE.iter().all(|s| s.variable.starts_with("WSC_")));
    }
}
