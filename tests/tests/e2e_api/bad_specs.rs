//! Specs that cannot work are refused by the API server, with a sentence that says what to change.

use anyhow::Result;
use serde_json::{Value, json};
use wsc_tests::kubernetes::wsc_cluster::{TestCluster, manifest};

use crate::stage::{namespace, smallest};

fn with(change: Value) -> Value {
    let mut spec = smallest();
    merge(&mut spec, change);
    spec
}

fn merge(into: &mut Value, change: Value) {
    match (into, change) {
        (Value::Object(into), Value::Object(change)) => {
            for (key, value) in change {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, change) => *into = change,
    }
}

#[tokio::test]
async fn bad_specs_are_refused_with_readable_messages() -> Result<()> {
    let ns = namespace("bad").await?;
    let cases: Vec<(&str, Value, &str)> = vec![
        ("no redis", json!({}), "redis"),
        ("empty redis", json!({"redis": {}}), "exactly one of redis.managed and redis.external"),
        (
            "both kinds of redis",
            json!({"redis": {"managed": {}, "external": {"addresses": ["r:6379"]}}}),
            "exactly one of redis.managed and redis.external",
        ),
        ("negative replicas", with(json!({"replicas": -1})), "replicas"),
        ("too many replicas", with(json!({"replicas": 1001})), "1000"),
        ("replicas as text", with(json!({"replicas": "three"})), "replicas"),
        (
            "lease too short",
            with(json!({"hub": {"heartbeat": {"lease": "20s"}}})),
            "three times heartbeat.interval",
        ),
        ("lease too long", with(json!({"hub": {"heartbeat": {"lease": "61s"}}})), "at most 60s"),
        ("not a duration", with(json!({"hub": {"heartbeat": {"interval": "ten"}}})), "heartbeat.interval"),
        ("grace too short", with(json!({"drain": {"terminationGracePeriod": "5s"}})), "at least 35s"),
        (
            "grace shorter than the settling",
            with(json!({"drain": {"settle": "30s", "terminationGracePeriod": "59s"}})),
            "at least drain.settle + 30s",
        ),
        ("drain without end", with(json!({"drain": {"timeout": "0s"}})), "drain.timeout must be at least 1s"),
        (
            "deadline within the time of one drain",
            with(json!({"rollout": {"progressDeadline": "13m"}})),
            "progressDeadline must be longer than drain.timeout",
        ),
        ("nobody may be down", with(json!({"rollout": {"maxUnavailable": 0}})), "maxUnavailable"),
        ("unknown auth mode", with(json!({"hub": {"auth": {"mode": "Magic"}}})), "Token"),
        ("prefix with braces", with(json!({"redis": {"keyPrefix": "a{b}"}})), "keyPrefix"),
        (
            "a variable of the operator",
            with(json!({"hub": {"env": [{"name": "WSC_NODE_ID", "value": "x"}]}})),
            "may not name a variable that the operator sets",
        ),
        ("ingress without hosts", with(json!({"exposure": {"type": "Ingress"}})), "exposure.hosts"),
        (
            "a queue that cannot hold a message",
            with(json!({"hub": {"limits": {"maxMessageBytes": 262_144}}})),
            "a queue can hold one message",
        ),
        ("inbox too large", with(json!({"hub": {"inbox": {"maxBytes": "257Mi"}}})), "at most 256Mi"),
        ("inbox of no size", with(json!({"hub": {"inbox": {"maxBytes": "lots"}}})), "inbox.maxBytes"),
        ("inbox for ever", with(json!({"hub": {"inbox": {"ttl": "9000h"}}})), "at most 8760h"),
        ("proxy without networks", with(json!({"hub": {"auth": {"mode": "Proxy"}}})), "trustedCidrs"),
        (
            "header in another mode",
            with(json!({"hub": {"auth": {"proxy": {"userHeader": "X-User"}}}})),
            "auth.mode Proxy only",
        ),
        (
            "settling for too long",
            with(
                json!({"drain": {"settle": "6m", "terminationGracePeriod": "1h", "timeout": "1m"}, "rollout": {"progressDeadline": "3h"}}),
            ),
            "at most 5m",
        ),
        (
            "a variable of a hot setting",
            with(json!({"hub": {"env": [{"name": "WSC_DRAIN_RATE", "value": "1"}]}})),
            "may not name a variable that the operator sets",
        ),
        (
            "sentinel without a name",
            json!({"redis": {"external": {"mode": "Sentinel", "addresses": ["r:26379"]}}}),
            "sentinel.masterName",
        ),
        (
            "database of a cluster",
            json!({"redis": {"external": {"mode": "Cluster", "addresses": ["r:6379", "s:6379"], "database": 1}}}),
            "must be 0 in mode Cluster",
        ),
        (
            "more nodes at least than at most",
            with(json!({"autoscaling": {"minReplicas": 11}})),
            "must not be greater than autoscaling.maxReplicas",
        ),
        (
            "stabilization for too long",
            with(json!({"autoscaling": {"scaleDown": {"stabilization": "61m"}}})),
            "at most 1h",
        ),
        (
            "a target that no node can reach",
            with(json!({"autoscaling": {"mode": "Connections"}, "hub": {"maxConnections": 19_999}})),
            "targetConnectionsPerNode must not be greater",
        ),
        ("no connections", with(json!({"hub": {"maxConnections": 0}})), "maxConnections"),
        (
            "two addresses of one server",
            json!({"redis": {"external": {"addresses": ["a:6379", "b:6379"]}}}),
            "exactly one address",
        ),
        ("address without port", json!({"redis": {"external": {"addresses": ["redis"]}}}), "addresses"),
        (
            "authority without tls",
            json!({"redis": {"external": {"addresses": ["r:6379"], "tls": {"caSecretRef": {"name": "ca"}}}}}),
            "tls.enabled: true",
        ),
        ("unknown field", with(json!({"replica": 3})), "replica"),
    ];
    for (what, spec, word) in cases {
        let text = manifest("chat", &spec).to_string();
        let said = ns.kubectl.refused(&["create", "--validate=strict", "-f", "-"], &text).await;
        let said = said.map_err(|error| error.context(what))?;
        assert!(said.contains(word), "{what}: {word:?} is not in {said}");
        assert!(!said.contains("no such key") && !said.contains("evaluation error"), "{what}: {said}");
    }
    Ok(())
}

#[tokio::test]
async fn names_that_no_service_could_have_are_refused() -> Result<()> {
    let ns = namespace("names").await?;
    for (name, word) in [("1chat", "begin with a letter"), ("a.b", "a-z"), (&"x".repeat(41), "40 characters")]
    {
        let text = manifest(name, &smallest()).to_string();
        let said = ns.kubectl.refused(&["create", "-f", "-"], &text).await?;
        assert!(said.contains(word), "{name}: {said}");
    }
    ns.kubectl.run_with(&["create", "-f", "-"], &manifest(&"x".repeat(40), &smallest()).to_string()).await?;
    Ok(())
}

#[tokio::test]
async fn what_says_where_data_lies_cannot_be_changed() -> Result<()> {
    let ns = namespace("fixed").await?;
    let external = json!({"redis": {"managed": null, "external": {"addresses": ["r:6379"]}}});
    let cases = [
        (smallest(), external, "cannot be exchanged"),
        (smallest(), json!({"redis": {"keyPrefix": "other:"}}), "keyPrefix is immutable"),
        (smallest(), json!({"redis": {"managed": {"persistence": "AOF"}}}), "persistence is immutable"),
        (smallest(), json!({"redis": {"managed": {"storage": {"size": "2Gi"}}}}), "storage is immutable"),
        (
            json!({"redis": {"external": {"addresses": ["r:6379"]}}}),
            json!({"redis": {"external": {"database": 1}}}),
            "database are immutable",
        ),
    ];
    for (number, (spec, change, word)) in cases.into_iter().enumerate() {
        let name = format!("chat-{number}");
        let cluster = TestCluster::create(&ns, &name, &spec).await?;
        let refusal = cluster.change(&change).await.expect_err("the change must be refused").to_string();
        assert!(refusal.contains(word), "{change}: {refusal}");
    }
    Ok(())
}
