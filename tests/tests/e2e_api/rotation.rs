//! Keys and passwords change.

use anyhow::Result;
use serde_json::Value;
use wsc_tests::kubernetes::{
    resource::{SECRET, STATEFUL_SET, WSC_CLUSTER},
    wsc_cluster::{TestCluster, condition},
};

use crate::{
    children::all_made,
    stage::{SOON, smallest, with_operator},
};

fn mark(set: &Value) -> &Value {
    &set["spec"]["template"]["metadata"]["annotations"]["wsc.dev/auth-secret"]
}

#[tokio::test]
async fn another_password_of_the_managed_redis_changes_its_pod_and_no_hub() -> Result<()> {
    let (ns, _operator) = with_operator("password").await?;
    TestCluster::create(&ns, "chat", &smallest()).await?;
    all_made(&ns).await?;
    let (redis, hub) = (ns.get(STATEFUL_SET, "chat-redis").await?, ns.get(STATEFUL_SET, "chat").await?);
    let password = "another-password-of-the-test";
    let config = format!("requirepass {password}\n");
    ns.write_secret("chat-redis", &[("password", password), ("redis.conf", &config)]).await?;
    let changed = ns
        .until(STATEFUL_SET, "chat-redis", "its template names the changed Secret", SOON, |set| {
            mark(set) != mark(&redis)
        })
        .await?;
    assert!(!changed.to_string().contains(password), "{changed}");

    // Made anew, it has a password of its own, and Redis follows again.
    ns.delete(SECRET, "chat-redis").await?;
    ns.until(STATEFUL_SET, "chat-redis", "its template names the new Secret", SOON, |set| {
        mark(set) != mark(&changed)
    })
    .await?;
    assert_ne!(ns.secret("chat-redis", "password").await?, password);
    let after = ns.get(STATEFUL_SET, "chat").await?;
    assert_eq!(after["spec"]["template"], hub["spec"]["template"], "no hub is replaced");
    Ok(())
}

#[tokio::test]
async fn a_password_that_redis_would_not_have_is_named() -> Result<()> {
    let (ns, _operator) = with_operator("half-password").await?;
    TestCluster::create(&ns, "chat", &smallest()).await?;
    all_made(&ns).await?;
    ns.write_secret("chat-redis", &[("password", "only-one-of-two-places")]).await?;
    let object = ns
        .until(WSC_CLUSTER, "chat", "the contradiction is named", SOON, |object| {
            condition(object, "SpecValid")["status"] == "False"
        })
        .await?;
    let said = condition(&object, "SpecValid")["message"].as_str().unwrap_or_default();
    assert!(said.contains("redis.conf") && !said.contains("only-one-of"), "{said}");
    ns.write_secret("chat-redis", &[("redis.conf", "requirepass only-one-of-two-places\n")]).await?;
    ns.until(WSC_CLUSTER, "chat", "it is mended", SOON, |object| {
        condition(object, "SpecValid")["status"] == "True"
    })
    .await?;
    Ok(())
}
