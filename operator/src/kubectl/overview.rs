//! The tree of `status`, the table of `nodes`, and the sentence about what to do next.

use kube::ResourceExt as _;
use serde_json::{Value, json};

use crate::api::conditions::{self, find};
use crate::api::status::WscClusterStatus;
use crate::api::{WscCluster, conditions::ConditionStatus};
use crate::desired::names;

use super::answer::{Answer, table};
use super::survey::NodeRow;

/// Everything about one cluster.
#[must_use]
pub fn tree(cluster: &WscCluster, rows: &[NodeRow]) -> Answer {
    let status = cluster.status.clone().unwrap_or_default();
    let next = next_action(cluster, rows);
    let mut branches = vec![
        vec![format!("Nodes        {}", counts(&status))],
        vec![format!("Connections  {}", connections(&status, rows))],
        vec![format!("Operation    {}", operation(&status))],
    ];
    branches[0].extend(rows.iter().map(node_line));
    if let Some(operation) = &status.operation {
        branches[2].extend(operation.pods.iter().map(|pod| format!("{}  {}", pod.name, pod.step)));
    }
    let external = status.endpoints.external.as_deref().map(|url| format!(", {url}"));
    branches.push(vec![format!(
        "Endpoints    {}{}",
        status.endpoints.internal,
        external.unwrap_or_default()
    )]);
    if let Some(image) = &status.image {
        branches.push(vec![format!("Image        {image}")]);
    }
    let mut shown = vec!["Conditions".to_owned()];
    shown.extend(status.conditions.iter().map(|condition| {
        format!("{:<18} {:<7} {}: {}", condition.type_, condition.status, condition.reason, condition.message)
    }));
    branches.push(shown);
    let phase = status.phase.map_or_else(|| "new".to_owned(), |phase| format!("{phase:?}"));
    let mut text = format!("{}/{}  {phase}\n", names::namespace(cluster), names::cluster(cluster));
    text.push_str(&draw(&branches));
    text.push_str(&format!("Next: {next}\n"));
    Answer { text, json: as_json(cluster, &status, rows, &next) }
}

fn as_json(cluster: &WscCluster, status: &WscClusterStatus, rows: &[NodeRow], next: &str) -> Value {
    json!({
        "namespace": names::namespace(cluster), "name": names::cluster(cluster),
        "generation": cluster.metadata.generation, "observedGeneration": status.observed_generation,
        "phase": status.phase, "desiredReplicas": status.desired_replicas, "readyReplicas": status.ready_replicas,
        "registeredNodes": status.registered_nodes, "connections": status.connections,
        "operation": status.operation, "endpoints": status.endpoints, "image": status.image,
        "nodes": rows, "conditions": status.conditions, "next": next,
    })
}

fn draw(branches: &[Vec<String>]) -> String {
    let mut text = String::new();
    for (index, branch) in branches.iter().enumerate() {
        let last = index + 1 == branches.len();
        for (line, words) in branch.iter().enumerate() {
            let (stem, twig) = match (line, last) {
                (0, false) => ("├─ ", ""),
                (0, true) => ("└─ ", ""),
                (_, false) => ("│  ", if line + 1 == branch.len() { "└─ " } else { "├─ " }),
                (_, true) => ("   ", if line + 1 == branch.len() { "└─ " } else { "├─ " }),
            };
            text.push_str(&format!("{stem}{twig}{}\n", words.trim_end()));
        }
    }
    text
}

fn counts(status: &WscClusterStatus) -> String {
    format!(
        "{} desired, {} ready, {} registered, {} on the current template",
        status.desired_replicas, status.ready_replicas, status.registered_nodes, status.updated_replicas
    )
}

/// As the nodes say, where all do; else as the operator wrote it, which may be half a minute old.
fn connections(status: &WscClusterStatus, rows: &[NodeRow]) -> String {
    let words: Vec<_> = rows.iter().filter_map(|row| row.says.as_ref()).collect();
    if !words.is_empty() && words.len() == rows.len() {
        let (open, most) = words
            .iter()
            .fold((0, 0), |(open, most), word| (open + word.connections, most + word.max_connections));
        return format!("{open} of {most}");
    }
    format!("{} of {} when last written", status.connections.total, status.connections.capacity)
}

fn operation(status: &WscClusterStatus) -> String {
    let Some(operation) = &status.operation else {
        return "none".to_owned();
    };
    let message = Some(operation.message.as_str()).filter(|message| !message.is_empty());
    format!(
        "{:?} {} of {} since {}{}",
        operation.type_,
        operation.done,
        operation.total,
        operation.started_at.0,
        message.map(|message| format!(": {message}")).unwrap_or_default()
    )
}

fn state_of(row: &NodeRow) -> &str {
    row.state.as_deref().or(row.says.as_ref().map(|word| word.phase.as_str())).unwrap_or(&row.pod)
}

