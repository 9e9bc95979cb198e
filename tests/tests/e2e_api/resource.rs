//! The custom resource as users meet it: defaults, columns, explanations, scale.

use anyhow::Result;
use serde_json::json;
use wsc_tests::kubernetes::{resource::WSC_CLUSTER, wsc_cluster::TestCluster};

use crate::stage::{namespace, smallest};

#[tokio::test]
async fn the_smallest_resource_is_filled_with_every_default() -> Result<()> {
    let ns = namespace("defaults").await?;
    let cluster = TestCluster::create(&ns, "chat", &smallest()).await?;
    let object = cluster.object().await?;
    assert_eq!(object["status"]["observedGeneration"], -1, "nothing may call a fresh resource ready");
    let spec = &object["spec"];
    let expected = [
        ("/replicas", json!(3)),
        ("/paused", json!(false)),
        ("/stopped", json!(false)),
        ("/image/pullPolicy", json!("IfNotPresent")),
        ("/hub/auth/mode", json!("Token")),
        ("/hub/maxConnections", json!(50_000)),
        ("/hub/logLevel", json!("info")),
        ("/hub/heartbeat/interval", json!("10s")),
        ("/hub/heartbeat/lease", json!("30s")),
        ("/hub/limits/maxMessageBytes", json!(65_536)),
        ("/hub/limits/outboundQueueBytes", json!(262_144)),
        ("/hub/limits/messageBufferSize", json!(1024)),
        ("/hub/limits/maxConnectionsPerUser", json!(0)),
        ("/hub/limits/onExcess", json!("CloseOldest")),
        ("/hub/inbox", json!({"enabled": true, "maxMessages": 1000, "maxBytes": "1Mi", "ttl": "168h"})),
        ("/hub/events/enabled", json!(false)),
        ("/redis/managed/persistence", json!("None")),
        ("/redis/managed/maxMemory", json!("256Mi")),
        ("/redis/managed/storage/size", json!("1Gi")),
        ("/redis/keyPrefix", json!("")),
        ("/rollout/minReadySeconds", json!(5)),
        ("/rollout/maxUnavailable", json!(1)),
        ("/rollout/progressDeadline", json!("20m")),
        ("/drain/ratePerSecond", json!(200)),
        ("/drain/settle", json!("5s")),
        ("/drain/timeout", json!("10m")),
        ("/drain/retryAfterMax", json!("1s")),
        ("/drain/terminationGracePeriod", json!("120s")),
        ("/autoscaling/mode", json!("Disabled")),
        ("/autoscaling/minReplicas", json!(2)),
        ("/autoscaling/maxReplicas", json!(10)),
        ("/autoscaling/targetCPUUtilization", json!(70)),
        ("/autoscaling/targetConnectionsPerNode", json!(20_000)),
        ("/autoscaling/scaleDown/stabilization", json!("10m")),
        ("/disruption/maxUnavailable", json!(1)),
        ("/services/client/type", json!("ClusterIP")),
        ("/services/client/port", json!(80)),
        ("/exposure/type", json!("None")),
        ("/exposure/profile", json!("Generic")),
        ("/exposure/affinity/type", json!("None")),
        ("/exposure/affinity/cookieName", json!("wsc-session")),
        ("/security/networkPolicy/enabled", json!(true)),
        ("/pod/resources/requests/cpu", json!("250m")),
    ];
    for (path, value) in expected {
        assert_eq!(spec.pointer(path), Some(&value), "{path} in {spec}");
    }
    for absent in ["/image/repository", "/image/tag", "/redis/external"] {
        assert_eq!(spec.pointer(absent), None, "{absent} has no default in the schema");
    }
    Ok(())
}

#[tokio::test]
async fn applying_a_manifest_twice_changes_nothing() -> Result<()> {
    let ns = namespace("apply").await?;
    let sample = wsc_tests::source_tree::root().join("manifests/samples/chat.yaml");
    let sample = sample.to_string_lossy();
    ns.kubectl.run(&["apply", "-f", &sample]).await?;
    let first = ns.get(WSC_CLUSTER, "chat").await?;
    assert!(ns.kubectl.run(&["apply", "-f", &sample]).await?.contains("unchanged"));
    assert_eq!(ns.get(WSC_CLUSTER, "chat").await?["metadata"]["generation"], first["metadata"]["generation"]);
    Ok(())
}

#[tokio::test]
async fn explain_describes_every_field_of_redis() -> Result<()> {
    let ns = namespace("explain").await?;
    let text = ns.kubectl.run(&["explain", "wsc.spec.redis"]).await?;
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for word in ["managed", "external", "keyPrefix", "Exactly one of"] {
        assert!(text.contains(word), "{word} is missing in\n{text}");
    }
    let all = ns.kubectl.run(&["explain", "wsc", "--recursive"]).await?;
    for field in ["terminationGracePeriod", "ingressClassName", "outboundQueueBytes", "registeredNodes"] {
        assert!(all.contains(field), "{field} is missing in explain --recursive");
    }
    let text = ns.kubectl.run(&["explain", "wsc.spec.drain.terminationGracePeriod"]).await?;
    assert!(text.contains("120s") && text.contains("<string>"), "{text}");
    assert!(!all.contains("<no description>") && !text.contains("<empty>"), "{all}");
    Ok(())
}

#[tokio::test]
async fn get_shows_the_documented_columns_by_every_name() -> Result<()> {
    let ns = namespace("columns").await?;
    TestCluster::create(&ns, "chat", &smallest()).await?;
    for name in ["wsc", "wscclusters", "wsccluster", "wscclusters.wsc.dev"] {
        let text = ns.kubectl.run(&["get", name]).await?;
        let header: Vec<&str> = text.lines().next().unwrap_or_default().split_whitespace().collect();
        assert_eq!(header, ["NAME", "READY", "NODES", "DESIRED", "CONNECTIONS", "PHASE", "AGE"], "{name}");
    }
    let wide = ns.kubectl.run(&["get", "wsc", "-o", "wide"]).await?;
    let header: Vec<&str> = wide.lines().next().unwrap_or_default().split_whitespace().collect();
    assert_eq!(header[7..], ["OPERATION", "REDIS", "ENDPOINT", "IMAGE"], "{wide}");
    Ok(())
}

#[tokio::test]
async fn scale_reads_and_writes_replicas() -> Result<()> {
    let ns = namespace("scale").await?;
    let cluster = TestCluster::create(&ns, "chat", &smallest()).await?;
    ns.kubectl.run(&["scale", "wsc/chat", "--replicas=5"]).await?;
    assert_eq!(cluster.object().await?["spec"]["replicas"], 5);
    let path = format!("/apis/wsc.dev/v1alpha1/namespaces/{}/wscclusters/chat/scale", ns.name);
    let scale: serde_json::Value = serde_json::from_str(&ns.kubectl.run(&["get", "--raw", &path]).await?)?;
    assert_eq!((&scale["kind"], &scale["spec"]["replicas"]), (&json!("Scale"), &json!(5)), "{scale}");
    Ok(())
}
