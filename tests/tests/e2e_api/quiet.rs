//! An operator that has nothing to do writes nothing.

use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;
use wsc_tests::{
    kubernetes::{api_server::ApiServer, operator_process::OperatorProcess, wsc_cluster::TestCluster},
    wait::{Look, eventually_each},
};

use crate::{
    children::all_made,
    stage::{SOON, namespace, smallest},
};

/// How long it may take until two passes, 10 s apart, send no write.
const QUIET: Duration = Duration::from_secs(150);

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
pub(crate) fn writes(events: &[Value]) -> Vec<String> {
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
    // a write are waited for.
    let mut offset = 0;
    let mut written = writes(&server.audit_from(&mut offset, &ns.name)?).len();
    let mut before = passes(&operator).await?;
    let every = Duration::from_secs(1);
    let quiet = eventually_each(every, "two passes in a row send no write", QUIET, async || {
        // Asked first: a write that belongs to a pass which was counted is in the log by then.
        let now = passes(&operator).await?;
        let more = writes(&server.audit_from(&mut offset, &ns.name)?).len();
        if more > 0 {
            (before, written) = (now, written + more);
        }
        let note = format!("{} passes since the last write", now - before);
        Ok(Look::when(now >= before + 2, (), note))
    });
    if let Err(error) = quiet.await {
        let all = writes(&server.audit(&ns.name)?);
        return Err(error.context(format!("last writes: {:#?}", &all[all.len().saturating_sub(8)..])));
    }
    assert!(written >= made.len());
    Ok(())
}
