//! Mode proxy, and whom a trusted proxy may speak for.

use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use serde_json::json;
use tokio::net::TcpSocket;
use wsc_tests::{
    hub_process::HubOptions,
    lone_hub::{LoneHub, TOKEN_SECRET},
    tokens,
    ws_client::{Upgrade, WsClient, WsRequest},
};

const PROXY: &str = "127.0.0.1";
const STRANGER: &str = "127.0.0.2";

/// Asks for an upgrade from an address of one's own.
async fn upgrade_from(source: &str, hub: SocketAddr, request: &WsRequest) -> Result<Upgrade> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(format!("{source}:0").parse()?)?;
    let tcp = socket.connect(hub).await.context("TCP connect")?;
    WsClient::upgrade_over(Box::new(tcp), &hub.to_string(), request).await
}

fn behind_a_proxy(options: HubOptions) -> HubOptions {
    options
        .set("WSC_AUTH_MODE", "proxy")
        .set("WSC_PROXY_USER_HEADER", "X-Forwarded-User")
        .set("WSC_TRUSTED_PROXIES", "127.0.0.1, 10.0.0.0/8, 2001:db8::/32")
}

fn named(user: &str) -> WsRequest {
    WsRequest::new("/ws").header("X-Forwarded-User", user)
}

#[tokio::test]
async fn the_user_comes_from_the_one_header_of_a_trusted_proxy_and_from_nowhere_else() -> Result<()> {
    let lone = LoneHub::trusted(behind_a_proxy).await?;
    let hub = lone.hub.client;
    let mut alice = WsClient::connect(hub, &named("alice").header("X-Client-ID", "phone")).await?;
    assert_eq!((&alice.welcome["user_id"], &alice.welcome["client_id"]), (&json!("alice"), &json!("phone")));
    WsClient::connect(hub, &named("alice").header("X-User-ID", "alice")).await?;

    let token = tokens::mint(None, TOKEN_SECRET, "alice")?;
    let at = |target: &str| WsRequest::new(target).header("X-Forwarded-User", "alice");
    let cases = [
        ("no user", WsRequest::new("/ws"), 401, "invalid_token"),
        ("an empty user", named(""), 401, "invalid_token"),
        ("only another header", WsRequest::new("/ws").header("X-User-ID", "alice"), 401, "invalid_token"),
        ("only a token", WsRequest::token(&token), 401, "invalid_token"),
        ("another header too", named("alice").header("X-User-ID", "eve"), 400, "bad_request"),
        ("the header twice", named("alice").header("X-Forwarded-User", "eve"), 400, "bad_request"),
        ("the same twice", named("alice").header("X-Forwarded-User", "alice"), 400, "bad_request"),
        ("a list", named("alice, eve"), 400, "invalid_user_id"),
        ("a bad name", named("@backend"), 400, "invalid_user_id"),
        ("the query", at("/ws?user_id=eve"), 400, "bad_request"),
        ("the same in the query", at("/ws?user_id=alice"), 400, "bad_request"),
        ("an empty query", at("/ws?user_id="), 400, "bad_request"),
        ("only the query", WsRequest::user("alice"), 400, "bad_request"),
    ];
    for (what, request, status, code) in cases {
        let answer = WsClient::refused(hub, &request).await.context(what)?;
        answer.problem(status, code).map_err(|error| error.context(what))?;
    }
    match upgrade_from(STRANGER, hub, &named("alice")).await? {
        Upgrade::Refused(answer) => {
            let detail = answer.problem(403, "not_permitted")?;
            assert!(detail.contains("trusted proxy"), "{detail}");
        }
        Upgrade::Open(_) => anyhow::bail!("whoever reaches the port may name any user"),
    }
    // No token, so nothing is granted, and there is none to renew.
    alice.send(&json!({"receiver": "bob", "content": "x", "message_id": "m"})).await?;
    alice.expect_error("not_permitted").await?;
    alice.send(&json!({"message_type": "auth", "data": {"token": token}, "message_id": "a"})).await?;
    alice.expect_error("not_permitted").await?;
    alice.expect_nothing().await
}

