//! An operator that has nothing to do writes nothing.

use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;
use wsc_tests::{
    kubernetes::{api_server::ApiServer, operator_process::OperatorProcess, wsc_cluster::TestCluster},
    wait::{Look, eventually},
};

use crate::{
    children::all_made,
    stage::{SOON, namespace, smallest},
};

/// How many passes over resources ended well.
async fn passes(operator: &OperatorProcess) -> Result<u64> {
    let (status, text) = operator.get("/metrics").await?;
    assert_eq!(status, 200);
    // Before the end of the first pass there is no sample.
    let mut lines =
        text.lines().filter(|line| line.starts_with("wsc_operator_reconciles_total{result=\"ok\"}"));
    lines.next().map_or(Ok(0), |line| Ok(line.rsplit_once(' ').context("no value")?.1.parse()?))
}

/// Writes of programs other than Kubernetes' own.
fn writes(events: &[Value]) -> Vec<String> {
    events
        .iter()
        .filter(|event| !matches!(event["verb"].as_str(), Some("get" | "list" | "watch")))
        .filter(|event| !event["userAgent"].as_str().is_some_and(|agent| agent.starts_with("kube-")))
        .map(|event| {
            format!(
                "{} {}",
                event["verb"].as_str().unwrap_or("?"),
                event["requestURI"].as_str().unwrap_or("?")
            )
        })
        .collect()
}

#[tokio::test]
async fn a_second_pass_sends_no_write() -> Result<()> {
    let ns = namespace("quiet").await?;
    let settings = [("WSC_RESYNC", "10s"), ("WSC_LEADER_ELECT", "false")];
    let operator = OperatorProcess::start_with(&ns, &settings).await?;
    let cluster = TestCluster::create(&ns, "chat", &smallest()).await?;
    all_made(&ns).await?;
    cluster.until("Ready", "False", SOON).await?;

    let server = ApiServer::shared()?;
    let made = writes(&server.audit(&ns.name)?);
    assert!(
        made.iter().any(|write| write.contains("statefulsets/chat")),
        "the log shows the first pass: {made:?}"
    );

    // The first passes still react to what the controllers make of the children; then two whole passes without
    // a write are waited for, at most six resyncs.
    let mut before = (passes(&operator).await?, writes(&server.audit(&ns.name)?).len());
    let quiet = eventually("two passes in a row send no write", Duration::from_secs(70), async || {
        let now = (passes(&operator).await?, writes(&server.audit(&ns.name)?).len());
        if now.1 != before.1 {
            before = now;
        }
        let note = format!("{} passes since the last write", now.0 - before.0);
        Ok(Look::when(now.0 >= before.0 + 2, (), note))
    });
    if let Err(error) = quiet.await {
        let all = writes(&server.audit(&ns.name)?);
        return Err(error.context(format!("last writes: {:#?}", &all[all.len().saturating_sub(8)..])));
    }
    assert!(before.1 >= made.len());
    Ok(())
}
