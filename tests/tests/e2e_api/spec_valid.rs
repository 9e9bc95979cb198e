//! What the API server cannot see: things that a spec names and that are not there, or belong to others.

use anyhow::Result;
use serde_json::json;
use wsc_tests::kubernetes::{
    resource::SERVICE,
    wsc_cluster::{TestCluster, condition},
};

use crate::stage::{SOON, namespace, smallest, with_operator};

#[tokio::test]
async fn a_secret_that_is_missing_is_named_and_its_arrival_is_noticed() -> Result<()> {
    let (ns, _operator) = with_operator("secret").await?;
    let spec = json!({"redis": {"external": {"addresses": ["redis:6379"], "authSecretRef": {"name": "redis-login"}}}});
    let cluster = TestCluster::create(&ns, "chat", &spec).await?;
    let object = cluster.until("SpecValid", "False", SOON).await?;
    let found = condition(&object, "SpecValid");
    assert_eq!(found["reason"], "SecretMissing");
    assert!(found["message"].as_str().is_some_and(|message| message.contains("redis-login")), "{found}");

    ns.write_secret("redis-login", &[("user", "x")]).await?;
    let wait = std::time::Duration::from_secs(60);
    ns.until(
        wsc_tests::kubernetes::resource::WSC_CLUSTER,
        "chat",
        "the missing key is named",
        wait,
        |object| condition(object, "SpecValid")["reason"] == "SecretKeyMissing",
    )
    .await?;
    ns.write_secret("redis-login", &[("password", "x")]).await?;
    cluster.until("SpecValid", "True", wait).await?;
    Ok(())
}

#[tokio::test]
async fn an_object_of_somebody_else_is_never_touched() -> Result<()> {
    let ns = namespace("taken").await?;
    let foreign = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "chat", "labels": {"owner": "somebody"}},
        "spec": {"ports": [{"port": 1234}], "selector": {"app": "other"}}
    });
    let before = ns.create_object(SERVICE, &foreign).await?;
    let _operator = wsc_tests::kubernetes::operator_process::OperatorProcess::start(&ns).await?;
    let cluster = TestCluster::create(&ns, "chat", &smallest()).await?;
    let object = cluster.until("SpecValid", "False", SOON).await?;
    let found = condition(&object, "SpecValid");
    assert_eq!(found["reason"], "NameTaken");
    let message = found["message"].as_str().unwrap_or_default();
    assert!(message.contains("Service") && message.contains("chat"), "{message}");
    let after = ns.get(SERVICE, "chat").await?;
    assert_eq!(
        after["metadata"]["resourceVersion"], before["metadata"]["resourceVersion"],
        "it was written to"
    );
    ns.delete(SERVICE, "chat").await?;
    cluster.until("SpecValid", "True", std::time::Duration::from_secs(60)).await?;
    ns.until(SERVICE, "chat", "the operator's own Service is made", SOON, |service| {
        service["metadata"]["labels"]["wsc.dev/cluster"] == "chat"
    })
    .await?;
    Ok(())
}

#[tokio::test]
async fn one_resource_that_cannot_work_does_not_stop_another() -> Result<()> {
    let (ns, _operator) = with_operator("neighbours").await?;
    let spec =
        json!({"redis": {"external": {"addresses": ["redis:6379"], "authSecretRef": {"name": "missing"}}}});
    TestCluster::create(&ns, "broken", &spec).await?.until("SpecValid", "False", SOON).await?;
    TestCluster::create(&ns, "chat", &smallest()).await?.until("SpecValid", "True", SOON).await?;
    crate::children::all_made(&ns).await
}
