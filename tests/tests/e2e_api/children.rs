//! What a resource is turned into.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use wsc_tests::kubernetes::{
    namespace::TestNamespace,
    resource::{
        CHILDREN, CONFIG_MAP, DISRUPTION_BUDGET, INGRESS, NETWORK_POLICY, Resource, SECRET, SERVICE,
        SERVICE_ACCOUNT, STATEFUL_SET, WSC_CLUSTER,
    },
    wsc_cluster::{TestCluster, condition},
};

use crate::stage::{SOON, smallest, with_operator};

/// The children of `{redis: {managed: {}}}` named chat.
pub(crate) const OF_THE_SMALLEST: [(Resource, &str); 14] = [
    (SERVICE_ACCOUNT, "chat-hub"),
    (SECRET, "chat-auth"),
    (SECRET, "chat-api"),
    (SECRET, "chat-redis"),
    (SERVICE, "chat-nodes"),
    (SERVICE, "chat"),
    (SERVICE, "chat-api"),
    (SERVICE, "chat-redis"),
    (NETWORK_POLICY, "chat-hub"),
    (NETWORK_POLICY, "chat-redis"),
    (DISRUPTION_BUDGET, "chat"),
    (CONFIG_MAP, "chat-hot"),
    (STATEFUL_SET, "chat-redis"),
    (STATEFUL_SET, "chat"),
];

/// Waits until all of them are there.
pub(crate) async fn all_made(ns: &TestNamespace) -> Result<()> {
    for (resource, name) in OF_THE_SMALLEST {
        ns.until(resource, name, &format!("{} {name} is made", resource.kind), SOON, |_| true).await?;
    }
    Ok(())
}

#[tokio::test]
async fn every_child_is_made_and_belongs_to_the_resource() -> Result<()> {
    let (ns, _operator) = with_operator("children").await?;
    let cluster = TestCluster::create(&ns, "chat", &smallest()).await?;
    all_made(&ns).await?;
    let uid = cluster.object().await?["metadata"]["uid"].clone();
    let mut found = Vec::new();
    for resource in CHILDREN {
        for object in ns.list(resource).await? {
            let metadata = &object["metadata"];
            if metadata["labels"]["app.kubernetes.io/managed-by"] != "wsc-operator" {
                continue;
            }
            let owner = &metadata["ownerReferences"][0];
            assert_eq!((&owner["uid"], &owner["controller"]), (&uid, &json!(true)), "{metadata}");
            assert_eq!(metadata["labels"]["wsc.dev/cluster"], "chat", "{metadata}");
            found.push(format!("{} {}", resource.kind, metadata["name"].as_str().unwrap_or_default()));
        }
    }
    found.sort();
    let mut wanted: Vec<String> =
        OF_THE_SMALLEST.iter().map(|(resource, name)| format!("{} {name}", resource.kind)).collect();
    wanted.sort();
    assert_eq!(found, wanted);
    Ok(())
}

#[tokio::test]
async fn the_pods_are_described_as_the_design_asks() -> Result<()> {
    let (ns, _operator) = with_operator("template").await?;
    TestCluster::create(&ns, "chat", &smallest()).await?;
    all_made(&ns).await?;
    let set = ns.get(STATEFUL_SET, "chat").await?;
    assert_eq!(set["spec"]["replicas"], 3);
    assert_eq!(set["spec"]["podManagementPolicy"], "Parallel");
    assert_eq!(set["spec"]["updateStrategy"]["type"], "OnDelete");
    assert_eq!(set["spec"]["serviceName"], "chat-nodes");
    let pod = &set["spec"]["template"]["spec"];
    assert_eq!(pod["automountServiceAccountToken"], false);
    assert_eq!(pod["terminationGracePeriodSeconds"], 120);
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    let container = &pod["containers"][0];
    assert_eq!((&container["name"], &container["image"]), (&json!("hub"), &json!("wsc-hub:dev")));
    assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
    assert_eq!(container["securityContext"]["capabilities"]["drop"], json!(["ALL"]));
    assert_eq!(container["readinessProbe"]["httpGet"]["path"], "/health");
    assert_eq!(container["livenessProbe"]["httpGet"]["path"], "/livez");
    assert_eq!(container["startupProbe"]["httpGet"]["path"], "/livez");
    assert_eq!(container.get("lifecycle"), None, "no preStop");
    let headless = ns.get(SERVICE, "chat-nodes").await?;
    assert_eq!(headless["spec"]["clusterIP"], "None");
    assert_eq!(headless["spec"]["publishNotReadyAddresses"], true);
    let client = ns.get(SERVICE, "chat").await?;
    assert_eq!(
        (&client["spec"]["ports"][0]["port"], &client["spec"]["ports"][0]["targetPort"]),
        (&json!(80), &json!("client"))
    );
    let budget = ns.get(DISRUPTION_BUDGET, "chat").await?;
    assert_eq!(budget["spec"]["maxUnavailable"], 1);
    assert_eq!(budget["spec"]["unhealthyPodEvictionPolicy"], "AlwaysAllow");
    let redis = ns.get(STATEFUL_SET, "chat-redis").await?;
    let password = ns.secret("chat-redis", "password").await?;
    assert!(password.len() >= 24);
    assert!(!redis.to_string().contains(&password) && !set.to_string().contains(&password));
    Ok(())
}

