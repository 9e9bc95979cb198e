//! What every test here stands on: a cluster with the operator installed.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use http::Method;
use serde_json::Value;
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use wsc_tests::kubernetes::{access::Access, namespace::TestNamespace, resource::call};

/// How long pods may take to start on a busy machine.
pub(crate) const STARTED: Duration = Duration::from_secs(180);
/// The lease of the hubs in these tests and what may pass until it is noticed.
pub(crate) const NOTICED: Duration = Duration::from_secs(10);

/// Held by tests that need the operator; taken whole by the one that removes it for a while.
static OPERATOR: RwLock<()> = RwLock::const_new(());

/// A namespace of a test, which keeps the operator in place.
pub(crate) struct Stage {
    pub(crate) ns: TestNamespace,
    _operator: Operator,
}

/// How a test has it.
enum Operator {
    Shared { _guard: RwLockReadGuard<'static, ()> },
    Alone { _guard: RwLockWriteGuard<'static, ()> },
}

impl Stage {
    pub(crate) async fn new(purpose: &str) -> Result<Self> {
        Self::with(purpose, Operator::Shared { _guard: OPERATOR.read().await }).await
    }

    /// For a test that removes the operator for a while: no other one needs it then.
    pub(crate) async fn alone(purpose: &str) -> Result<Self> {
        Self::with(purpose, Operator::Alone { _guard: alone_with_the_operator().await }).await
    }

    async fn with(purpose: &str, operator: Operator) -> Result<Self> {
        let access = Access::from_environment();
        operator_is_available(&access).await?;
        let ns = TestNamespace::create(&access, purpose).await?;
        // Hubs and Redis must pass the strictest standard, so here nothing else is let in.
        let restricted = "pod-security.kubernetes.io/enforce=restricted";
        ns.kubectl.run(&["label", "namespace", &ns.name, restricted]).await?;
        Ok(Self { ns, _operator: operator })
    }
}

/// The operator for one test alone.
pub(crate) async fn alone_with_the_operator() -> RwLockWriteGuard<'static, ()> {
    OPERATOR.write().await
}

/// Fails with what to run when the operator is not installed.
pub(crate) async fn operator_is_available(access: &Access) -> Result<Value> {
    let client = access.client().await?;
    let path = "/apis/apps/v1/namespaces/wsc-system/deployments/wsc-operator";
    let deployment = call(&client, Method::GET, path, None)
        .await?
        .context("the operator is not installed: run `make images operator`")?;
    let available = deployment["status"]["availableReplicas"].as_i64().unwrap_or(0);
    ensure!(available > 0, "the operator does not run: see `kubectl -n wsc-system describe pods`");
    Ok(deployment)
}
