//! What the operator may do: exactly what its chart grants, which suffices, and which is written down.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use wsc_tests::{
    kubernetes::{
        api_server::ApiServer,
        kubectl::Kubectl,
        namespace::TestNamespace,
        operator_process::OperatorProcess,
        resource::{SERVICE, STATEFUL_SET, WSC_CLUSTER},
        wsc_cluster::TestCluster,
    },
    scratch_dir::ScratchDir,
    source_tree,
};

use crate::{
    children::all_made,
    plugin::as_account,
    stage::{SOON, namespace, smallest},
};

/// The rights and the account of the chart, as a release that is named after the namespace.
async fn install_rights(ns: &TestNamespace, values: &[&str]) -> Result<String> {
    let helm = Kubectl::helm(&ns.access, &ns.name)?;
    let chart = source_tree::root().join("charts/wsc-operator");
    let chart = chart.to_string_lossy();
    let fullname = format!("fullnameOverride={}", ns.name);
    let mut line = vec!["template", "rights", &*chart, "--set", &fullname];
    line.extend(["--show-only", "templates/rbac.yaml", "--show-only", "templates/serviceaccount.yaml"]);
    line.extend(values.iter().flat_map(|value| ["--set", value]));
    let rendered = helm.run(&line).await?;
    ns.kubectl.run_with(&["apply", "-f", "-"], &rendered).await?;
    Ok(format!("system:serviceaccount:{}:{}", ns.name, ns.name))
}

/// `kubectl auth can-i --list` as somebody, sorted, without what everybody may and without the test's own names.
async fn listed(ns: &TestNamespace, account: &str) -> Result<String> {
    let text = ns.kubectl.run(&["auth", "can-i", "--list", "--as", account]).await?;
    let mut lines: Vec<String> = text
        .lines()
        .skip(1)
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ").replace(&ns.name, "NAMESPACE"))
        .filter(|line| !line.starts_with("[/") && !line.contains("self"))
        .collect();
    lines.sort();
    Ok(lines.join("\n") + "\n")
}

#[tokio::test]
async fn the_rights_are_those_that_are_written_down() -> Result<()> {
    let everywhere = namespace("rights").await?;
    let account = install_rights(&everywhere, &[]).await?;
    let here = namespace("rights").await?;
    let watched = format!("watchNamespaces={{{}}}", here.name);
    let namespaced = install_rights(&here, &[&watched]).await?;
    let elsewhere = namespace("rights").await?;
    let found = format!(
        "# All namespaces are watched: in the operator's own namespace\n{}\n# and in any other\n{}\n# One namespace is watched: in it\n{}\n# and in any other\n{}",
        listed(&everywhere, &account).await?,
        listed(&elsewhere, &account).await?,
        listed(&here, &namespaced).await?,
        listed(&elsewhere, &namespaced).await?
    );
    // What is cluster-wide would stay behind.
    let name = everywhere.name.as_str();
    everywhere.kubectl.run(&["delete", "clusterrole,clusterrolebinding", name]).await?;
    let file = source_tree::root().join("tests/tests/e2e_api/rights.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some_and(|value| value == "1") {
        std::fs::write(&file, &found)?;
    }
    let written = std::fs::read_to_string(&file).context("write it with UPDATE_GOLDEN=1")?;
    assert_eq!(found, written, "if that is meant, run with UPDATE_GOLDEN=1");
    Ok(())
}

#[tokio::test]
async fn the_operator_does_all_its_work_with_the_roles_of_one_namespace() -> Result<()> {
    let ns = namespace("rights").await?;
    let account = install_rights(&ns, &[&format!("watchNamespaces={{{}}}", ns.name)]).await?;
    let token = ns.kubectl.run(&["create", "token", &ns.name, "--duration=1h"]).await?;
    let admin = ns.access.kubeconfig.as_ref().context("no kubeconfig")?;
    let folder = ScratchDir::new("rights")?;
    let own = folder.write("kubeconfig", &as_account(&std::fs::read_to_string(admin)?, token.trim())?)?;
    let _operator = OperatorProcess::start_with(&ns, &[("KUBECONFIG", &own.to_string_lossy())]).await?;

    let mut spec = smallest();
    spec["exposure"] = json!({
        "type": "Ingress", "ingressClassName": "edge", "hosts": [{"host": "chat.example.org"}]
    });
    spec["autoscaling"] = json!({"mode": "HPA"});
    let cluster = TestCluster::create(&ns, "chat", &spec).await?;
    all_made(&ns).await?;
    cluster.until("Ready", "False", SOON).await?;
    // Every kind of step that needs a right: a change, a repair, a sweep, a deletion.
    cluster.change(&json!({"replicas": 2, "hub": {"logLevel": "debug"}})).await?;
    ns.delete(SERVICE, "chat").await?;
    ns.until(SERVICE, "chat", "the Service is back", SOON, |_| true).await?;
    cluster.change(&json!({"exposure": {"type": "None"}, "autoscaling": {"mode": "Disabled"}})).await?;
    ns.until(WSC_CLUSTER, "chat", "the spec is read", SOON, |object| {
        object["status"]["observedGeneration"] == object["metadata"]["generation"]
    })
    .await?;
    ns.delete(WSC_CLUSTER, "chat").await?;
    ns.gone(STATEFUL_SET, "chat", Duration::from_secs(60)).await?;

    let asked = ApiServer::shared()?.audit_of(&account)?;
    ensure!(asked.len() > 50, "only {} requests were seen", asked.len());
    let refused: Vec<&Value> = asked.iter().filter(|event| event["responseStatus"]["code"] == 403).collect();
    assert!(refused.is_empty(), "{} refusals, such as {}", refused.len(), refused[0]);
    let outside: Vec<&Value> = asked
        .iter()
        .filter(|event| {
            let object = &event["objectRef"];
            object.is_object() && object["namespace"] != ns.name.as_str()
        })
        .collect();
    assert!(outside.is_empty(), "cluster-scoped requests, such as {}", outside[0]);
    Ok(())
}
