//! The charts: install, upgrade, uninstall.

use std::time::Duration;

use anyhow::{Context as _, Result};
use http::Method;
use serde_json::{Value, json};
use wsc_tests::kubernetes::{
    access::Access,
    kubectl::Kubectl,
    namespace::TestNamespace,
    resource::{POD, call},
    wsc_cluster::{TestCluster, small_spec},
};

use crate::stage::{STARTED, alone_with_the_operator, operator_is_available};

fn chart(name: &str) -> String {
    wsc_tests::source_tree::root().join("charts").join(name).to_string_lossy().into_owned()
}

async fn deployment(access: &Access, namespace: &str, name: &str) -> Result<Option<Value>> {
    let path = format!("/apis/apps/v1/namespaces/{namespace}/deployments/{name}");
    call(&access.client().await?, Method::GET, &path, None).await
}

#[tokio::test]
async fn the_operator_is_installed_upgraded_and_removed_while_hubs_go_on() -> Result<()> {
    let _alone = alone_with_the_operator().await;
    let access = Access::from_environment();
    operator_is_available(&access).await?;
    let ns = TestNamespace::create(&access, "helm").await?;
    let system = Kubectl::helm(&access, "wsc-system")?;
    // What `make operator` installed, to be put back in the end.
    let values = system.run(&["get", "values", "wsc-operator", "--output", "json"]).await?;

    let chat = TestCluster::create(&ns, "chat", &small_spec(2)).await?;
    chat.ready(2, STARTED).await?;
    let pods = (chat.pod_uid(0).await?, chat.pod_uid(1).await?);
    system.run(&["uninstall", "wsc-operator", "--wait", "--timeout", "2m"]).await?;
    let outcome = without_the_shared_operator(&access, &ns, &chat, &values).await;
    let restored = system
        .run_with(
            &[
                "upgrade",
                "--install",
                "wsc-operator",
                &chart("wsc-operator"),
                "--values",
                "-",
                "--wait",
                "--timeout",
                "3m",
            ],
            &values,
        )
        .await;
    outcome?;
    restored.context("the operator of all namespaces could not be put back")?;
    chat.change(&json!({"hub": {"events": {"enabled": true}}})).await?;
    chat.ready(2, STARTED).await?;
    assert_ne!(chat.pod_uid(0).await?, pods.0, "the operator that was put back works");
    Ok(())
}

/// An operator of one namespace, installed by the chart, upgraded, removed.
async fn without_the_shared_operator(
    access: &Access,
    ns: &TestNamespace,
    chat: &TestCluster<'_>,
    values: &str,
) -> Result<()> {
    let client = access.client().await?;
    let crd = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/wscclusters.wsc.dev";
    assert!(call(&client, Method::GET, crd, None).await?.is_some(), "uninstall keeps the CRD");
    let mut alice = chat.connect("alice", 0).await?;
    let mut bob = chat.connect("bob", 1).await?;
    assert_eq!(alice.send_to("bob", "with no operator").await?, "delivered");
    bob.expect_text("with no operator").await?;

    let helm = Kubectl::helm(access, &ns.name)?;
    let watch = format!("watchNamespaces={{{}}}", ns.name);
    let own = chart("wsc-operator");
    let mut install =
        vec!["upgrade", "--install", "own", own.as_str(), "--values", "-", "--set", watch.as_str()];
    install.extend([
        "--set",
        "crds.enabled=false",
        "--set",
        "fullnameOverride=own",
        "--wait",
        "--timeout",
        "3m",
    ]);
    helm.run_with(&install, values).await?;
    let roles = ns.kubectl.run(&[
        "get",
        "clusterroles",
        "--selector",
        "app.kubernetes.io/instance=own",
        "--output=name",
    ]);
    assert_eq!(roles.await?.trim(), "", "watching one namespace needs no cluster-wide rights");

    stage_scale(chat, 3).await?;
    install.extend(["--set", "replicas=2"]);
    helm.run_with(&install, values).await?;
    let upgraded = deployment(access, &ns.name, "own").await?.context("no Deployment named own")?;
    assert_eq!(upgraded["status"]["availableReplicas"], 2, "{}", upgraded["status"]);
    stage_scale(chat, 4).await?;

    helm.run(&["uninstall", "own", "--wait", "--timeout", "2m"]).await?;
    assert!(deployment(access, &ns.name, "own").await?.is_none());
    let left = ns.kubectl.run(&[
        "get",
        "deployments,roles,rolebindings,serviceaccounts",
        "--selector",
        "app.kubernetes.io/instance=own",
        "--output=name",
    ]);
    assert_eq!(left.await?.trim(), "", "uninstall leaves nothing of the release");
    ns.get(POD, "chat-3").await.context("pods stay when the operator goes")?;
    // Back to two for the operator that is put back.
    chat.change(&json!({"replicas": 2})).await
}

async fn stage_scale(chat: &TestCluster<'_>, nodes: u32) -> Result<()> {
    chat.change(&json!({"replicas": nodes})).await?;
    chat.ready(nodes, STARTED).await.map(|_| ())
}

#[tokio::test]
async fn a_cluster_is_installed_changed_and_removed_by_its_chart() -> Result<()> {
    let stage = crate::stage::Stage::new("chart").await?;
    let helm = Kubectl::helm(&stage.ns.access, &stage.ns.name)?;
    let own = chart("wsc-cluster");
    let mut spec = small_spec(2);
    if let Some(fields) = spec.as_object_mut() {
        fields.remove("replicas");
    }
    let values = |replicas: u32| json!({"replicas": replicas, "spec": spec}).to_string();
    helm.run_with(&["install", "chat", &own, "--values", "-"], &values(1)).await?;
    let chat = TestCluster { namespace: &stage.ns, name: "chat" };
    chat.ready(1, STARTED).await?;
    helm.run_with(&["upgrade", "chat", &own, "--values", "-"], &values(2)).await?;
    chat.ready(2, STARTED).await?;
    helm.run(&["uninstall", "chat", "--wait"]).await?;
    stage.ns.gone(POD, "chat-0", Duration::from_secs(90)).await
}