#[tokio::test]
async fn what_proxied_clients_may_send_can_be_set() -> Result<()> {
    let lone = LoneHub::trusted(|options| behind_a_proxy(options).set("WSC_CLIENT_SEND", "users")).await?;
    let mut bob = WsClient::connect(lone.hub.client, &named("bob")).await?;
    let mut alice = WsClient::connect(lone.hub.client, &named("alice")).await?;
    assert_eq!(alice.send_to("bob", "hi").await?, "delivered");
    assert_eq!(bob.expect_text("hi").await?["sender"], "alice");
    Ok(())
}

#[tokio::test]
async fn x_user_id_is_the_proxys_word_where_it_is_the_configured_header() -> Result<()> {
    let lone =
        LoneHub::trusted(|options| behind_a_proxy(options).set("WSC_PROXY_USER_HEADER", "x-user-id")).await?;
    let request = WsRequest::new("/ws").header("X-User-ID", "alice");
    let client = WsClient::connect(lone.hub.client, &request).await?;
    assert_eq!(client.welcome["user_id"], "alice");
    let twice = request.header("X-User-ID", "alice");
    WsClient::refused(lone.hub.client, &twice).await?.problem(400, "bad_request")?;
    Ok(())
}

#[tokio::test]
async fn the_clients_address_is_the_peers_or_what_a_trusted_proxy_wrote() -> Result<()> {
    let lone = LoneHub::trusted(|options| options.set("WSC_TRUSTED_PROXIES", "127.0.0.1,10.0.0.0/8")).await?;
    let api = lone.api()?;
    // User, source of the socket, lines of X-Forwarded-For, the address, and whether a port follows it.
    let cases: [(&str, &str, &[&str], &str, bool); 9] = [
        ("plain", PROXY, &[], "127.0.0.1", true),
        ("stranger", STRANGER, &["198.51.100.7"], "127.0.0.2", true),
        ("one", PROXY, &["198.51.100.7"], "198.51.100.7", false),
        ("spoofed", PROXY, &["1.1.1.1, 198.51.100.7, 10.1.1.1"], "198.51.100.7", false),
        ("lines", PROXY, &["1.1.1.1", "198.51.100.7", "10.1.1.1"], "198.51.100.7", false),
        ("port", PROXY, &["198.51.100.7:4711"], "198.51.100.7:4711", false),
        ("v6", PROXY, &["[2001:db8::7]:4711"], "[2001:db8::7]:4711", false),
        ("garbage", PROXY, &["198.51.100.7, <script>, 10.1.1.1"], "10.1.1.1", false),
        ("inside", PROXY, &["10.2.2.2, 10.1.1.1"], "10.2.2.2", false),
    ];
    for (user, source, lines, expected, with_port) in cases {
        let request =
            lines.iter().fold(WsRequest::user(user), |request, line| request.header("X-Forwarded-For", line));
        let client = WsClient::welcomed(upgrade_from(source, lone.hub.client, &request).await?).await?;
        let located = api.user(user).await?;
        let address = located["connections"][0]["remote_address"].as_str().unwrap_or_default().to_owned();
        let matches = match with_port {
            true => address.strip_prefix(expected).is_some_and(|rest| rest.starts_with(':')),
            false => address == expected,
        };
        assert!(matches, "{user}: {address}, expected {expected}");
        client.close().await?;
    }
    let untrusting = LoneHub::trusted(|options| options).await?;
    let request = WsRequest::user("alice").header("X-Forwarded-For", "198.51.100.7");
    let _alice = WsClient::connect(untrusting.hub.client, &request).await?;
    let located = untrusting.api()?.user("alice").await?;
    let address = located["connections"][0]["remote_address"].as_str().unwrap_or_default().to_owned();
    assert!(address.starts_with("127.0.0.1:"), "nobody is trusted unasked: {address}");
    Ok(())
}
