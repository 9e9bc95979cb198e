//! Keys that verify tokens: every kind, and how they change while the hub runs.

use std::time::Duration;

use anyhow::{Context as _, Result};
use jsonwebtoken::Algorithm;
use serde_json::json;
use wsc_tests::{
    hub_process::{HubOptions, HubProcess},
    lone_hub::{LoneHub, TOKEN_SECRET},
    scratch_dir::ScratchDir,
    signing_key::{SigningKey, key_set},
    tokens::{self, claims},
    wait::{Look, eventually},
    ws_client::{PATIENCE, Upgrade, WsClient, WsRequest},
};

async fn taken(hub: &HubProcess, token: &str) -> Result<bool> {
    Ok(matches!(WsClient::upgrade(hub.client, &WsRequest::token(token)).await?, Upgrade::Open(_)))
}

async fn becomes(hub: &HubProcess, what: &str, token: &str, expected: bool) -> Result<()> {
    eventually(what, Duration::from_secs(15), async || {
        Ok(Look::when(taken(hub, token).await? == expected, (), "not yet"))
    })
    .await
}

#[tokio::test]
async fn rsa_p256_ed25519_and_secrets_verify_side_by_side() -> Result<()> {
    let (rsa, ec, ed, of_set) =
        (SigningKey::rs256()?, SigningKey::es256()?, SigningKey::ed25519()?, SigningKey::es256()?);
    let folder = ScratchDir::new("all-keys")?;
    folder.write("default.key", TOKEN_SECRET)?;
    folder.write("rsa.pem", &rsa.pem)?;
    folder.write("ec.pem", &ec.pem)?;
    folder.write("ed.pem", &ed.pem)?;
    let foreign = json!({"kty": "EC", "crv": "P-521", "kid": "foreign", "x": "AA", "y": "AA"});
    folder.write("jwks.json", &key_set(&[of_set.named("of-set"), foreign]))?;
    let options = HubOptions::node("n").set_path("WSC_AUTH_KEYS_DIR", folder.path());
    let mut hub = HubProcess::ready(&options).await?;
    let alice = claims("alice");
    for (key, kid) in [(&rsa, "rsa"), (&ec, "ec"), (&ed, "ed"), (&of_set, "of-set")] {
        let token = key.sign(Some(kid), &alice)?;
        let client = WsClient::connect(hub.client, &WsRequest::token(&token)).await.context(kid)?;
        assert_eq!(client.welcome["user_id"], "alice");
        for (refused, why) in [
            (key.sign(None, &alice)?, "must name one"),
            (key.sign(Some("default"), &alice)?, "(alg)"),
            (key.sign(Some("foreign"), &alice)?, "not loaded"),
            (tokens::sign(Algorithm::HS256, Some(kid), &key.pem, &alice)?, "(alg)"),
            (tokens::sign(Algorithm::HS512, Some(kid), key.pem.trim(), &alice)?, "(alg)"),
        ] {
            let answer = WsClient::refused(hub.client, &WsRequest::token(&refused)).await?;
            let detail = answer.problem(401, "invalid_token")?;
            assert!(detail.contains(why), "{kid}: {detail}, expected {why}");
        }
    }
    assert!(taken(&hub, &tokens::mint(Some("default"), TOKEN_SECRET, "alice")?).await?);
    let forged = SigningKey::es256()?.sign(Some("ec"), &alice)?;
    let detail =
        WsClient::refused(hub.client, &WsRequest::token(&forged)).await?.problem(401, "invalid_token")?;
    assert!(detail.contains("signature"), "{detail}");
    hub.process()
        .stderr_line("the foreign key is said", PATIENCE, |line| line.contains("P-521").then_some(()))
        .await
}

#[tokio::test]
async fn a_key_set_is_reread_and_one_that_is_unusable_leaves_the_old_keys_in_force() -> Result<()> {
    let lone = LoneHub::with_tokens(|options| options).await?;
    let (first, second, third) = (SigningKey::es256()?, SigningKey::ed25519()?, SigningKey::es256()?);
    let alice = claims("alice");
    let token = |key: &SigningKey, kid: &str| key.sign(Some(kid), &alice);
    lone.token_keys.write("jwks.json", &key_set(&[first.named("first"), second.named("second")]))?;
    becomes(&lone.hub, "the set is taken", &token(&first, "first")?, true).await?;
    assert!(taken(&lone.hub, &token(&second, "second")?).await?, "several keys hold at once");

    // Each of these is unusable, and is said once; the good file that comes with it waits as well.
    lone.token_keys.write("third.pem", &third.pem)?;
    becomes(&lone.hub, "the third key is taken", &token(&third, "third")?, true).await?;
    let complaints = |lone: &LoneHub, word: &str| {
        let said = lone.hub.output();
        said.lines().filter(|line| line.contains("stay in force") && line.contains(word)).count()
    };
    for (text, word) in [
        (r#"{"keys":"none"}"#.to_owned(), "not a JWKS"),
        (key_set(&[json!({"kty": "oct", "kid": "s", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQ"})]), "kty oct"),
    ] {
        lone.token_keys.write("jwks.json", &text)?;
        eventually("the unusable set is said", PATIENCE, async || {
            Ok(Look::when(complaints(&lone, word) == 1, (), lone.hub.output()))
        })
        .await?;
        for (key, kid) in [(&first, "first"), (&second, "second"), (&third, "third")] {
            assert!(taken(&lone.hub, &token(key, kid)?).await?, "{kid} holds while the set is unusable");
        }
    }
    lone.token_keys.write("jwks.json", &key_set(&[second.named("second")]))?;
    becomes(&lone.hub, "the key that left the set is refused", &token(&first, "first")?, false).await?;
    assert!(taken(&lone.hub, &token(&second, "second")?).await?);
    assert_eq!((complaints(&lone, "not a JWKS"), complaints(&lone, "kty oct")), (1, 1), "said once each");
    assert!(!lone.hub.output().contains("c2VjcmV0"), "a secret is in the logs");
    Ok(())
}
