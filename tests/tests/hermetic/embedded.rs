//! A hub inside another program: the example of the documentation, as a process.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result};
use http::Method;
use rustix::process::Signal;
use tokio::process::Command;
use wsc_tests::{
    api_client::ApiClient,
    child_process::ChildProcess,
    program,
    ws_client::{PATIENCE, WsClient, WsRequest},
};

#[tokio::test]
async fn a_server_of_ones_own_carries_a_hub_beside_its_own_routes() -> Result<()> {
    let mut command = Command::new(program::example("embedded")?);
    command.env_clear().env("WSC_CLIENT_ADDR", "127.0.0.1:0").env("NO_COLOR", "1");
    let mut server = ChildProcess::spawn("embedded", command)?;
    let address: SocketAddr = server
        .stderr_line("the server listens", Duration::from_secs(20), |line| {
            line.split_once("listening address=").and_then(|(_, address)| address.trim().parse().ok())
        })
        .await?;
    let mut alice = WsClient::connect(address, &WsRequest::user("alice")).await?;
    let http = ApiClient::new(address, None)?;
    let result = http.request(Method::POST, "/notify/alice", Some("tea is ready".to_owned())).await?.ok()?;
    assert_eq!((&result["status"], &result["connections"]), (&"delivered".into(), &1.into()), "{result}");
    alice.expect_text("tea is ready").await?;
    let result = http.request(Method::POST, "/notify/bob", Some("?".to_owned())).await?.ok()?;
    assert_eq!(result["status"], "offline");
    let answer = http.request(Method::POST, "/notify/no%20name", Some("?".to_owned())).await?;
    assert_eq!(answer.status, 400, "{}", answer.text);
    assert_eq!(http.get("/health").await?.ok()?["websocket_count"], 1);

    server.signal(Signal::TERM)?;
    alice.expect("going_away").await?;
    alice.expect_close(1012, PATIENCE).await?;
    let status = server.exit(Duration::from_secs(10)).await?;
    assert_eq!(status.code(), Some(0), "{}", server.output());
    Ok(())
}

#[tokio::test]
async fn settings_that_cannot_work_end_it_with_every_mistake() -> Result<()> {
    let mut command = Command::new(program::example("embedded")?);
    command.env_clear().env("WSC_LEASE", "soon").env("WSC_LEASES", "30s");
    let mut server = ChildProcess::spawn("embedded", command)?;
    let status = server.exit(Duration::from_secs(10)).await?;
    assert_eq!(status.code(), Some(1));
    let said = server.stderr();
    let line = said.lines().find(|line| line.contains("Error")).context(said.clone())?;
    assert!(line.contains("WSC_LEASE (") && line.contains("WSC_LEASES: there is no such setting"), "{said}");
    Ok(())
}
