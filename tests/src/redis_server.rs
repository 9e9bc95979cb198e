//! A real `redis-server` on a free port of the loopback interface.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use redis::{AsyncConnectionConfig, Client, IntoConnectionInfo as _, aio::MultiplexedConnection};
use rustix::process::Signal;
use tokio::process::Command;

use crate::{
    child_process::ChildProcess,
    program,
    scratch_dir::ScratchDir,
    wait::{Look, eventually},
};

/// How a server is to be started.
#[derive(Debug, Clone, Default)]
pub struct RedisOptions {
    password: Option<String>,
    tls: bool,
    /// Folder of the certificates of one that speaks TLS beside its plain port.
    tls_beside: Option<PathBuf>,
    config: Vec<String>,
}

impl RedisOptions {
    /// Asks the default user for a password.
    #[must_use]
    pub fn password(mut self, password: &str) -> Self {
        self.password = Some(password.to_owned());
        self
    }

    /// Speaks TLS only, with a certificate of an authority made for this server.
    #[must_use]
    pub fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// Speaks TLS on a second port, with the certificates of [`make_certificates`] in `folder`; servers speak TLS with each
    /// other.
    #[must_use]
    pub fn tls_beside(mut self, folder: &Path) -> Self {
        self.tls_beside = Some(folder.to_owned());
        self
    }

    /// Adds a line of configuration, such as `user app on >secret ~* &* +@all`.
    #[must_use]
    pub fn config(mut self, line: &str) -> Self {
        self.config.push(line.to_owned());
        self
    }
}

/// A running server. Dropping it kills the server and removes its data.
#[derive(Debug)]
pub struct RedisServer {
    process: Option<ChildProcess>,
    options: RedisOptions,
    port: u16,
    tls_port: Option<u16>,
    folder: ScratchDir,
}

impl RedisServer {
    /// Starts a server that keeps nothing on disk.
    ///
    /// # Errors
    /// When `redis-server` is missing (with how to install it) or does not answer within 10 s.
    pub async fn start(options: RedisOptions) -> Result<Self> {
        program::installed("redis-server", "redis-server")?;
        let mut folder = ScratchDir::new("redis")?;
        if options.tls {
            make_certificates(folder.path()).await?;
        }
        // Another process may take the port between the probe and the start, so a few are tried.
        let mut last = None;
        for _ in 0..5 {
            let free = || Ok::<_, anyhow::Error>(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port());
            let port = free()?;
            let tls_port = if options.tls_beside.is_some() { Some(free()?) } else { None };
            let mut server = Self { process: None, options: options.clone(), port, tls_port, folder };
            match server.run().await {
                Ok(()) => return Ok(server),
                Err(error) => last = Some(error),
            }
            folder = server.folder;
        }
        Err(last.context("no attempt was made")?)
    }

