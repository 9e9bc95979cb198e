//! Shows a hub at work on a real Kubernetes: applies the sample, connects two clients to two pods, lets them talk.
#![expect(clippy::print_stdout, reason = "the demonstration talks to its user")]

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use serde_json::{Value, json};
use wsc_tests::{
    kubernetes::{
        access::Access,
        namespace::Namespace,
        resource::{POD, WSC_CLUSTER},
        wsc_cluster::{TestCluster, condition, stands},
    },
    wait::{Look, eventually},
    ws_client::PATIENCE,
};

/// How long faults may last that every start has.
const PASSING: Duration = Duration::from_secs(20);
const SAMPLE: &str = include_str!("../../../manifests/samples/chat.yaml");

/// Shows a hub at work on a real Kubernetes with the operator installed: applies the sample WscCluster `chat`, waits
/// until it is Ready, connects alice and bob to two different pods by port-forward, and lets them exchange messages.
#[derive(Debug, Parser)]
#[command(name = "wsc-demo", version)]
struct Arguments {
    /// Context of the kubeconfig [default: the current one]
    #[arg(long, env = "CONTEXT", hide_env_values = true)]
    context: Option<String>,
    /// Namespace of the sample; made when it is not there
    #[arg(long, default_value = "default")]
    namespace: String,
    /// Seconds to wait until the sample is Ready
    #[arg(long, default_value_t = 300)]
    timeout: u64,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("\nThe demonstration failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> Result<()> {
    let context = arguments.context.clone().filter(|name| !name.is_empty());
    let access = Access { kubeconfig: None, context };
    let namespace = Namespace::new(&access, &arguments.namespace).await?;
    namespace.ensure().await?;
    let sample: Value = serde_yaml::from_str(SAMPLE).context("the sample is not YAML")?;
    let name = sample["metadata"]["name"].as_str().context("the sample has no name")?;

    println!("Applying manifests/samples/chat.yaml to namespace {}.", namespace.name);
    namespace
        .apply(WSC_CLUSTER, name, &sample, "wsc-demo")
        .await
        .context("the operator may not be installed: run `make operator`")?;
    let chat = TestCluster { namespace: &namespace, name };
    let ready = wait_until_ready(&chat, Duration::from_secs(arguments.timeout)).await?;

    let last = last_ordinal(&chat, &ready).await?;
    talk(&chat, last).await?;
    print_next_steps(arguments, name);
    Ok(())
}

/// Waits and tells each change of what is waited for.
async fn wait_until_ready(chat: &TestCluster<'_>, within: Duration) -> Result<Value> {
    let start = Instant::now();
    let mut told = String::new();
    let what = format!("{} is Ready", chat.name);
    let object = eventually(&what, within, async || {
        let object = chat.object().await?;
        let status = &object["status"];
        let mut now = format!(
            "{}: {} of {} nodes ready, {} registered",
            status["phase"].as_str().unwrap_or("waiting for the operator"),
            status["readyReplicas"].as_i64().unwrap_or(0),
            object["spec"]["replicas"],
            status["registeredNodes"].as_i64().unwrap_or(0)
        );
        // At first a node may be up before Redis is, which passes by itself.
        let patient = start.elapsed() < PASSING;
        for kind in ["SpecValid", "RedisReady", "Degraded"].into_iter().filter(|_| !patient) {
            let found = condition(&object, kind);
            let bad = if kind == "Degraded" { "True" } else { "False" };
            if found["status"] == bad {
                now = format!("{now}; {kind}: {}", found["message"].as_str().unwrap_or(""));
            }
        }
        if now != told {
            println!("  {:>5.1} s  {now}", start.elapsed().as_secs_f64());
            told.clone_from(&now);
        }
        Ok(Look::when(stands(&object, "Ready", "True"), object, now))
    });
    object
        .await
        .with_context(|| format!("see: kubectl -n {} describe wsc {}", chat.namespace.name, chat.name))
}

/// Ordinal of the last pod; there must be at least two.
async fn last_ordinal(chat: &TestCluster<'_>, ready: &Value) -> Result<u32> {
    let replicas = ready["spec"]["replicas"].as_u64().and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
    ensure!(
        replicas >= 2,
        "{} has {replicas} nodes, two are needed: kubectl scale wsc/{0} --replicas=3",
        chat.name
    );
    println!("\nPods:");
    for ordinal in 0..replicas {
        let pod = chat.namespace.get(POD, &chat.pod(ordinal)).await?;
        println!(
            "  {:<10} {:<16} on node {}",
            chat.pod(ordinal),
            pod["status"]["podIP"].as_str().unwrap_or("?"),
            pod["spec"]["nodeName"].as_str().unwrap_or("?")
        );
    }
    Ok(replicas - 1)
}

async fn talk(chat: &TestCluster<'_>, last: u32) -> Result<()> {
    println!("\nConnecting, with tokens signed by the key in Secret {}-auth:", chat.name);
    let mut alice = chat.connect("alice", 0).await?;
    println!("  alice is on {}", alice.node());
    let mut bob = chat.connect("bob", last).await?;
    println!("  bob   is on {}", bob.node());
    let (api, _forward) = chat.api(0).await?;

    println!("\nMessages:");
    for (from, to, text) in
        [("alice", "bob", "hello from the first pod"), ("bob", "alice", "hello from the last")]
    {
        let (sender, receiver) =
            if from == "alice" { (&mut alice, &mut bob) } else { (&mut bob, &mut alice) };
        let start = Instant::now();
        let status = sender.send_to(to, text).await?;
        let confirmed = start.elapsed();
        let frame = receiver.expect_text(text).await?;
        ensure!(status == "delivered" && frame["sender"] == from, "{status}: {frame}");
        println!("  {from} -> {to}: {text:?} {status}, confirmed after {}", millis(confirmed));
    }

    let start = Instant::now();
    let result = api.broadcast("to everyone").await?;
    let confirmed = start.elapsed();
    alice.expect_text("to everyone").await?;
    bob.expect_text("to everyone").await?;
    println!(
        "  backend -> all: {}, {} connections, {} of {} nodes confirmed, after {}",
        text(&result["status"]),
        result["connections"],
        result["nodes_answered"],
        result["nodes_expected"],
        millis(confirmed)
    );

    let found = api.user("bob").await?;
    println!("  where is bob? {}", found["nodes"]);
    let kick = json!({"reason": "the demonstration ends", "notify": true, "message": "bye"});
    let kicked = api.post("/v1/users/bob/kick", &kick).await?.ok()?;
    let reason = bob.expect_close(4001, PATIENCE).await?;
    println!("  kick bob: {} connection closed with 4001, {reason:?}", kicked["kicked_connections"]);
    println!("(Times include the port-forward through the API server.)");
    Ok(())
}

fn millis(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1000.0)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("?")
}

fn print_next_steps(arguments: &Arguments, name: &str) {
    let context = arguments.context.as_deref().filter(|name| !name.is_empty());
    let context = context.map_or(String::new(), |name| format!(" --context {name}"));
    let kubectl = format!("kubectl{context} -n {}", arguments.namespace);
    println!("\nTo try next:");
    for command in [
        format!("{kubectl} get wsc {name} -o wide"),
        format!("{kubectl} scale wsc/{name} --replicas=4"),
        format!("{kubectl} delete pod {name}-1      # it comes back, its clients reconnect elsewhere"),
        format!("{kubectl} port-forward pod/{name}-0 8081 &"),
        format!(
            "curl -H \"Authorization: Bearer $({kubectl} get secret {name}-api -o jsonpath='{{.data.api}}' | base64 -d)\" \
             http://127.0.0.1:8081/nodes"
        ),
        format!("{kubectl} delete wsc {name}        # removes all of it"),
    ] {
        println!("  {command}");
    }
}
