//! Upgrades in mode trusted: what is accepted, and with which words the rest is refused.

use anyhow::Result;
use wsc_tests::{
    lone_hub::LoneHub,
    ws_client::{WsClient, WsRequest},
};

#[tokio::test]
async fn the_user_comes_by_query_or_header() -> Result<()> {
    let lone = LoneHub::trusted(|options| options).await?;
    let by_header = WsRequest::new("/ws").header("X-User-ID", "carol").header("X-Client-ID", "tablet");
    let carol = WsClient::connect(lone.hub.client, &by_header).await?;
    assert_eq!((&carol.welcome["user_id"], &carol.welcome["client_id"]), (&"carol".into(), &"tablet".into()));
    let twice_the_same = WsRequest::user("dave").header("X-User-ID", "dave");
    assert_eq!(WsClient::connect(lone.hub.client, &twice_the_same).await?.welcome["user_id"], "dave");
    let encoded = WsRequest::new("/ws?user_id=e%40x.org%3A1");
    assert_eq!(WsClient::connect(lone.hub.client, &encoded).await?.welcome["user_id"], "e@x.org:1");
    Ok(())
}

#[tokio::test]
async fn bad_input_is_refused_before_the_upgrade() -> Result<()> {
    let lone = LoneHub::trusted(|options| options).await?;
    let long = "x".repeat(129);
    let cases = [
        (WsRequest::new("/ws"), "invalid_user_id", "user_id is missing"),
        (WsRequest::new("/ws?user_id="), "invalid_user_id", "empty"),
        (WsRequest::new("/ws?user_id=a%20b"), "invalid_user_id", "' '"),
        (WsRequest::new("/ws?user_id=@backend"), "invalid_user_id", "@"),
        (WsRequest::new("/ws?user_id=%7Balice%7D"), "invalid_user_id", "'{'"),
        (WsRequest::new("/ws?user_id=%ff%fe"), "", ""),
        (WsRequest::new(&format!("/ws?user_id={long}")), "invalid_user_id", "128"),
        (WsRequest::user("a").header("X-User-ID", "b"), "bad_request", "user"),
        (WsRequest::new("/ws?user_id=a&user_id=b"), "bad_request", "user_id"),
        (WsRequest::new("/ws?user_id=a&client_id=x%20y"), "bad_request", "client"),
        (WsRequest::new("/ws?user_id=a&client_id=x").header("X-Client-ID", "y"), "bad_request", "client"),
        (WsRequest::new("/ws?user_id=a&groups=a%7Db"), "bad_request", "group contains '}'"),
        (
            WsRequest::new("/ws?user_id=a&client_id=x&offset=1-1"),
            "bad_request",
            "offset: an offset looks like",
        ),
        (WsRequest::new("/ws?user_id=a&offset=1:1-1"), "bad_request", "offset needs a client_id"),
    ];
    for (request, code, word) in cases {
        let answer = WsClient::refused(lone.hub.client, &request).await?;
        if code.is_empty() {
            assert_eq!(answer.status, 400, "{request:?}: {}", answer.text);
            continue;
        }
        let detail = answer.problem(400, code).map_err(|error| error.context(format!("{request:?}")))?;
        assert!(detail.contains(word), "{request:?}: {detail}");
    }
    lone.hub.connect("alice").await?;
    Ok(())
}

#[tokio::test]
async fn a_request_that_is_no_upgrade_gets_a_problem_document() -> Result<()> {
    let lone = LoneHub::trusted(|options| options).await?;
    let answer = lone.hub.client_http()?.get("/ws?user_id=alice").await?;
    assert!(answer.status.is_client_error(), "{}", answer.status);
    assert!(answer.problem(answer.status.as_u16(), "bad_request")?.to_lowercase().contains("websocket"));
    Ok(())
}

#[tokio::test]
async fn a_page_of_a_foreign_origin_is_refused() -> Result<()> {
    let lone = LoneHub::trusted(|options| {
        options.set("WSC_ALLOWED_ORIGINS", "https://app.example.org,https://other.example.org")
    })
    .await?;
    let own = format!("http://{}", lone.hub.client);
    for origin in
        ["https://evil.example", "null", "https://app.example.org.evil.example", "http://app.example.org"]
    {
        let answer =
            WsClient::refused(lone.hub.client, &WsRequest::user("a").header("Origin", origin)).await?;
        answer.problem(403, "origin_not_allowed").map_err(|error| error.context(origin))?;
    }
    for origin in ["https://app.example.org", "https://other.example.org", own.as_str()] {
        WsClient::connect(lone.hub.client, &WsRequest::user("a").header("Origin", origin)).await?;
    }
    Ok(())
}
