//! Tables for [`super::parse`].

use std::{collections::HashMap, ffi::OsString};

use super::{AuthMode, ClientSend, Exit, LogFormat, RedisMode, Settings, Surroundings, parse};

fn around() -> Surroundings {
    Surroundings {
        host_name: "My.Host".into(),
        ip: "10.0.0.7".into(),
        open_files: 20_000,
        memory: 1 << 30,
        terminal: false,
    }
}

fn run(args: &[&str], variables: &[(&str, &str)]) -> Result<Settings, Exit> {
    let variables: HashMap<_, _> = variables.iter().copied().collect();
    let args = ["wsc-hub"].iter().chain(args).map(OsString::from);
    parse(args, &|name| variables.get(name).map(ToString::to_string), &around())
}

fn problems(args: &[&str], variables: &[(&str, &str)]) -> Vec<String> {
    match run(args, variables) {
        Err(Exit::Bad(problems)) => problems,
        other => panic!("expected problems, got {other:?}"),
    }
}

#[test]
fn dev_needs_nothing_else_and_listens_on_loopback() {
    let settings = run(&["--dev"], &[]).unwrap();
    assert!(settings.dev && settings.client_addr.ip().is_loopback() && settings.api_addr.ip().is_loopback());
    assert_eq!((settings.auth.mode, settings.log_format), (AuthMode::Trusted, LogFormat::Text));
    assert_eq!((settings.node_id.as_str(), settings.node_ip.as_str()), ("my", "10.0.0.7"));
    assert_eq!(settings.hot.max_connections, 19_488, "the open-files limit less 512");
    assert!(problems(&["--dev", "--client-addr", "0.0.0.0:0"], &[])[0].contains("loopback only"));
}

#[test]
fn a_flag_wins_over_its_variable_and_an_empty_variable_is_none() {
    let settings =
        run(&["--dev", "--node-id", "flag"], &[("WSC_NODE_ID", "variable"), ("WSC_LEASE", "")]).unwrap();
    assert_eq!((settings.node_id.as_str(), settings.lease.as_secs()), ("flag", 30));
    assert_eq!(run(&["--dev"], &[("POD_NAME", "chat-0")]).unwrap().node_id.as_str(), "chat-0");
}

#[test]
fn all_mistakes_are_listed_at_once() {
    let found = problems(
        &[],
        &[
            ("WSC_NODE_ID", "Bad_Id"),
            ("WSC_CLIENT_ADDR", "nowhere"),
            ("WSC_REDIS_URL", "redis://user:secret@host"),
            ("WSC_LEASE", "20s"),
            ("WSC_DRAIN_RATE", "0"),
            ("WSC_MAX_CONNECTIONS", "many"),
        ],
    );
    let names = [
        "WSC_DRAIN_RATE",
        "WSC_NODE_ID",
        "WSC_CLIENT_ADDR",
        "WSC_REDIS_URL",
        "WSC_AUTH_KEYS_DIR",
        "WSC_LEASE",
        "WSC_MAX_CONNECTIONS",
    ];
    assert_eq!(found.len(), names.len(), "{found:#?}");
    for name in names {
        assert!(found.iter().any(|problem| problem.starts_with(name)), "{name} in {found:#?}");
    }
    assert!(!found.iter().any(|problem| problem.contains("secret")), "{found:#?}");
}