    /// Sends a signal, such as the one that stops it for a while.
    ///
    /// # Errors
    /// When it does not run.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.process.as_ref().context("redis-server does not run")?.signal(signal)
    }

    /// Its port on loopback.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Runs one command, given as words, on a connection of its own.
    ///
    /// # Errors
    /// When the server cannot be reached or refuses.
    pub async fn command<T: redis::FromRedisValue>(&self, words: &str) -> Result<T> {
        let mut words = words.split(' ');
        let mut command = redis::cmd(words.next().context("no command")?);
        for word in words {
            command.arg(word);
        }
        Ok(command.query_async(&mut self.connection().await?).await?)
    }

    /// Starts it again on the same port after [`RedisServer::kill`], with no data.
    ///
    /// # Errors
    /// When it does not answer within 10 s.
    pub async fn run(&mut self) -> Result<()> {
        let config = self.folder.write("redis.conf", &self.config_text())?;
        let mut command = Command::new(program::installed("redis-server", "redis-server")?);
        command.arg(config).current_dir(self.folder.path());
        let process = self.process.insert(ChildProcess::spawn("redis-server", command)?);
        let wanted = |line: &str| line.contains("Ready to accept connections").then_some(());
        process.stdout_line("redis accepts connections", Duration::from_secs(10), wanted).await
    }

    /// Ends it at once, as a crash would.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn kill(&mut self) -> Result<()> {
        match self.process.take() {
            Some(mut process) => process.kill().await,
            None => bail!("redis-server does not run"),
        }
    }

    fn config_text(&self) -> String {
        let mut lines = vec![
            "bind 127.0.0.1".to_owned(),
            "save \"\"".to_owned(),
            "appendonly no".to_owned(),
            "daemonize no".to_owned(),
            "maxmemory-policy noeviction".to_owned(),
        ];
        if self.options.tls {
            lines.push(format!("port 0\ntls-port {}", self.port));
            lines.push(
                "tls-cert-file server.crt\ntls-key-file server.key\ntls-ca-cert-file ca.crt".to_owned(),
            );
            lines.push("tls-auth-clients no".to_owned());
        } else {
            lines.push(format!("port {}", self.port));
        }
        if let (Some(port), Some(folder)) = (self.tls_port, &self.options.tls_beside) {
            let folder = folder.display();
            lines.push(format!("tls-port {port}\ntls-auth-clients no\ntls-replication yes\ntls-cluster yes"));
            lines.push(format!("tls-cert-file {folder}/server.crt\ntls-key-file {folder}/server.key"));
            lines.push(format!("tls-ca-cert-file {folder}/ca.crt"));
        }
        lines.extend(self.options.password.iter().map(|password| format!("requirepass {password}")));
        lines.extend(self.options.config.iter().cloned());
        lines.join("\n") + "\n"
    }

    /// The file with a given name in the server's own folder, such as `server.crt` of one that speaks TLS.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `redis`, or `rediss` for one that speaks TLS.
    #[must_use]
    pub fn scheme(&self) -> &'static str {
        if self.options.tls || self.tls_port.is_some() { "rediss" } else { "redis" }
    }

    /// The port for hubs: that of TLS, where it is spoken.
    #[must_use]
    pub fn hub_port(&self) -> u16 {
        self.tls_port.unwrap_or(self.port)
    }

    /// The address for `WSC_REDIS_URL`, without credentials.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}://127.0.0.1:{}", self.scheme(), self.hub_port())
    }

    /// The certificate of the authority, when started with [`RedisOptions::tls`].
    #[must_use]
    pub fn ca_file(&self) -> PathBuf {
        self.folder.path().join("ca.crt")
    }

    /// A connection of the test's own.
    ///
    /// # Errors
    /// When the server cannot be reached, or speaks TLS (tests look into plain servers only).
    pub async fn connection(&self) -> Result<MultiplexedConnection> {
        let password = self.options.password.as_deref().map_or(String::new(), |p| format!(":{p}@"));
        let info = format!("redis://{password}127.0.0.1:{}", self.port).into_connection_info()?;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(Duration::from_secs(2)))
            .set_response_timeout(Some(Duration::from_secs(5)));
        let client = Client::open(info)?;
        client
            .get_multiplexed_async_connection_with_config(&config)
            .await
            .context("cannot reach redis-server")
    }

    /// All keys that match a glob pattern, sorted.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub async fn keys(&self, pattern: &str) -> Result<Vec<String>> {
        let mut keys: Vec<String> =
            redis::cmd("KEYS").arg(pattern).query_async(&mut self.connection().await?).await?;
        keys.sort();
        Ok(keys)
    }

    /// Waits until no key matches a glob pattern.
    ///
    /// # Errors
    /// After `within`, with the keys that are left.
    pub async fn no_key(&self, pattern: &str, within: Duration) -> Result<()> {
        eventually(&format!("no key matches {pattern}"), within, async || {
            let keys = self.keys(pattern).await?;
            Ok(Look::when(keys.is_empty(), (), format!("{keys:?}")))
        })
        .await
    }
}

/// Makes an authority and a certificate of it for 127.0.0.1: `ca.crt`, `server.crt`, `server.key`.
///
/// # Errors
/// When `openssl` is missing or fails.
pub async fn make_certificates(folder: &Path) -> Result<()> {
    let openssl = program::installed("openssl", "openssl")?;
    std::fs::write(folder.join("san.cnf"), "subjectAltName=IP:127.0.0.1,DNS:localhost\n")?;
    let key = "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj";
    let steps = [
        format!("{key} /CN=wsc-tests-ca -x509 -days 2 -keyout ca.key -out ca.crt"),
        format!("{key} /CN=localhost -keyout server.key -out server.csr"),
        "x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile san.cnf -out server.crt".into(),
    ];
    for step in steps {
        let output = Command::new(&openssl)
            .args(step.split(' '))
            .current_dir(folder)
            .stdin(Stdio::null())
            .output()
            .await?;
        if !output.status.success() {
            bail!("openssl {step}: {}", String::from_utf8_lossy(&output.stderr));
        }
    }
    Ok(())
}
