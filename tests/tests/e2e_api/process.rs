//! The operator as a program: settings, leadership, end.

use std::time::Duration;

use anyhow::Result;
use tokio::process::Command;
use wsc_tests::{
    child_process::ChildProcess,
    kubernetes::{operator_process::OperatorProcess, wsc_cluster::TestCluster},
    program,
    wait::{Look, eventually},
};

use crate::{
    children::all_made,
    stage::{namespace, smallest},
};

#[tokio::test]
async fn two_may_run_one_leads_and_the_other_takes_over() -> Result<()> {
    let ns = namespace("leader").await?;
    let mut first = OperatorProcess::start_with(&ns, &[("POD_NAME", "first")]).await?;
    eventually("the first leads", Duration::from_secs(20), async || {
        Ok(Look::when(first.leads().await?, (), "it does not"))
    })
    .await?;
    let second = OperatorProcess::start_with(&ns, &[("POD_NAME", "second")]).await?;
    assert!(!second.leads().await?, "two lead");
    // At once: its caches may still be empty, and nothing under way is no reason to stay.
    let status = first.terminate(Duration::from_secs(10)).await?;
    assert_eq!(status.code(), Some(0), "{}", first.output());
    // The lease was given back, so nobody waits for its end.
    eventually("the second leads", Duration::from_secs(10), async || {
        Ok(Look::when(second.leads().await?, (), "it does not"))
    })
    .await?;
    TestCluster::create(&ns, "chat", &smallest()).await?;
    all_made(&ns).await
}

#[tokio::test]
async fn an_operator_started_later_finds_what_was_made_before() -> Result<()> {
    let ns = namespace("later").await?;
    TestCluster::create(&ns, "chat", &smallest()).await?;
    let operator = OperatorProcess::start(&ns).await?;
    all_made(&ns).await?;
    assert_eq!(operator.get("/healthz").await?.0, 200);
    assert!(!operator.output().contains("panicked"), "{}", operator.output());
    for secret in ["default.key", "requirepass"] {
        assert!(!operator.output().contains(secret), "{secret} is in the log");
    }
    let password = ns.secret("chat-redis", "password").await?;
    assert!(!operator.output().contains(&password), "the password is in the log");
    Ok(())
}

#[tokio::test]
async fn bad_settings_are_listed_all_at_once_with_exit_64() -> Result<()> {
    let mut command = Command::new(program::built("wsc-operator")?);
    command
        .env_clear()
        .env("WSC_LISTEN", "nowhere")
        .env("WSC_RESYNC", "soon")
        .env("WSC_CONCURRENCY", "0")
        .env("WSC_LOG_FORMAT", "xml")
        .env("WSC_LEADER_ELECT", "perhaps");
    let mut process = ChildProcess::spawn("wsc-operator", command)?;
    let status = process.exit(Duration::from_secs(10)).await?;
    assert_eq!(status.code(), Some(64), "{}", process.output());
    let said = process.stderr().to_lowercase().replace('-', "_");
    for name in ["listen", "resync", "concurrency", "log_format", "leader_elect"] {
        assert!(said.contains(name), "{name} is not named in {said}");
    }
    Ok(())
}
