//! Redis that is away, refuses, or lost what it knew.

use std::{path::PathBuf, time::Duration};

use super::{redis_server::RedisServer, test_node::*};
use crate::{
    protocol::envelope::Kind,
    routing::ports::{BusError, DirectoryError},
};

/// A file of one test, removed with it.
struct SecretFile(PathBuf);

impl SecretFile {
    fn new(text: &str) -> Self {
        let path = std::env::temp_dir().join(format!("wsc-secret-{}", ulid::Ulid::generate()));
        std::fs::write(&path, text).unwrap();
        Self(path)
    }

    fn write(&self, text: &str) {
        std::fs::write(&self.0, text).unwrap();
    }
}

impl Drop for SecretFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[tokio::test]
async fn a_corrected_password_acts_without_a_restart() {
    let redis = RedisServer::start(&["--requirepass", "right-one"]).await;
    let file = SecretFile::new("wrong-one\n");
    let mut with_password = settings("chat-0", Some(redis.settings()));
    with_password.redis.as_mut().unwrap().password_file = Some(file.0.clone());
    let node = TestNode::start(with_password);
    eventually("the refusal is named", async || node.redis_error().starts_with("auth_failed: ")).await;
    assert!(!node.redis_error().contains("wrong-one"), "{}", node.redis_error());
    assert!(!node.registration().registered);
    let refused = node.directory.connect(record(&user("alice"))).await.unwrap_err();
    assert!(matches!(refused, DirectoryError::Unavailable(why) if why.starts_with("auth_failed: ")));
    file.write("right-one\n");
    node.wait_registered().await;
    assert_eq!(node.redis_error(), "up");
}

#[tokio::test]
async fn a_missing_password_and_a_missing_file_are_named() {
    let redis = RedisServer::start(&["--requirepass", "right-one"]).await;
    let without = TestNode::start(settings("chat-0", Some(redis.settings())));
    eventually("no password is named", async || without.redis_error().starts_with("auth_failed: ")).await;
    let mut no_file = settings("chat-1", Some(redis.settings()));
    no_file.redis.as_mut().unwrap().password_file = Some("/nonexistent/password".into());
    let no_file = TestNode::start(no_file);
    eventually("the file is named", async || no_file.redis_error().contains("/nonexistent/password")).await;
}

#[tokio::test]
async fn an_acl_user_with_the_prefix_is_enough() {
    let redis = RedisServer::start(&[]).await;
    let rules = ["ACL", "SETUSER", "hub", "on", ">pw", "~t:*", "&t:*", "+@all", "-@dangerous", "-@admin"];
    redis.command::<()>(&rules).await;
    let (name, password) = (SecretFile::new("hub"), SecretFile::new("pw"));
    let mut limited = settings("chat-0", Some(redis.settings()));
    let login = limited.redis.as_mut().unwrap();
    login.username_file = Some(name.0.clone());
    login.password_file = Some(password.0.clone());
    let node = TestNode::registered(limited).await;
    node.connect(&user("alice")).await;
    node.stop().await;
    assert_eq!(redis.command::<Vec<String>>(&["KEYS", "*"]).await, ["t:registry"]);
}

#[tokio::test]
async fn channels_that_an_acl_forbids_are_named_and_keep_the_node_out() {
    let redis = RedisServer::start(&[]).await;
    redis.command::<()>(&["ACL", "SETUSER", "hub", "on", ">pw", "~*", "resetchannels", "+@all"]).await;
    let (name, password) = (SecretFile::new("hub"), SecretFile::new("pw"));
    let mut limited = settings("chat-0", Some(redis.settings()));
    let login = limited.redis.as_mut().unwrap();
    login.username_file = Some(name.0.clone());
    login.password_file = Some(password.0.clone());
    let node = TestNode::start(limited);
    eventually("the refusal is named", async || node.redis_error().starts_with("auth_failed: ")).await;
    assert!(node.redis_error().contains("channel"), "{}", node.redis_error());
    assert!(!node.registration().registered);
}

#[tokio::test]
async fn nobody_there_is_unreachable() {
    let mut redis = RedisServer::start(&[]).await;
    redis.kill();
    let nobody = TestNode::start(settings("chat-1", Some(redis.settings())));
    eventually("nobody is named", async || {
        nobody.redis_error().starts_with("unreachable: no connection to redis at 127.0.0.1:")
    })
    .await;
}