#[test]
fn each_bad_value_gets_a_sentence() {
    let cases = [
        ("WSC_NODE_IP", "localhost", "expected an IP address"),
        ("WSC_REDIS_URL", "http://x", "expected redis:// or rediss://"),
        ("WSC_REDIS_URL", "redis://a,b", "a list of addresses needs WSC_REDIS_MODE"),
        ("WSC_REDIS_URL", "redis://", "the host is missing"),
        ("WSC_MAX_CONNECTIONS_PER_USER", "-1", "expected a whole number from 0 to 10000"),
        ("WSC_ON_EXCESS", "oldest", "expected close_oldest or reject"),
        ("WSC_ON_REGISTRY_DOWN", "panic", "expected accept or refuse"),
        ("WSC_REDIS_MODE", "ring", "expected standalone, sentinel or cluster"),
        ("WSC_REDIS_SENTINEL_MASTER", "mymaster", "acts with WSC_REDIS_MODE sentinel only"),
        ("WSC_REDIS_PASSWORD_FILE", "/does/not/exist", "cannot read the file"),
        ("WSC_KEY_PREFIX", "a{b}", "expected at most 64"),
        ("WSC_AUTH_MODE", "magic", "expected token, proxy or trusted"),
        ("WSC_PROXY_USER_HEADER", "X-User", "acts in mode proxy only"),
        ("WSC_TRUSTED_PROXIES", "10.0.0.0/33", "expected networks like"),
        ("WSC_TRUSTED_PROXIES", "10.0.0.0/8,,::1", "expected networks like"),
        ("WSC_TRUSTED_PROXIES", "0.0.0.0/0", "is everybody"),
        ("WSC_TRUSTED_PROXIES", "10.0.0.1,::/0", "is everybody"),
        ("WSC_ALLOWED_ORIGINS", "https://*.example.org", "* stands alone"),
        ("WSC_API_KEYS_DIR", "/etc/hostname", "is not a directory"),
        ("WSC_CLIENT_SEND", "some", "expected none, users, groups or all"),
        ("WSC_ALLOWED_ORIGINS", "https://a,example.org", "expected an origin like"),
        ("WSC_HEARTBEAT_INTERVAL", "10", "expected a duration"),
        ("WSC_LEASE", "61s", "expected a duration from 300ms to 60s"),
        ("WSC_MAX_MESSAGE_BYTES", "1", "expected a whole number from 128"),
        ("WSC_OUTBOUND_QUEUE_BYTES", "-1", "expected a whole number"),
        ("WSC_OUTBOUND_QUEUE_BYTES", "1024", "cannot hold one message"),
        ("WSC_QUEUE_MEMORY", "1048575", "expected a whole number from 1048576"),
        ("WSC_CLIENT_RATE", "0", "expected a whole number from 1 to 100000"),
        ("WSC_CLIENT_IN_FLIGHT", "10001", "expected a whole number from 1 to 10000"),
        ("WSC_MAX_CONNECTIONS_PER_ADDRESS", "-1", "expected a whole number from 0"),
        ("WSC_ACCEPT_RATE", "0", "expected a whole number from 1"),
        ("WSC_HANDSHAKE_TIMEOUT", "99ms", "expected a duration from 100ms to 1m"),
        ("WSC_HOT_SETTINGS_FILE", "/does/not/exist", "cannot read the file"),
        ("WSC_LOG", "loud=very", "expected a level"),
        ("WSC_LOG", "inof", "expected a level"),
        ("WSC_LOG_FORMAT", "xml", "expected json or text"),
    ];
    for (name, value, why) in cases {
        let found = problems(&["--dev"], &[(name, value)]);
        assert!(
            found.len() == 1 && found[0].starts_with(&format!("{name} (--")) && found[0].contains(why),
            "{found:?}"
        );
    }
}

#[test]
fn mode_proxy_needs_its_header_and_its_proxies() {
    let proxies = ("WSC_TRUSTED_PROXIES", "10.0.0.7/8, 192.0.2.1,2001:db8::/32,::1");
    let header = ("WSC_PROXY_USER_HEADER", "X-Forwarded-User");
    let settings = run(&[], &[("WSC_AUTH_MODE", "proxy"), proxies, header]).unwrap();
    assert_eq!(settings.auth.mode, AuthMode::Proxy);
    assert_eq!(settings.auth.proxy_user_header.unwrap().as_str(), "x-forwarded-user");
    let networks: Vec<String> = settings.auth.trusted_proxies.iter().map(ToString::to_string).collect();
    assert_eq!(networks, ["10.0.0.0/8", "192.0.2.1/32", "2001:db8::/32", "::1/128"]);
    assert_eq!(settings.hot.client_send, ClientSend::Granted);
    assert_eq!(run(&["--dev"], &[proxies]).unwrap().auth.trusted_proxies.len(), 4, "in any mode");

    let found = problems(&[], &[("WSC_AUTH_MODE", "proxy")]);
    assert!(found.len() == 2 && found[0].contains("the header that names") && found[1].contains("networks"));
    for taken in ["Origin", "x-forwarded-for", "Sec-WebSocket-Key", "no header"] {
        let found = problems(&[], &[("WSC_AUTH_MODE", "proxy"), proxies, ("WSC_PROXY_USER_HEADER", taken)]);
        assert!(found.len() == 1 && found[0].starts_with("WSC_PROXY_USER_HEADER"), "{found:?}");
    }
    assert!(problems(&["--dev"], &[("WSC_AUTH_MODE", "proxy")])[0].contains("--dev is always trusted"));
}

