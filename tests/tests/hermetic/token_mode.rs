//! Mode token: who gets in, what they may send, and when they have to go.

use std::time::Duration;

use anyhow::Result;
use jsonwebtoken::Algorithm;
use serde_json::{Value, json};
use wsc_tests::{
    lone_hub::{LoneHub, TOKEN_SECRET},
    tokens::{self, claims, claims_with_send, unix_now},
    wait::{Look, eventually},
    ws_client::{PATIENCE, Upgrade, WsClient, WsRequest},
};

fn by_hs256(claims: &Value) -> Result<String> {
    tokens::sign(Algorithm::HS256, None, TOKEN_SECRET, claims)
}

#[tokio::test]
async fn a_good_token_is_taken_from_header_query_and_subprotocol() -> Result<()> {
    let lone = LoneHub::with_tokens(|options| options).await?;
    let token = tokens::mint(Some("default"), TOKEN_SECRET, "alice")?;
    let requests = [
        WsRequest::token(&token),
        WsRequest::new(&format!("/ws?token={token}")),
        WsRequest::new("/ws").header("Sec-WebSocket-Protocol", &format!("wsc.v1, bearer.{token}")),
        WsRequest::token(&token).header("X-User-ID", "alice"),
    ];
    for request in requests {
        let client = WsClient::connect(lone.hub.client, &request).await?;
        assert_eq!(client.welcome["user_id"], "alice");
        if let Some(protocol) = client.headers.get("sec-websocket-protocol") {
            assert_eq!(protocol, "wsc.v1", "the token is not sent back");
        }
    }
    Ok(())
}

#[tokio::test]
async fn the_key_decides_about_the_algorithm() -> Result<()> {
    let lone = LoneHub::with_tokens(|options| options).await?;
    for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
        let token = tokens::sign(algorithm, None, TOKEN_SECRET, &claims("alice"))?;
        WsClient::connect(lone.hub.client, &WsRequest::token(&token)).await?;
    }
    Ok(())
}

#[tokio::test]
async fn tokens_that_do_not_hold_are_refused_with_401() -> Result<()> {
    let lone = LoneHub::with_tokens(|options| {
        options.set("WSC_TOKEN_ISSUER", "https://issuer.example").set("WSC_TOKEN_AUDIENCE", "chat")
    })
    .await?;
    let good =
        json!({"sub": "alice", "exp": unix_now() + 600, "iss": "https://issuer.example", "aud": "chat"});
    let with = |field: &str, value: Value| {
        let mut claims = good.clone();
        claims[field] = value;
        claims
    };
    let without = |field: &str| {
        let mut claims = good.clone();
        if let Some(fields) = claims.as_object_mut() {
            fields.remove(field);
        }
        claims
    };
    WsClient::connect(lone.hub.client, &WsRequest::token(&by_hs256(&good)?)).await?;

    let tampered = {
        let token = by_hs256(&good)?;
        let other = by_hs256(&with("sub", json!("mallory")))?;
        let parts: Vec<&str> = token.split('.').collect();
        let payload = other.split('.').nth(1).unwrap_or_default().to_owned();
        format!("{}.{payload}.{}", parts[0], parts[2])
    };
    let other_secret = "another-secret-0123456789-0123456789-0123456789";
    let cases: Vec<(&str, String, &str)> = vec![
        ("expired", by_hs256(&with("exp", json!(unix_now() - 60)))?, "token_expired"),
        ("no end", by_hs256(&without("exp"))?, "invalid_token"),
        ("no user", by_hs256(&without("sub"))?, "invalid_token"),
        ("not yet valid", by_hs256(&with("nbf", json!(unix_now() + 60)))?, "invalid_token"),
        ("another issuer", by_hs256(&with("iss", json!("https://evil.example")))?, "invalid_token"),
        ("no issuer", by_hs256(&without("iss"))?, "invalid_token"),
        ("another audience", by_hs256(&with("aud", json!("mail")))?, "invalid_token"),
        ("no audience", by_hs256(&without("aud"))?, "invalid_token"),
        ("another key", tokens::sign(Algorithm::HS256, None, other_secret, &good)?, "invalid_token"),
        ("unknown kid", tokens::sign(Algorithm::HS256, Some("other"), TOKEN_SECRET, &good)?, "invalid_token"),
        (
            "kid with a path",
            tokens::sign(Algorithm::HS256, Some("../x"), TOKEN_SECRET, &good)?,
            "invalid_token",
        ),
        ("algorithm none", tokens::unsigned(&good), "invalid_token"),
        ("tampered payload", tampered, "invalid_token"),
        (
            "no signature",
            by_hs256(&good)?.rsplit_once('.').unwrap_or_default().0.to_owned() + ".",
            "invalid_token",
        ),
        ("not a token", "nonsense".to_owned(), "invalid_token"),
        ("two dots", "..".to_owned(), "invalid_token"),
        ("end is no number", by_hs256(&with("exp", json!("soon")))?, "invalid_token"),
    ];
    for (what, token, code) in cases {
        let answer = WsClient::refused(lone.hub.client, &WsRequest::token(&token)).await?;
        let detail = answer.problem(401, code).map_err(|error| error.context(what))?;
        assert!(!detail.contains(&token), "{what}: the token is repeated in {detail}");
    }
    for request in
        [WsRequest::new("/ws"), WsRequest::user("alice"), WsRequest::new("/ws").header("X-User-ID", "alice")]
    {
        WsClient::refused(lone.hub.client, &request).await?.problem(401, "invalid_token")?;
    }
    let bad_user = WsRequest::token(&by_hs256(&with("sub", json!("a b")))?);
    let answer = WsClient::refused(lone.hub.client, &bad_user).await?;
    assert!(answer.status == 401 || answer.status == 400, "{} {}", answer.status, answer.text);
    Ok(())
}