/// Runs openssl with words separated by blanks.
fn openssl(words: &str) {
    let output = std::process::Command::new("openssl")
        .args(words.split(' '))
        .output()
        .unwrap_or_else(|e| panic!("openssl cannot be started ({e}): apt-get install openssl"));
    assert!(output.status.success(), "{words}: {}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn a_ca_that_did_not_sign_is_named_and_the_right_one_acts_without_a_restart() {
    // The process of the tests stands in for main, which installs the provider.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let files = ["ca.crt", "ca.key", "other.crt", "other.key", "server.crt", "server.key"]
        .map(|_| SecretFile::new(""));
    let [ca, ca_key, other, other_key, server, server_key] =
        files.each_ref().map(|f| f.0.display().to_string());
    let new = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2";
    openssl(&format!("{new} -subj /CN=ca -out {ca} -keyout {ca_key}"));
    openssl(&format!("{new} -subj /CN=other -out {other} -keyout {other_key}"));
    openssl(&format!(
        "{new} -subj /CN=redis -out {server} -keyout {server_key} -CA {ca} -CAkey {ca_key} \
         -addext basicConstraints=critical,CA:FALSE -addext subjectAltName=IP:127.0.0.1"
    ));
    let mut redis = vec!["--port", "0", "--tls-port", "{port}", "--tls-auth-clients", "no"];
    redis.extend(["--tls-cert-file", &server, "--tls-key-file", &server_key, "--tls-ca-cert-file", &ca]);
    let redis = RedisServer::start(&redis).await;
    let trusted = SecretFile::new(&std::fs::read_to_string(&other).unwrap());
    let mut tls = settings("chat-0", Some(redis.settings()));
    let login = tls.redis.as_mut().unwrap();
    login.tls = true;
    login.ca_file = Some(trusted.0.clone());
    let node = TestNode::start(tls);
    eventually("tls is named", async || node.redis_error().starts_with("tls: ")).await;
    trusted.write(&std::fs::read_to_string(&ca).unwrap());
    node.wait_registered().await;
    node.connect(&user("alice")).await;
}

#[tokio::test]
async fn after_a_restart_of_redis_all_is_registered_again_and_answers_again() {
    let mut redis = RedisServer::start(&[]).await;
    let a = TestNode::registered(settings("chat-0", Some(redis.settings()))).await;
    let b = TestNode::registered(settings("chat-1", Some(redis.settings()))).await;
    let (before, peer) = (a.registration(), b.instance());
    redis.kill();
    eventually("the loss is noticed", async || !a.registration().registered && !b.registration().registered)
        .await;
    assert!(a.redis_error().starts_with("unreachable: "), "{}", a.redis_error());
    let lost = a.bus.request(&peer, envelope(Kind::Deliver, 1, "alice"), SOON).await;
    assert!(matches!(lost, Err(BusError::Unavailable(_))), "{lost:?}");
    assert!(a.directory.locate(&user("alice")).await.is_err());
    redis.start_again().await;
    let back = std::time::Instant::now();
    a.wait_registered().await;
    b.wait_registered().await;
    // The pause between attempts has not grown far in a short outage; the goal after any outage is 5 s.
    assert!(back.elapsed() < Duration::from_secs(7), "{:?}", back.elapsed());
    assert!(a.registration().epoch > before.epoch);
    assert_eq!(a.directory.nodes().await.unwrap().len(), 2);
    // The connection that publishes notices within its next sign of life and its pause.
    eventually("the bus works", async || {
        a.bus.request(&b.instance(), envelope(Kind::Deliver, 2, "alice"), SOON).await.is_ok()
    })
    .await;
    assert!(back.elapsed() < Duration::from_secs(10), "{:?}", back.elapsed());
    assert_eq!(a.counters.reaped_nodes.get() + b.counters.reaped_nodes.get(), 0);
}

#[tokio::test]
async fn a_subscription_that_is_cut_is_built_again() {
    let redis = RedisServer::start(&[]).await;
    let a = TestNode::registered(settings("chat-0", Some(redis.settings()))).await;
    let b = TestNode::registered(settings("chat-1", Some(redis.settings()))).await;
    let before = b.counters.subscriptions.get();
    redis.command::<u8>(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
    eventually("it is built again", async || b.counters.subscriptions.get() > before).await;
    eventually("it brings envelopes", async || {
        let wait = Duration::from_millis(500);
        a.bus.request(&b.instance(), envelope(Kind::Deliver, 1, "alice"), wait).await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn a_write_that_failed_makes_the_epoch_rise() {
    let redis = RedisServer::start(&[]).await;
    let mut long = settings("chat-0", Some(redis.settings()));
    long.lease = Duration::from_secs(60);
    let node = TestNode::registered(long).await;
    redis.command::<()>(&["CLIENT", "PAUSE", "2600", "ALL"]).await;
    assert!(node.directory.connect(record(&user("alice"))).await.is_err());
    eventually("users are to be asserted again", async || node.registration().epoch == 2).await;
    assert!(node.registration().registered);
}
