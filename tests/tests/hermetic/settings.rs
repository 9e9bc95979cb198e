//! Settings: mistakes are listed all at once, and nothing is started with them.

use std::time::Duration;

use anyhow::{Result, ensure};
use wsc_tests::{hub_process::HubOptions, scratch_dir::ScratchDir};

const END: Duration = Duration::from_secs(10);

/// Runs the hub with these settings, which must be refused with 64, and gives what it said.
async fn refused(options: HubOptions) -> Result<String> {
    let mut process = options.spawn()?;
    let status = process.exit(END).await?;
    ensure!(status.code() == Some(64), "exit {status}: {}", process.output());
    ensure!(process.stdout().is_empty(), "nothing belongs on standard output: {}", process.stdout());
    Ok(process.stderr())
}

#[tokio::test]
async fn all_mistakes_are_listed_at_once_with_exit_64() -> Result<()> {
    let options = HubOptions::default()
        .set("WSC_NODE_ID", "Not A Label")
        .set("WSC_CLIENT_ADDR", "nowhere")
        .set("WSC_HEARTBEAT_INTERVAL", "ten seconds")
        .set("WSC_MAX_CONNECTIONS", "0")
        .set("WSC_AUTH_MODE", "magic")
        .set("WSC_REDIS_URL", "http://redis")
        .set("WSC_KEY_PREFIX", "a{b}")
        .set("WSC_API_KEYS_DIR", "/no/such/folder")
        .set("WSC_LOG_FORMAT", "xml")
        .set("WSC_EVENTS", "maybe")
        .set("WSC_DRAIN_RATE", "0");
    let said = refused(options).await?;
    for name in [
        "WSC_NODE_ID",
        "WSC_CLIENT_ADDR",
        "WSC_HEARTBEAT_INTERVAL",
        "WSC_MAX_CONNECTIONS",
        "WSC_AUTH_MODE",
        "WSC_REDIS_URL",
        "WSC_KEY_PREFIX",
        "WSC_API_KEYS_DIR",
        "WSC_LOG_FORMAT",
        "WSC_EVENTS",
        "WSC_DRAIN_RATE",
    ] {
        assert!(said.contains(name), "{name} is not named in:\n{said}");
    }
    Ok(())
}

