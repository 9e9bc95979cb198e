//! The number of nodes follows the load: by the CPU of the pods through a real metrics server, or by the connections.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures::future::try_join_all;
use serde_json::{Value, json};
use tokio::{task::JoinHandle, time::MissedTickBehavior};
use wsc_tests::{
    kubernetes::{
        resource::{AUTOSCALER, WSC_CLUSTER, call},
        wsc_cluster::{CLIENT_PORT, TestCluster, condition, small_spec},
    },
    wait::{Look, eventually},
    ws_client::{PATIENCE, WsClient, WsRequest},
};

use crate::stage::{STARTED, Stage};

/// What a pod asks for, in thousandths of a core. Small, so that little work is a high share of it.
const REQUEST: i64 = 40;
/// The share of it, in percent, at which nodes are added.
const TARGET: i64 = 30;
/// Messages that each of the two busy clients sends each second, while more nodes are wanted.
const BUSY: u32 = 400;

/// CPU of the hub pods in thousandths of a core, from the metrics API; nothing while it has no samples.
async fn cpu(chat: &TestCluster<'_>, pods: u32) -> Result<Option<Vec<i64>>> {
    let mut all = Vec::new();
    for ordinal in 0..pods {
        let path = format!(
            "/apis/metrics.k8s.io/v1beta1/namespaces/{}/pods/{}",
            chat.namespace.name,
            chat.pod(ordinal)
        );
        let Some(sample) = call(&chat.namespace.client, http::Method::GET, &path, None).await? else {
            return Ok(None);
        };
        all.push(millicores(
            sample["containers"][0]["usage"]["cpu"].as_str().context("no cpu in a sample")?,
        )?);
    }
    Ok(Some(all))
}

/// A quantity of CPU as the metrics server writes it.
fn millicores(quantity: &str) -> Result<i64> {
    let (number, unit) = quantity.split_at(quantity.trim_end_matches(char::is_alphabetic).len());
    let number: i64 = number.parse().with_context(|| format!("a strange quantity: {quantity}"))?;
    Ok(match unit {
        "n" => number / 1_000_000,
        "u" => number / 1000,
        "m" => number,
        _ => number * 1000,
    })
}

/// Two users on two nodes who write to each other until they are stopped.
async fn busy_clients(chat: &TestCluster<'_>) -> Result<[JoinHandle<Result<()>>; 2]> {
    let [first, second] = [chat.connect("busy-0", 0).await?, chat.connect("busy-1", 1).await?];
    Ok([write_on(first, "busy-1"), write_on(second, "busy-0")])
}

fn write_on(mut client: WsClient, receiver: &'static str) -> JoinHandle<Result<()>> {
    tokio::spawn(async move {
        let mut turn = tokio::time::interval(Duration::from_secs(1) / BUSY);
        turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = turn.tick() => {
                    let frame = json!({"message_type": "text", "receiver": receiver, "content": "busy"});
                    client.send(&frame).await?;
                }
                frame = client.next(PATIENCE) => drop(frame?),
            }
        }
    })
}

/// The condition AutoscalingActive, as status and message.
fn active(object: &Value) -> (&str, &str) {
    let found = condition(object, "AutoscalingActive");
    (found["status"].as_str().unwrap_or_default(), found["message"].as_str().unwrap_or_default())
}

