//! `wsc-hub --dev`: everything at hand, on loopback only.

use std::time::Duration;

use anyhow::Result;
use http::Method;
use wsc_tests::{
    hub_process::{HubOptions, HubProcess},
    ws_client::{WsClient, WsRequest},
};

const DEV_KEY: &str = "dev-only-key-do-not-use-in-production";

fn dev() -> HubOptions {
    HubOptions::default()
        .flag("--dev")
        .set("WSC_CLIENT_ADDR", "127.0.0.1:0")
        .set("WSC_API_ADDR", "127.0.0.1:0")
}

#[tokio::test]
async fn it_takes_clients_and_calls_at_once_and_prints_what_to_try() -> Result<()> {
    let hub = HubProcess::ready(&dev()).await?;
    let mut alice = hub.connect("alice").await?;
    let mut bob = hub.connect("bob").await?;
    assert_eq!(alice.send_to("bob", "hi").await?, "delivered");
    bob.expect_text("hi").await?;
    let api = hub.api(DEV_KEY)?;
    assert_eq!(api.send("alice", "from the backend").await?["status"], "delivered");
    alice.expect_text("from the backend").await?;
    api.get("/admin/status").await?.ok()?;
    let output = hub.output();
    assert!(output.contains("curl") && output.contains("/ws?user_id="), "{output}");
    assert!(output.contains(&hub.api.to_string()) && output.contains(&hub.client.to_string()), "{output}");
    Ok(())
}

#[tokio::test]
async fn its_key_opens_no_other_hub() -> Result<()> {
    let lone = wsc_tests::lone_hub::LoneHub::trusted(|options| options).await?;
    lone.hub.api(DEV_KEY)?.get("/nodes").await?.problem(401, "invalid_token")?;
    Ok(())
}

#[tokio::test]
async fn hosts_that_are_not_loopback_are_refused() -> Result<()> {
    let hub = HubProcess::ready(&dev()).await?;
    // A page that rebinds its name to 127.0.0.1 still sends its own name.
    let foreign = tokio::net::TcpStream::connect(hub.client).await?;
    match WsClient::upgrade_over(Box::new(foreign), "rebound.example", &WsRequest::user("alice")).await? {
        wsc_tests::ws_client::Upgrade::Refused(answer) => {
            assert!(answer.status.is_client_error(), "{} {}", answer.status, answer.text);
            assert_eq!(answer.headers["content-type"], "application/problem+json");
        }
        wsc_tests::ws_client::Upgrade::Open(_) => panic!("a foreign Host was accepted"),
    }
    let local = tokio::net::TcpStream::connect(hub.client).await?;
    let host = format!("localhost:{}", hub.client.port());
    WsClient::welcomed(WsClient::upgrade_over(Box::new(local), &host, &WsRequest::user("alice")).await?)
        .await?;
    let api = hub.api(DEV_KEY)?;
    assert_eq!(api.request(Method::GET, "/nodes", None).await?.status, 200);
    Ok(())
}

#[tokio::test]
async fn addresses_that_are_not_loopback_are_refused() -> Result<()> {
    for (name, address) in [("WSC_CLIENT_ADDR", "0.0.0.0:0"), ("WSC_API_ADDR", "192.0.2.1:0")] {
        let mut process = dev().set(name, address).spawn()?;
        assert_eq!(process.exit(Duration::from_secs(10)).await?.code(), Some(64), "{}", process.output());
        assert!(process.stderr().contains(name), "{}", process.stderr());
    }
    Ok(())
}
