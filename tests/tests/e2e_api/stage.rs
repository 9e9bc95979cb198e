//! A namespace on the shared API server, with the custom resource definition installed.

use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};
use tokio::sync::OnceCell;
use wsc_tests::{
    kubernetes::{
        access::Access, api_server::ApiServer, namespace::TestNamespace, operator_process::OperatorProcess,
    },
    source_tree,
    wait::{Look, eventually},
};

/// How long the operator may take for what is done in a second; the rest is for a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(45);

/// A namespace of its own, with no operator.
pub(crate) async fn namespace(purpose: &str) -> Result<TestNamespace> {
    static INSTALLED: OnceCell<()> = OnceCell::const_new();
    let server = ApiServer::shared()?;
    let access = server.access();
    INSTALLED.get_or_try_init(|| install(&access)).await?;
    TestNamespace::create(&access, purpose).await
}

/// Installs the definition of the resource.
pub(crate) async fn install(access: &Access) -> Result<()> {
    access.client().await?;
    let kubectl = access.kubectl("default")?;
    let crd = source_tree::root().join("crds/wscclusters.wsc.dev.yaml");
    // Client-side apply keeps the whole object in an annotation of at most 256 KiB, so the size matters.
    kubectl.run(&["apply", "-f", &crd.to_string_lossy()]).await?;
    // `kubectl wait` gives up on an object that has no conditions yet, so it is asked until it succeeds.
    let established = ["wait", "--for=condition=Established", "crd/wscclusters.wsc.dev", "--timeout=30s"];
    eventually("the CRD is established", SOON, async || {
        Ok(match kubectl.run(&established).await {
            Ok(_) => Look::Holds(()),
            Err(error) => Look::NotYet(error.to_string()),
        })
    })
    .await
}

/// A namespace and an operator that watches it.
pub(crate) async fn with_operator(purpose: &str) -> Result<(TestNamespace, OperatorProcess)> {
    let namespace = namespace(purpose).await?;
    let operator = OperatorProcess::start(&namespace).await?;
    Ok((namespace, operator))
}

/// The smallest useful spec.
pub(crate) fn smallest() -> Value {
    json!({"redis": {"managed": {}}})
}