#[tokio::test]
async fn each_wrong_setting_is_named_with_what_to_change() -> Result<()> {
    let trusted = || HubOptions::node("n").set("WSC_AUTH_MODE", "trusted");
    let cases: Vec<(HubOptions, &str, &str)> = vec![
        (HubOptions::node("n"), "WSC_AUTH_KEYS_DIR", "--dev"),
        (trusted().set("WSC_LEASE", "20s"), "WSC_LEASE", "heartbeat"),
        (trusted().set("WSC_LEASE", "61s"), "WSC_LEASE", "60s"),
        (trusted().set("WSC_REDIS_MODE", "ring"), "WSC_REDIS_MODE", "ring"),
        (trusted().set("WSC_REDIS_MODE", "cluster"), "WSC_REDIS_URL", "WSC_REDIS_MODE is set"),
        (trusted().set("WSC_OWNER", "team-a"), "WSC_REDIS_URL", "WSC_OWNER is set"),
        (HubOptions::node("n").set("WSC_AUTH_MODE", "proxy"), "WSC_TRUSTED_PROXIES", "WSC_PROXY_USER_HEADER"),
        (
            trusted().set("WSC_REDIS_URL", "redis://127.0.0.1:1").set("WSC_REDIS_PASSWORD_FILE", "/no/file"),
            "WSC_REDIS_PASSWORD_FILE",
            "/no/file",
        ),
        (trusted().set("WSC_PING_INTERVAL", "1ns"), "WSC_PING_INTERVAL", "1ns"),
        (trusted().set("WSC_LOG", "loud"), "WSC_LOG", "loud"),
        (trusted().set("WSC_ALLOWED_ORIGINS", "not an origin"), "WSC_ALLOWED_ORIGINS", "not an origin"),
        (trusted().flag("--no-such-flag"), "--no-such-flag", ""),
        (trusted().flag("--max-connections=many"), "max-connections", "many"),
    ];
    for (options, name, word) in cases {
        let said = refused(options.clone()).await.map_err(|error| error.context(format!("{options:?}")))?;
        assert!(
            said.to_lowercase().contains(&name.to_lowercase()) && said.contains(word),
            "{name}, {word:?} not in:\n{said}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn key_files_that_cannot_be_used_stop_the_start_and_are_all_named() -> Result<()> {
    let folder = ScratchDir::new("bad-keys")?;
    folder.write("tokens/short.key", "too-short-to-be-safe")?;
    folder.write("tokens/rsa.pem", "-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n")?;
    folder.write("tokens/jwks.json", r#"{"keys":[{"kty":"oct","k":"c2VjcmV0LXNlY3JldA","kid":"s1"}]}"#)?;
    folder.write("api/admin", "too-short-a-key")?;
    let options = HubOptions::node("n")
        .set_path("WSC_AUTH_KEYS_DIR", &folder.path().join("tokens"))
        .set_path("WSC_API_KEYS_DIR", &folder.path().join("api"));
    let said = refused(options).await?;
    for (name, word) in
        [("short.key", "32"), ("rsa.pem", "public key"), ("jwks.json", "kty oct"), ("admin", "24")]
    {
        let line = said.lines().find(|line| line.contains(name));
        assert!(line.is_some_and(|line| line.contains(word)), "{name} with {word} is not in:\n{said}");
    }
    for secret in ["too-short-to-be-safe", "c2VjcmV0LXNlY3JldA", "too-short-a-key"] {
        assert!(!said.contains(secret), "a key is shown: {said}");
    }
    let empty = ScratchDir::new("no-keys")?;
    let said = refused(HubOptions::node("n").set_path("WSC_AUTH_KEYS_DIR", empty.path())).await?;
    assert!(said.contains("no-keys") && said.contains(".key"), "{said}");
    Ok(())
}

#[tokio::test]
async fn a_password_in_the_redis_url_is_refused_or_never_shown() -> Result<()> {
    let options = HubOptions::node("n")
        .set("WSC_AUTH_MODE", "trusted")
        .set("WSC_LEASE", "1h")
        .set("WSC_REDIS_URL", "redis://user:hunter2-hunter2@127.0.0.1:1");
    let said = refused(options).await?;
    assert!(!said.contains("hunter2"), "{said}");
    Ok(())
}

#[tokio::test]
async fn a_flag_wins_over_its_variable() -> Result<()> {
    let options =
        HubOptions::node("from-variable").set("WSC_AUTH_MODE", "trusted").flag("--node-id=from-flag");
    let hub = wsc_tests::hub_process::HubProcess::ready(&options).await?;
    assert_eq!(hub.connect("alice").await?.node(), "from-flag");
    Ok(())
}

#[tokio::test]
async fn variables_that_kubernetes_injects_for_services_do_no_harm() -> Result<()> {
    let options = HubOptions::node("n")
        .set("WSC_AUTH_MODE", "trusted")
        .set("WSC_PORT", "tcp://10.0.0.1:80")
        .set("WSC_SERVICE_HOST", "10.0.0.1")
        .set("WSC_API_SERVICE_PORT", "8081");
    wsc_tests::hub_process::HubProcess::ready(&options).await?;
    Ok(())
}

#[tokio::test]
async fn help_lists_every_setting_with_its_default_and_version_tells_the_release() -> Result<()> {
    let mut help = HubOptions::default().flag("--help").spawn()?;
    assert_eq!(help.exit(END).await?.code(), Some(0));
    let text = help.stdout();
    for name in [
        "WSC_NODE_ID",
        "WSC_NODE_IP",
        "WSC_POD_UID",
        "WSC_ZONE",
        "WSC_CLIENT_ADDR",
        "WSC_API_ADDR",
        "WSC_REDIS_URL",
        "WSC_REDIS_USERNAME_FILE",
        "WSC_REDIS_PASSWORD_FILE",
        "WSC_REDIS_CA_FILE",
        "WSC_KEY_PREFIX",
        "WSC_OWNER",
        "WSC_AUTH_MODE",
        "WSC_AUTH_KEYS_DIR",
        "WSC_TOKEN_ISSUER",
        "WSC_TOKEN_AUDIENCE",
        "WSC_API_KEYS_DIR",
        "WSC_CLIENT_SEND",
        "WSC_ALLOWED_ORIGINS",
        "WSC_HEARTBEAT_INTERVAL",
        "WSC_LEASE",
        "WSC_PING_INTERVAL",
        "WSC_MAX_CONNECTIONS",
        "WSC_MAX_MESSAGE_BYTES",
        "WSC_OUTBOUND_QUEUE_BYTES",
        "WSC_MESSAGE_BUFFER_SIZE",
        "WSC_HANDSHAKE_TIMEOUT",
        "WSC_HOT_SETTINGS_FILE",
        "WSC_QUEUE_MEMORY",
        "WSC_CLIENT_RATE",
        "WSC_CLIENT_IN_FLIGHT",
        "WSC_MAX_CONNECTIONS_PER_ADDRESS",
        "WSC_ACCEPT_RATE",
        "WSC_RETRY_AFTER_MAX",
        "WSC_GRACE",
        "WSC_LOG",
        "WSC_LOG_FORMAT",
    ] {
        assert!(text.contains(name), "{name} is missing in --help");
        let flag = format!("--{}", name.trim_start_matches("WSC_").to_lowercase().replace('_', "-"));
        assert!(text.contains(&flag), "{flag} is missing in --help");
    }
    for default in
        ["0.0.0.0:8080", "0.0.0.0:8081", "50000", "65536", "262144", "1024", "110s", "25 %", "2000"]
    {
        assert!(text.contains(default), "the default {default} is missing in --help");
    }
    assert!(text.contains("--dev"));
    let mut version = HubOptions::default().flag("--version").spawn()?;
    assert_eq!(version.exit(END).await?.code(), Some(0));
    assert_eq!(version.stdout().trim(), format!("wsc-hub {}", env!("CARGO_PKG_VERSION")));
    Ok(())
}

#[tokio::test]
async fn a_port_that_is_taken_is_said_plainly() -> Result<()> {
    let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?.to_string();
    let options = HubOptions::node("n").set("WSC_AUTH_MODE", "trusted").set("WSC_API_ADDR", &address);
    let mut process = options.spawn()?;
    let status = process.exit(END).await?;
    assert!(status.code().is_some_and(|code| code != 0), "{status}");
    assert!(
        process.stderr().contains(&address) || process.stdout().contains(&address),
        "{}",
        process.output()
    );
    assert!(!process.output().contains("panicked"), "{}", process.output());
    Ok(())
}