fn node_line(row: &NodeRow) -> String {
    let mut line = format!("{}  {:<12}", row.name, state_of(row));
    match (&row.says, &row.silent) {
        (Some(word), _) => {
            line.push_str(&format!(" {} of {} connections", word.connections, word.max_connections));
        }
        (None, Some(why)) => line.push_str(&format!(" silent: {why}")),
        (None, None) => line.push_str(&format!(" pod {}", row.pod)),
    }
    if let Some(drain) = row.says.as_ref().and_then(|word| word.drain.as_ref()) {
        line.push_str(&format!(", drain {} has {} to go", drain.id, drain.remaining));
    }
    line
}

/// The table of `nodes`.
#[must_use]
pub fn nodes(rows: &[NodeRow]) -> Answer {
    let cells: Vec<[String; 9]> = rows
        .iter()
        .map(|row| {
            let word = row.says.as_ref();
            let drain = word.and_then(|word| word.drain.as_ref());
            [
                row.name.clone(),
                row.state.clone().unwrap_or_default(),
                row.pod.clone(),
                word.map(|word| word.phase.clone()).unwrap_or_default(),
                word.map(|word| word.connections.to_string()).unwrap_or_default(),
                word.map(|word| word.redis.clone()).unwrap_or_default(),
                drain.map(|drain| format!("{}, {} to go", drain.id, drain.remaining)).unwrap_or_default(),
                row.machine.clone().unwrap_or_default(),
                row.revision.clone().unwrap_or_default(),
            ]
        })
        .collect();
    let header = ["NODE", "STATE", "POD", "PHASE", "CONNECTIONS", "REDIS", "DRAIN", "MACHINE", "REVISION"];
    let mut text = if rows.is_empty() { "no nodes\n".to_owned() } else { table(header, &cells) };
    for row in rows {
        if let Some(why) = &row.silent {
            text.push_str(&format!("{} is silent: {why}\n", row.name));
        }
    }
    Answer { text, json: json!({ "nodes": rows }) }
}