#[test]
fn defaults_are_those_of_the_protocol() {
    let hot = run(&["--dev"], &[]).unwrap().hot;
    let limits = &hot.limits;
    assert_eq!(
        (limits.max_message_bytes, limits.queue.bytes, limits.queue.messages),
        (65_536, 262_144, 1024)
    );
    assert_eq!((limits.client_rate, limits.client_in_flight), (50, 64));
    assert_eq!((limits.max_connections_per_address, limits.accept_rate), (0, 2000));
    assert_eq!(limits.queue_memory, 1 << 28, "a quarter of the memory");
    assert_eq!((hot.log_directives.as_str(), hot.client_send), ("info", ClientSend::All));
    let set = [("WSC_ACCEPT_RATE", "7"), ("WSC_QUEUE_MEMORY", "2000000"), ("WSC_CLIENT_SEND", "none")];
    let hot = run(&["--dev"], &set).unwrap().hot;
    assert_eq!((hot.limits.accept_rate, hot.limits.queue_memory), (7, 2_000_000));
    assert_eq!(hot.client_send, ClientSend::None);
}

#[test]
fn help_lists_every_setting_and_usage_errors_are_problems() {
    let Err(Exit::Help(help)) = run(&["--help"], &[]) else { panic!("no help") };
    for setting in super::CATALOGUE {
        assert!(
            help.contains(&format!("--{}", setting.flag())) && help.contains(setting.variable),
            "{setting:?}"
        );
    }
    assert!(matches!(run(&["--version"], &[]), Err(Exit::Help(text)) if text.starts_with("wsc-hub 0.")));
    assert!(problems(&["--nope"], &[])[0].contains("--nope"));
}

#[test]
fn what_only_a_registry_can_keep_is_not_asked_of_a_node_without_one() {
    let file = "/etc/hostname";
    for given in [
        vec![("WSC_REDIS_MODE", "standalone")],
        vec![("WSC_REDIS_MODE", "cluster")],
        vec![("WSC_REDIS_MODE", "sentinel"), ("WSC_REDIS_SENTINEL_MASTER", "chat")],
        vec![("WSC_REDIS_USERNAME_FILE", file)],
        vec![("WSC_REDIS_PASSWORD_FILE", file)],
        vec![("WSC_REDIS_CA_FILE", file)],
        vec![("WSC_REDIS_CERT_FILE", file), ("WSC_REDIS_KEY_FILE", file)],
        vec![("WSC_OWNER", "team-a")],
    ] {
        let found = problems(&["--dev"], &given);
        assert!(
            found.len() == 1 && found[0].starts_with("WSC_REDIS_URL (--redis-url): missing"),
            "{found:?}"
        );
        assert!(found[0].contains(given[0].0), "{found:?}");
    }
    // These change nothing about a node that is alone.
    let harmless = [("WSC_KEY_PREFIX", "chat:"), ("WSC_LEASE", "40s"), ("WSC_ON_REGISTRY_DOWN", "refuse")];
    assert!(run(&["--dev"], &harmless).unwrap().redis.is_none());
}

#[test]
fn each_form_of_redis_has_its_rules() {
    let cluster = run(&["--dev"], &[("WSC_REDIS_MODE", "cluster"), ("WSC_REDIS_URL", "redis://a:1,b")]);
    let cluster = cluster.unwrap().redis.unwrap();
    assert_eq!(cluster.mode, RedisMode::Cluster);
    assert_eq!(cluster.hosts, [("a".to_owned(), 1), ("b".to_owned(), 6379)]);
    let sentinel = [
        ("WSC_REDIS_MODE", "sentinel"),
        ("WSC_REDIS_URL", "rediss://a,b/2"),
        ("WSC_REDIS_SENTINEL_MASTER", "chat"),
    ];
    let found = run(&["--dev"], &sentinel).unwrap().redis.unwrap();
    assert_eq!((found.sentinel_master.as_str(), found.database, found.tls), ("chat", 2, true));
    assert!(found.hosts.iter().all(|(_, port)| *port == 26_379));
    assert!(problems(&["--dev"], &sentinel[..2])[0].contains("which primary the Sentinels watch"));
    let second = [("WSC_REDIS_MODE", "cluster"), ("WSC_REDIS_URL", "redis://a/1")];
    assert!(problems(&["--dev"], &second)[0].contains("only the database 0"));
}
