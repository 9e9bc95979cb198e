//! What every node of a cluster says about itself, beside what the operator and Kubernetes say.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt as _;
use http::Method;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::timeout;

use crate::api::WscCluster;
use crate::api::status::WscClusterStatus;

use super::error::KubectlError;
use super::hub_call::HubDoor;
use super::place::Place;

/// Nodes asked at the same time.
const AT_ONCE: usize = 16;
/// A node that takes longer is shown as silent, so that one of them does not hold up the others.
const PATIENCE: Duration = Duration::from_secs(5);

/// A drain as the node reports it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Draining {
    /// Who ordered it.
    pub id: String,
    /// When all connections are to be gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<String>,
    /// Connections that are not gone.
    #[serde(default)]
    pub remaining: u64,
    /// Connections closed.
    #[serde(default)]
    pub closed: u64,
}

/// What a node says about itself. Fields that it does not send keep their defaults.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeWord {
    /// `starting`, `active`, `draining` or `closed`.
    pub phase: String,
    /// Whether it holds its lease.
    #[serde(default)]
    pub registered: bool,
    /// Redis as it sees it.
    #[serde(default)]
    pub redis: String,
    /// Open connections.
    #[serde(default)]
    pub connections: u64,
    /// Connections it takes at most.
    #[serde(default)]
    pub max_connections: u64,
    /// Its id.
    #[serde(default)]
    pub node_id: String,
    /// Which life of it.
    #[serde(default)]
    pub incarnation: String,
    /// Release.
    #[serde(default)]
    pub version: String,
    /// The drain, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<Draining>,
}

/// One node as everybody sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeRow {
    /// Pod and node.
    pub name: String,
    /// As the operator says; absent while it has not said anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Revision of the pod template.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// Phase of the pod, or Missing.
    pub pod: String,
    /// Kubernetes node that it runs on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
    /// What it says itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub says: Option<NodeWord>,
    /// Why it says nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub silent: Option<String>,
}

/// Asks every pod. A cluster whose key may not be read gets silent rows with that reason.
pub async fn ask(
    place: &Place,
    cluster: &WscCluster,
    pods: &[Pod],
) -> BTreeMap<String, Result<NodeWord, String>> {
    let names = pods.iter().map(kube::ResourceExt::name_any);
    let door = match place.api_key(cluster, true).await {
        Ok(key) => HubDoor::new(place.api(), key),
        Err(error) => return names.map(|name| (name, Err(error.to_string()))).collect(),
    };
    futures::stream::iter(names)
        .map(|name| {
            let door = door.clone();
            async move {
                let word = timeout(PATIENCE, word(&door, &name)).await;
                let word = match word {
                    Ok(word) => word.map_err(|error| error.to_string()),
                    Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
                };
                (name, word)
            }
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await
}

/// What one node says.
///
/// # Errors
/// When it is silent, or says something that is not understood.
pub async fn word(door: &HubDoor, pod: &str) -> Result<NodeWord, KubectlError> {
    let answer = door.json(pod, Method::GET, "/admin/status", None).await?;
    understood(pod, answer)
}

fn understood(pod: &str, answer: Value) -> Result<NodeWord, KubectlError> {
    serde_json::from_value(answer).map_err(|error| KubectlError::Silent {
        pod: pod.to_owned(),
        cause: format!("its status is not understood: {error}"),
    })
}

/// Puts the three views of the nodes together, by name: the operator's, Kubernetes', the nodes' own.
#[must_use]
pub fn rows(
    status: &WscClusterStatus,
    pods: &[Pod],
    words: &BTreeMap<String, Result<NodeWord, String>>,
) -> Vec<NodeRow> {
    let mut rows: Vec<NodeRow> = pods.iter().map(|pod| of_pod(pod, words)).collect();
    for node in &status.nodes {
        let revision = Some(node.revision.clone()).filter(|revision| !revision.is_empty());
        let state = Some(format!("{:?}", node.state));
        match rows.iter_mut().find(|row| row.name == node.name) {
            Some(row) => {
                row.state = state;
                row.revision = revision.or(row.revision.take());
            }
            None => rows.push(NodeRow {
                name: node.name.clone(),
                state,
                revision,
                pod: "Missing".to_owned(),
                machine: None,
                says: None,
                silent: None,
            }),
        }
    }
    rows.sort_by_key(|row| (row.name.len(), row.name.clone()));
    rows
}

fn of_pod(pod: &Pod, words: &BTreeMap<String, Result<NodeWord, String>>) -> NodeRow {
    let name = pod.name_any();
    let word = words.get(&name);
    let phase = pod.status.as_ref().and_then(|status| status.phase.clone());
    let ending = pod.metadata.deletion_timestamp.is_some();
    NodeRow {
        state: None,
        revision: pod.labels().get("controller-revision-hash").cloned(),
        pod: if ending { "Terminating".to_owned() } else { phase.unwrap_or_else(|| "Unknown".to_owned()) },
        machine: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
        says: word.and_then(|word| word.as_ref().ok()).cloned(),
        silent: word.and_then(|word| word.as_ref().err()).cloned(),
        name,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;

    use k8s_openapi::api::core::v1::Pod;
    use serde_json::json;

    use super::{NodeWord, rows, understood};
    use crate::api::status::WscClusterStatus;

    pub(in crate::kubectl) fn says(connections: u64, drain: Option<(&str, u64)>) -> NodeWord {
        let drain = drain.map(|(id, remaining)| json!({"id": id, "remaining": remaining}));
        let phase = if drain.is_some() { "draining" } else { "active" };
        understood(
            "p",
            json!({"phase": phase, "connections": connections, "max_connections": 50_000, "drain": drain}),
        )
        .unwrap()
    }

    pub(in crate::kubectl) fn pod(name: &str) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": name, "labels": {"controller-revision-hash": "chat-1"}},
            "spec": {"nodeName": "n1", "containers": []}, "status": {"phase": "Running"}
        }))
        .unwrap()
    }

    #[test]
    fn the_three_views_meet_by_name_and_none_is_lost() {
        let status: WscClusterStatus = serde_json::from_value(json!({
            "nodes": [{"name": "chat-9", "state": "Unknown"}, {"name": "chat-0", "state": "Active", "revision": "chat-2"}]
        }))
        .unwrap();
        let words = BTreeMap::from([
            ("chat-0".to_owned(), Ok(says(7, None))),
            ("chat-10".to_owned(), Err("no answer".to_owned())),
        ]);
        let rows = rows(&status, &[pod("chat-10"), pod("chat-0")], &words);
        let seen: Vec<_> = rows
            .iter()
            .map(|row| {
                let connections = row.says.as_ref().map(|word| word.connections);
                (row.name.as_str(), row.state.as_deref(), row.pod.as_str(), connections, row.silent.is_some())
            })
            .collect();
        assert_eq!(
            seen,
            [
                ("chat-0", Some("Active"), "Running", Some(7), false),
                ("chat-9", Some("Unknown"), "Missing", None, false),
                ("chat-10", None, "Running", None, true),
            ]
        );
        assert_eq!(rows[0].revision.as_deref(), Some("chat-2"));
    }
}
