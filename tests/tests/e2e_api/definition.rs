//! The definition of the resource is not there, goes, or is not that of this release. Each test has an API server of its
//! own, for the definition belongs to all who use one.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;
use wsc_tests::{
    kubernetes::{
        api_server::ApiServer,
        namespace::TestNamespace,
        operator_process::OperatorProcess,
        resource::{STATEFUL_SET, WSC_CLUSTER},
        wsc_cluster::{TestCluster, condition},
    },
    wait::{Look, eventually},
};

use crate::{
    children::all_made,
    stage::{SOON, install, smallest},
};

/// A watch that failed is tried again after half a minute at the latest.
const WATCHED_AGAIN: Duration = Duration::from_secs(120);

const ALONE: [(&str, &str); 1] = [("WSC_LEADER_ELECT", "false")];

#[tokio::test]
async fn without_the_definition_the_operator_waits_and_says_so() -> Result<()> {
    let server = ApiServer::own()?;
    let access = server.access();
    let ns = TestNamespace::create(&access, "no-definition").await?;
    let operator = OperatorProcess::spawn(&ns, &ALONE)?;
    eventually("it says what it waits for", SOON, async || {
        let answer = operator.get("/readyz").await.map_err(|error| error.to_string());
        let named = |(status, text): &(u16, String)| *status == 503 && text.contains("wscclusters.wsc.dev");
        Ok(Look::when(answer.as_ref().is_ok_and(named), (), format!("{answer:?}")))
    })
    .await?;
    assert_eq!(operator.get("/healthz").await?.0, 200, "nobody would be helped by a restart");
    install(&access).await?;
    operator.ready(SOON).await?;
    TestCluster::create(&ns, "chat", &smallest()).await?;
    all_made(&ns).await?;

    // It is removed with all resources, and comes back.
    ns.kubectl.run(&["delete", "crd", "wscclusters.wsc.dev"]).await?;
    ns.gone(WSC_CLUSTER, "chat", SOON).await?;
    assert_eq!(operator.get("/healthz").await?.0, 200);
    install(&access).await?;
    // Under another name: what is left of the first goes when Kubernetes' own garbage collector has noticed.
    TestCluster::create(&ns, "later", &smallest()).await?;
    ns.until(STATEFUL_SET, "later", "its hubs are made", WATCHED_AGAIN, |_| true).await?;
    assert!(!operator.output().contains("panicked"), "{}", operator.output());
    Ok(())
}

#[tokio::test]
async fn a_resource_that_cannot_be_read_is_told_so_and_stops_no_other() -> Result<()> {
    let server = ApiServer::own()?;
    let access = server.access();
    install(&access).await?;
    // As a definition of another release might: it lets through what this one does not understand.
    let anything = json!([{
        "op": "replace", "path": "/spec/versions/0/schema/openAPIV3Schema",
        "value": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}
    }]);
    let ns = TestNamespace::create(&access, "undecodable").await?;
    ns.kubectl
        .run(&["patch", "crd", "wscclusters.wsc.dev", "--type=json", "-p", &anything.to_string()])
        .await?;
    let unreadable = json!({"drain": {"ratePerSecond": "fast"}, "redis": {"managed": {}}});
    let bad = eventually("the definition lets it through", SOON, async || {
        Ok(match TestCluster::create(&ns, "bad", &unreadable).await {
            Ok(bad) => Look::Holds(bad),
            Err(error) => Look::NotYet(error.to_string()),
        })
    })
    .await?;
    let operator = OperatorProcess::start_with(&ns, &ALONE).await?;
    TestCluster::create(&ns, "chat", &smallest()).await?;
    all_made(&ns).await?;
    let told = ns
        .until(WSC_CLUSTER, "bad", "it is told", SOON, |object| {
            condition(object, "SpecValid")["reason"] == "Undecodable"
        })
        .await?;
    assert_eq!(condition(&told, "Ready")["status"], "False");
    assert!(condition(&told, "SpecValid")["message"].to_string().contains("fast"), "{told}");
    assert!(ns.find(STATEFUL_SET, "bad").await?.is_none());

    bad.change(&json!({"drain": {"ratePerSecond": 50}})).await?;
    ns.until(STATEFUL_SET, "bad", "its hubs are made", SOON, |_| true).await?;
    ns.until(WSC_CLUSTER, "bad", "its spec is valid", SOON, |object| {
        condition(object, "SpecValid")["status"] == "True"
    })
    .await?;
    assert!(!operator.output().contains("panicked"), "{}", operator.output());
    Ok(())
}
