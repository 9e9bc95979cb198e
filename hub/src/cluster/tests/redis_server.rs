//! A Redis of one test.

use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::cluster::{RedisMode, RedisSettings};

/// A child process that ends with the test.
pub(super) struct RedisServer {
    port: u16,
    arguments: Vec<String>,
    child: Option<Child>,
}

impl RedisServer {
    /// `{port}` in an argument stands for the port.
    pub(super) async fn start(arguments: &[&str]) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let arguments = arguments.iter().map(|a| a.replace("{port}", &port.to_string())).collect();
        let mut server = Self { port, arguments, child: None };
        server.start_again().await;
        server
    }

    pub(super) async fn start_again(&mut self) {
        let child = Command::new("redis-server")
            .args([
                "--port",
                &self.port.to_string(),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--appendonly",
                "no",
            ])
            .args(&self.arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|e| panic!("redis-server cannot be started ({e}): apt-get install redis-server"));
        self.child = Some(child);
        let deadline = Instant::now() + Duration::from_secs(10);
        while tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await.is_err() {
            assert!(Instant::now() < deadline, "redis-server does not listen on {}", self.port);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Ends the process without a farewell.
    pub(super) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// For clients of the test's own.
    pub(super) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(super) fn settings(&self) -> RedisSettings {
        RedisSettings {
            mode: RedisMode::Standalone,
            tls: false,
            hosts: vec![("127.0.0.1".to_owned(), self.port)],
            database: 0,
            username_file: None,
            password_file: None,
            ca_file: None,
            cert_file: None,
            key_file: None,
        }
    }

    /// Runs one command on a connection of its own.
    pub(super) async fn command<T: redis::FromRedisValue>(&self, words: &[&str]) -> T {
        self.bytes_command(words, &[]).await
    }

    /// Like [`RedisServer::command`], with one more argument of any bytes.
    pub(super) async fn bytes_command<T: redis::FromRedisValue>(&self, words: &[&str], last: &[u8]) -> T {
        let client = redis::Client::open(self.url()).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        let mut command = redis::cmd(words[0]);
        for word in &words[1..] {
            command.arg(*word);
        }
        if !last.is_empty() {
            command.arg(last);
        }
        command.query_async(&mut connection).await.unwrap()
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}