#[tokio::test]
async fn a_busy_hub_gets_another_node_by_the_cpu_of_its_pods() -> Result<()> {
    let stage = Stage::new("hpa").await?;
    let mut spec = small_spec(2);
    spec["pod"]["resources"]["requests"]["cpu"] = json!(format!("{REQUEST}m"));
    spec["autoscaling"] =
        json!({"mode": "HPA", "minReplicas": 2, "maxReplicas": 3, "targetCPUUtilization": TARGET});
    let chat = TestCluster::create(&stage.ns, "chat", &spec).await?;
    chat.ready(2, STARTED).await?;

    // New pods have no samples yet. The condition may not say yes before the autoscaler itself does.
    let object = eventually("the autoscaler has samples", STARTED, async || {
        let object = chat.object().await?;
        let (status, message) = active(&object);
        if status == "True" {
            ensure!(message.contains("ValidMetricFound"), "{message}");
            let autoscaler = stage.ns.get(AUTOSCALER, "chat").await?;
            let own = condition(&autoscaler, "ScalingActive");
            ensure!(own["status"] == "True", "the autoscaler says of itself: {own}");
        }
        Ok(Look::when(status == "True", object.clone(), format!("{status}: {message}")))
    })
    .await?;
    assert_eq!((&object["spec"]["replicas"], &object["status"]["desiredReplicas"]), (&json!(2), &json!(2)));
    let idle = cpu(&chat, 2).await?.context("the metrics API has no samples of the pods")?;
    ensure!(idle.iter().sum::<i64>() < 2 * REQUEST * TARGET / 100, "idle pods use {idle:?} thousandths");

    let busy = busy_clients(&chat).await?;
    let grown = stage
        .ns
        .until(
            WSC_CLUSTER,
            "chat",
            "the autoscaler asks for a third node",
            Duration::from_secs(90),
            |object| object["spec"]["replicas"] == 3,
        )
        .await;
    let used = cpu(&chat, 2).await?;
    for client in busy {
        // It has no end of its own, so an end is a fault.
        if client.is_finished() {
            client.await??;
        } else {
            client.abort();
        }
    }
    let grown = grown.with_context(|| format!("the pods used {used:?}, idle {idle:?}"))?;
    eprintln!("thousandths of a core: idle {idle:?}, busy {used:?}");
    // Nobody else wrote it, and it came by the scale subresource.
    let writers = grown["metadata"]["managedFields"].as_array().context("no managed fields")?;
    ensure!(
        writers.iter().any(|writer| {
            writer["subresource"] == "scale" && writer["fieldsV1"]["f:spec"].get("f:replicas").is_some()
        }),
        "{writers:?}"
    );
    let object = chat.ready(3, STARTED).await?;
    assert_eq!(active(&object).0, "True", "{:?}", active(&object));
    let autoscaler = stage.ns.get(AUTOSCALER, "chat").await?;
    assert_eq!(autoscaler["status"]["desiredReplicas"], 3);
    Ok(())
}

#[tokio::test]
async fn connections_add_a_node_and_their_absence_gives_it_up_with_no_metrics_adapter() -> Result<()> {
    let stage = Stage::new("by-connections").await?;
    let mut spec = small_spec(2);
    spec["autoscaling"] = json!({
        "mode": "Connections", "minReplicas": 2, "maxReplicas": 4, "targetConnectionsPerNode": 10,
        "scaleDown": {"stabilization": "5s"}
    });
    let chat = TestCluster::create(&stage.ns, "chat", &spec).await?;
    let object = chat.ready(2, STARTED).await?;
    assert_eq!(active(&object).0, "True", "{:?}", active(&object));
    ensure!(stage.ns.find(AUTOSCALER, "chat").await?.is_none(), "there is a HorizontalPodAutoscaler");

    let forward = chat.forward(0, CLIENT_PORT).await?;
    let clients = try_join_all((0..25).map(async |number| {
        let request = WsRequest::token(&chat.token(&format!("user-{number}")).await?);
        WsClient::connect(forward.address(), &request).await
    }))
    .await?;
    // 25 at 10 a node.
    let object = chat.ready(3, STARTED).await?;
    assert_eq!(object["status"]["desiredReplicas"], 3);
    assert_eq!(object["spec"]["replicas"], 2, "the operator never writes the spec");
    let (status, message) = active(&object);
    ensure!(status == "True" && message.contains("25 connections at 10 a node"), "{status}: {message}");
    let mut last = chat.connect("last", 2).await?;
    assert_eq!(last.send_to("user-7", "from the new node").await?, "delivered");

    // Without them two are enough. How nodes then go is the same as for a smaller wish of anybody else.
    drop(clients);
    let object = stage
        .ns
        .until(WSC_CLUSTER, "chat", "two are wished for", Duration::from_secs(90), |object| {
            object["status"]["desiredReplicas"] == 2
        })
        .await?;
    assert_eq!(active(&object).0, "True", "{:?}", active(&object));
    last.expect_nothing().await
}