#[tokio::test]
async fn inputs_that_contradict_the_token_are_refused_with_400() -> Result<()> {
    let lone = LoneHub::with_tokens(|options| options).await?;
    let token = by_hs256(&json!({"sub": "alice", "exp": unix_now() + 60, "wsc": {"client_id": "phone"}}))?;
    for target in ["/ws?user_id=bob", "/ws?client_id=desk"] {
        let request = WsRequest::new(target).header("Authorization", &format!("Bearer {token}"));
        WsClient::refused(lone.hub.client, &request).await?.problem(400, "bad_request")?;
    }
    let other = tokens::mint(None, TOKEN_SECRET, "alice")?;
    let two =
        WsRequest::new(&format!("/ws?token={token}")).header("Authorization", &format!("Bearer {other}"));
    WsClient::refused(lone.hub.client, &two).await?.problem(400, "bad_request")?;
    let client = WsClient::connect(lone.hub.client, &WsRequest::token(&token)).await?;
    assert_eq!(client.welcome["client_id"], "phone");
    Ok(())
}

#[tokio::test]
async fn a_client_may_send_only_what_its_token_grants() -> Result<()> {
    let lone = LoneHub::with_tokens(|options| options).await?;
    let mut bob = lone.connect_with(&claims("bob")).await?;
    let mut carol = lone.connect_with(&claims("carol")).await?;
    let cases: [(&[&str], bool, bool); 5] = [
        (&[], false, false),
        (&["user:*"], true, true),
        (&["user:bob"], true, false),
        (&["user:b*"], true, false),
        (&["group:*", "backend"], false, false),
    ];
    for (grants, may_bob, may_carol) in cases {
        let mut alice = lone.connect_with(&claims_with_send("alice", grants)).await?;
        for (receiver, client, may) in [("bob", &mut bob, may_bob), ("carol", &mut carol, may_carol)] {
            if may {
                assert_eq!(
                    alice.send_to(receiver, "granted").await?,
                    "delivered",
                    "{grants:?} -> {receiver}"
                );
                client.expect_text("granted").await?;
            } else {
                alice.send(&json!({"receiver": receiver, "content": "x", "message_id": "m"})).await?;
                let sentence = alice.expect_error("not_permitted").await?;
                assert!(sentence.contains(receiver), "{sentence}");
                client.expect_nothing().await?;
            }
        }
    }
    let mut unclaimed = lone.connect_with(&claims("dave")).await?;
    unclaimed.send(&json!({"receiver": "bob", "content": "x"})).await?;
    unclaimed.expect_error("not_permitted").await?;
    Ok(())
}