/// What the reader should do, in one sentence: the gravest condition's own words, since each says what helps.
#[must_use]
pub fn next_action(cluster: &WscCluster, rows: &[NodeRow]) -> String {
    let status = cluster.status.clone().unwrap_or_default();
    if cluster.annotations().get("wsc.dev/reconcile").is_some_and(|value| value == "disabled") {
        return "the operator only looks on: remove the annotation wsc.dev/reconcile when it should act again".to_owned();
    }
    if status.observed_generation < cluster.metadata.generation.unwrap_or_default() {
        return "the operator has not read the newest spec; if this stays so, is it running? kubectl get pods -A -l \
                app.kubernetes.io/name=wsc-operator"
            .to_owned();
    }
    let is = |type_: &str, wanted: ConditionStatus| {
        find(&status.conditions, type_).filter(|condition| condition.status == wanted.as_str())
    };
    let faults = [
        is(conditions::SPEC_VALID, ConditionStatus::False),
        is(conditions::STALLED, ConditionStatus::True),
        is(conditions::REDIS_READY, ConditionStatus::False),
        is(conditions::DEGRADED, ConditionStatus::True),
        is(conditions::EXPOSURE_READY, ConditionStatus::False),
        is(conditions::PROGRESSING, ConditionStatus::True).filter(|_| status.operation.is_some()),
    ];
    if let Some(fault) = faults.into_iter().flatten().next() {
        return format!("{} ({} is {})", fault.message, fault.type_, fault.status);
    }
    let foreign = rows.iter().find_map(|row| {
        let drain = row.says.as_ref()?.drain.as_ref()?;
        (!drain.id.starts_with("wsc-operator/")).then(|| (row.name.clone(), drain.id.clone()))
    });
    if let Some((node, id)) = foreign {
        return format!(
            "{node} drains by the order {id}, which the operator leaves alone: kubectl wsc cancel {node} takes it back"
        );
    }
    match is(conditions::READY, ConditionStatus::True) {
        Some(_) => "nothing to do".to_owned(),
        None => find(&status.conditions, conditions::READY).map_or_else(
            || "the operator has said nothing about it yet".to_owned(),
            |ready| format!("{} (Ready is {})", ready.message, ready.status),
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Value, json};

    use super::{next_action, nodes, tree};
    use crate::api::WscCluster;
    use crate::kubectl::survey::tests::{pod, says};
    use crate::kubectl::survey::{NodeRow, rows};

    fn cluster(conditions: &[(&str, &str, &str)], change: &Value) -> WscCluster {
        let conditions: Vec<Value> = conditions
            .iter()
            .map(|(type_, status, message)| {
                json!({"type": type_, "status": status, "reason": "Why", "message": message,
                       "lastTransitionTime": "2026-01-01T00:00:00Z"})
            })
            .collect();
        let mut object = json!({
            "apiVersion": "wsc.dev/v1alpha1", "kind": "WscCluster",
            "metadata": {"name": "chat", "namespace": "demo", "generation": 4},
            "spec": {"redis": {"managed": {}}},
            "status": {
                "observedGeneration": 4, "phase": "Ready", "desiredReplicas": 2, "readyReplicas": 2,
                "updatedReplicas": 1, "registeredNodes": 2, "connections": {"total": 5, "capacity": 100_000},
                "endpoints": {"internal": "ws://chat.demo.svc:80/ws"}, "conditions": conditions,
                "nodes": [{"name": "chat-0", "state": "Active"}, {"name": "chat-1", "state": "Draining"}]
            }
        });
        for (key, value) in change.as_object().into_iter().flatten() {
            object["status"][key] = value.clone();
        }
        serde_json::from_value(object).unwrap()
    }

    fn seen(cluster: &WscCluster, drain: Option<(&str, u64)>) -> Vec<NodeRow> {
        let words = BTreeMap::from([
            ("chat-0".to_owned(), Ok(says(12, None))),
            ("chat-1".to_owned(), Ok(says(3, drain))),
        ]);
        rows(cluster.status.as_ref().unwrap(), &[pod("chat-0"), pod("chat-1")], &words)
    }

    #[test]
    fn the_tree_shows_operation_nodes_conditions_and_the_next_step() {
        let operation = json!({"operation": {
            "id": "o1", "type": "Rollout", "pods": [{"name": "chat-1", "uid": "u", "step": "Drain"}],
            "done": 1, "total": 2, "startedAt": "2026-01-01T00:00:00Z", "message": "chat-1 has 3 connections left"
        }});
        let cluster =
            cluster(&[("Ready", "False", "rolling"), ("Progressing", "True", "wait for chat-1")], &operation);
        let answer = tree(&cluster, &seen(&cluster, Some(("wsc-operator/o1", 3))));
        for line in [
            "demo/chat  Ready\n├─ Nodes        2 desired, 2 ready, 2 registered, 1 on the current template\n",
            "│  ├─ chat-0  Active       12 of 50000 connections\n",
            "│  └─ chat-1  Draining     3 of 50000 connections, drain wsc-operator/o1 has 3 to go\n",
            "├─ Connections  15 of 100000\n",
            "├─ Operation    Rollout 1 of 2 since 2026-01-01T00:00:00Z: chat-1 has 3 connections left\n│  └─ chat-1  Drain\n",
            "   └─ Progressing        True    Why: wait for chat-1\n",
            "Next: wait for chat-1 (Progressing is True)\n",
        ] {
            assert!(answer.text.contains(line), "{line} is missing in\n{}", answer.text);
        }
        assert_eq!(answer.json["nodes"][1]["says"]["drain"]["remaining"], 3);
        assert_eq!(answer.json["operation"]["type"], "Rollout");
    }

    /// Conditions (type, status, message), changes of the status, a drain, a part of the sentence.
    type Case = (
        &'static [(&'static str, &'static str, &'static str)],
        Value,
        Option<(&'static str, u64)>,
        &'static str,
    );

    #[test]
    fn the_next_step_is_the_gravest_conditions_own_sentence() {
        const FINE: &[(&str, &str, &str)] = &[("Ready", "True", "all is well")];
        let cases: [Case; 7] = [
            (FINE, json!({}), None, "nothing to do"),
            (FINE, json!({"observedGeneration": 3}), None, "is it running?"),
            (FINE, json!({}), Some(("kubectl-wsc/1", 3)), "kubectl wsc cancel chat-1"),
            (FINE, json!({}), Some(("wsc-operator/1", 3)), "nothing to do"),
            (&[("Ready", "False", "a pod is missing")], json!({}), None, "a pod is missing (Ready is False)"),
            (
                &[("Degraded", "True", "bad image"), ("RedisReady", "False", "wrong password")],
                json!({}),
                None,
                "wrong password (RedisReady is False)",
            ),
            (&[], json!({}), None, "said nothing"),
        ];
        for (conditions, change, drain, wanted) in cases {
            let cluster = cluster(conditions, &change);
            let next = next_action(&cluster, &seen(&cluster, drain));
            assert!(next.contains(wanted), "{conditions:?}: {next}");
        }
    }

    #[test]
    fn silent_nodes_are_listed_with_the_reason() {
        let cluster = cluster(&[], &json!({}));
        let words = BTreeMap::from([("chat-0".to_owned(), Err("no answer within 5 s".to_owned()))]);
        let answer = nodes(&rows(cluster.status.as_ref().unwrap(), &[pod("chat-0")], &words));
        assert!(answer.text.contains("chat-0 is silent: no answer within 5 s"), "{}", answer.text);
        assert!(answer.text.contains("chat-1   Draining   Missing"), "{}", answer.text);
        assert_eq!(answer.json["nodes"][0]["silent"], "no answer within 5 s");
    }
}
