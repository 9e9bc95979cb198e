//! The chat page at `/`: with `--dev` only, from the program itself, and nothing from elsewhere.

use anyhow::Result;
use http::Method;
use wsc_tests::{
    hub_process::{HubOptions, HubProcess},
    lone_hub::LoneHub,
    ws_client::{Upgrade, WsClient, WsRequest},
};

const FILES: [(&str, &str); 4] = [
    ("/", "text/html; charset=utf-8"),
    ("/chat.css", "text/css; charset=utf-8"),
    ("/chat.js", "text/javascript; charset=utf-8"),
    ("/wsc-client.min.js", "text/javascript; charset=utf-8"),
];

async fn dev() -> Result<HubProcess> {
    let options = HubOptions::default().flag("--dev");
    let options = options.set("WSC_CLIENT_ADDR", "127.0.0.1:0").set("WSC_API_ADDR", "127.0.0.1:0");
    HubProcess::ready(&options).await
}

#[tokio::test]
async fn with_dev_it_is_served_under_a_policy_that_lets_nothing_else_in_and_its_address_is_printed()
-> Result<()> {
    let hub = dev().await?;
    for (path, content_type) in FILES {
        let answer = hub.client_http()?.get(path).await?;
        assert_eq!((answer.status.as_u16(), answer.headers["content-type"].to_str()?), (200, content_type));
        assert!(answer.text.len() > 500, "{path}: {}", answer.text);
        let policy = answer.headers["content-security-policy"].to_str()?;
        assert!(policy.starts_with("default-src 'none';") && !policy.contains("unsafe"), "{policy}");
        assert_eq!(answer.headers["x-content-type-options"], "nosniff");
    }
    let page = hub.client_http()?.get("/").await?.text;
    assert!(!page.contains("http:") && !page.contains("https:") && !page.contains("//"), "{page}");
    let posted = hub.client_http()?.request(Method::POST, "/", None).await?;
    assert_eq!(posted.status.as_u16(), 405);
    hub.api("dev-only-key-do-not-use-in-production")?.get("/").await?.problem(404, "not_found")?;
    let output = hub.output();
    assert!(output.contains(&format!("http://{}/", hub.client)), "{output}");
    Ok(())
}

#[tokio::test]
async fn without_dev_there_is_no_such_path() -> Result<()> {
    let lone = LoneHub::trusted(|options| options).await?;
    for (path, _) in FILES {
        lone.hub.client_http()?.get(path).await?.problem(404, "not_found")?;
    }
    Ok(())
}

#[tokio::test]
async fn its_own_origin_may_connect_and_another_may_not() -> Result<()> {
    let hub = dev().await?;
    let from = |origin: String| WsRequest::user("alice").header("origin", &origin);
    WsClient::connect(hub.client, &from(format!("http://{}", hub.client))).await?;
    match WsClient::upgrade(hub.client, &from("http://example.org".to_owned())).await? {
        Upgrade::Refused(answer) => {
            answer.problem(403, "origin_not_allowed")?;
        }
        Upgrade::Open(_) => panic!("a page of another origin was let in"),
    }
    Ok(())
}