#[tokio::test]
async fn client_send_none_silences_clients_whatever_their_tokens_say() -> Result<()> {
    let lone = LoneHub::with_tokens(|options| options.set("WSC_CLIENT_SEND", "none")).await?;
    let mut alice = lone.connect_with(&claims_with_send("alice", &["user:*"])).await?;
    alice.send(&json!({"receiver": "alice", "content": "x", "message_id": "m"})).await?;
    alice.expect_error("not_permitted").await?;
    alice.expect_nothing().await
}

#[tokio::test]
async fn a_connection_ends_with_its_token() -> Result<()> {
    let lone = LoneHub::with_tokens(|options| options).await?;
    // The leeway is 5 s, so this token is taken and is over 2 s later.
    let mut alice = lone.connect_with(&json!({"sub": "alice", "exp": unix_now() - 3})).await?;
    let mut bob = lone.connect_with(&claims("bob")).await?;
    let reason = alice.expect_close(4003, Duration::from_secs(6)).await?;
    assert!(reason.contains("expired"), "{reason}");
    bob.expect_nothing().await
}

#[tokio::test]
async fn keys_come_and_go_while_the_hub_runs() -> Result<()> {
    let lone = LoneHub::with_tokens(|options| options).await?;
    let second = "second-secret-of-the-tests-0123456789abcdef";
    let new = tokens::mint(Some("second"), second, "alice")?;
    WsClient::refused(lone.hub.client, &WsRequest::token(&new)).await?.problem(401, "invalid_token")?;

    lone.token_keys.write("second.key", &format!("{second}\n"))?;
    let accepted = async |token: &str| -> Result<bool> {
        Ok(matches!(WsClient::upgrade(lone.hub.client, &WsRequest::token(token)).await?, Upgrade::Open(_)))
    };
    eventually("the new key is taken", Duration::from_secs(15), async || {
        Ok(Look::when(accepted(&new).await?, (), "refused"))
    })
    .await?;
    let no_kid = tokens::mint(None, second, "alice")?;
    assert!(!accepted(&no_kid).await?, "with two keys loaded a token must name its key");
    assert!(
        accepted(&tokens::mint(Some("default"), TOKEN_SECRET, "alice")?).await?,
        "the old key still holds"
    );

    std::fs::remove_file(lone.token_keys.path().join("default.key"))?;
    let old = tokens::mint(Some("default"), TOKEN_SECRET, "alice")?;
    eventually("the removed key is refused", Duration::from_secs(15), async || {
        Ok(Look::when(!accepted(&old).await?, (), "accepted"))
    })
    .await?;
    assert!(accepted(&no_kid).await?, "with one key loaded a token need not name it");
    Ok(())
}

#[tokio::test]
async fn connections_stay_open_when_their_key_is_removed() -> Result<()> {
    let lone = LoneHub::with_tokens(|options| options).await?;
    let mut alice = lone.connect_with(&claims("alice")).await?;
    lone.token_keys.write("next.key", "next-secret-of-the-tests-0123456789abcdef")?;
    std::fs::remove_file(lone.token_keys.path().join("default.key"))?;
    let token = tokens::mint(Some("next"), "next-secret-of-the-tests-0123456789abcdef", "bob")?;
    eventually("the next key is taken", PATIENCE, async || {
        let upgrade = WsClient::upgrade(lone.hub.client, &WsRequest::token(&token)).await?;
        Ok(Look::when(matches!(upgrade, Upgrade::Open(_)), (), "refused"))
    })
    .await?;
    alice.expect_nothing().await
}