#[tokio::test]
async fn conditions_are_all_there_and_say_what_is_missing_when_no_pod_runs() -> Result<()> {
    let (ns, _operator) = with_operator("status").await?;
    let cluster = TestCluster::create(&ns, "chat", &smallest()).await?;
    let object = cluster.until("Ready", "False", SOON).await?;
    for kind in [
        "Ready",
        "Available",
        "Progressing",
        "Degraded",
        "SpecValid",
        "RedisReady",
        "ExposureReady",
        "AutoscalingActive",
    ] {
        let found = condition(&object, kind);
        assert!(found["status"].is_string(), "{kind} is missing: {}", object["status"]);
        assert!(found["message"].as_str().is_some_and(|message| message.len() > 5), "{kind}: {found}");
        assert!(found["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{kind}: {found}");
    }
    assert_eq!(condition(&object, "SpecValid")["status"], "True");
    assert_eq!(condition(&object, "Available")["status"], "False");
    let status = &object["status"];
    // A count that never was anything but 0 may be left out.
    assert_eq!(
        (status["readyReplicas"].as_i64().unwrap_or(0), &status["desiredReplicas"]),
        (0, &json!(3)),
        "{status}"
    );
    assert!(status["selector"].as_str().is_some_and(|selector| selector.contains("chat")), "{status}");
    assert_eq!(status["endpoints"]["internal"], format!("ws://chat.{}.svc:80/ws", ns.name));
    Ok(())
}

#[tokio::test]
async fn an_ingress_comes_with_its_profile_and_goes_with_the_exposure() -> Result<()> {
    let (ns, _operator) = with_operator("exposure").await?;
    let mut spec = smallest();
    spec["exposure"] = json!({
        "type": "Ingress", "hosts": [{"host": "chat.example.org"}], "profile": "HAProxy",
        "affinity": {"type": "Cookie"}, "tls": {"secretName": "chat-tls"}, "annotations": {"example.org/mine": "yes"}
    });
    let cluster = TestCluster::create(&ns, "chat", &spec).await?;
    let ingress = ns.until(INGRESS, "chat", "the Ingress is made", SOON, |_| true).await?;
    let rule = &ingress["spec"]["rules"][0];
    assert_eq!(rule["host"], "chat.example.org");
    assert_eq!(rule["http"]["paths"][0]["path"], "/ws");
    assert_eq!(rule["http"]["paths"][0]["backend"]["service"]["name"], "chat");
    assert_eq!(ingress["spec"]["tls"][0]["secretName"], "chat-tls");
    let annotations = &ingress["metadata"]["annotations"];
    assert_eq!(annotations["example.org/mine"], "yes");
    assert!(annotations.to_string().contains("haproxy"), "{annotations}");
    let service = ns
        .until(SERVICE, "chat", "the Service has the cookie", SOON, |service| {
            service["metadata"]["annotations"].to_string().contains("wsc-session")
        })
        .await?;
    assert!(service["metadata"]["annotations"].to_string().contains("haproxy"), "{service}");

    cluster.change(&json!({"exposure": {"type": "None"}})).await?;
    ns.gone(INGRESS, "chat", SOON).await?;
    ns.until(SERVICE, "chat", "the cookie is gone from the Service", SOON, |service| {
        !service["metadata"]["annotations"].to_string().contains("wsc-session")
    })
    .await?;
    Ok(())
}

#[tokio::test]
async fn stopped_scales_to_nothing_and_keeps_the_rest() -> Result<()> {
    let (ns, _operator) = with_operator("stopped").await?;
    let cluster = TestCluster::create(&ns, "chat", &smallest()).await?;
    all_made(&ns).await?;
    let replicas = |wanted: i64| move |set: &Value| set["spec"]["replicas"] == wanted;
    cluster.change(&json!({"stopped": true})).await?;
    ns.until(STATEFUL_SET, "chat", "no replicas", SOON, replicas(0)).await?;
    ns.get(STATEFUL_SET, "chat-redis").await?;
    assert_eq!(cluster.object().await?["spec"]["replicas"], 3, "the operator never writes the spec");
    cluster.change(&json!({"stopped": false})).await?;
    ns.until(STATEFUL_SET, "chat", "three replicas again", SOON, replicas(3)).await?;
    Ok(())
}

#[tokio::test]
async fn deletion_leaves_nothing_but_what_every_namespace_has() -> Result<()> {
    let (ns, _operator) = with_operator("deletion").await?;
    TestCluster::create(&ns, "chat", &smallest()).await?;
    all_made(&ns).await?;
    ns.delete(WSC_CLUSTER, "chat").await?;
    for (resource, name) in OF_THE_SMALLEST {
        ns.gone(resource, name, std::time::Duration::from_secs(60)).await?;
    }
    let left = ns.list(CONFIG_MAP).await?;
    let names: Vec<_> = left.iter().filter_map(|object| object["metadata"]["name"].as_str()).collect();
    assert_eq!(names, ["kube-root-ca.crt"]);
    assert_eq!(ns.list(SECRET).await?.len(), 0);
    ns.list(SERVICE_ACCOUNT).await?.first().context("the default service account stays")?;
    Ok(())
}
