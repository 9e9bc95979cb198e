//! `restart` and `rebalance`: annotations that the operator acts upon.

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::api::WscCluster;
use crate::desired::{labels, names};

use super::answer::Answer;
use super::error::KubectlError;
use super::place::Place;

/// Annotation that orders a rebalance; its value names the run.
pub const REBALANCE: &str = "wsc.dev/rebalance";
/// Longest name of a run, in characters.
const LONGEST_RUN: usize = 63;

/// Has all pods replaced, one after the other.
///
/// # Errors
/// When the resource may not be changed.
pub async fn restart(place: &Place, cluster: &WscCluster) -> Result<Answer, KubectlError> {
    let value = Timestamp::now().to_string();
    annotate(place, cluster, labels::RESTART, &value).await?;
    Ok(asked(cluster, "a restart of all pods, one after the other,", labels::RESTART, &value))
}

/// Has full nodes close what they hold above the mean, once for each run id.
///
/// # Errors
/// When the run's name cannot be one, or the resource may not be changed.
pub async fn rebalance(
    place: &Place,
    cluster: &WscCluster,
    id: Option<&str>,
) -> Result<Answer, KubectlError> {
    let value = match id {
        Some(id) if id.is_empty() || id.len() > LONGEST_RUN || id.contains(char::is_control) => {
            return Err(KubectlError::Usage(format!("--id takes 1 to {LONGEST_RUN} characters")));
        }
        Some(id) => id.to_owned(),
        None => Timestamp::now().to_string(),
    };
    if cluster.annotations().get(REBALANCE) == Some(&value) {
        return Err(KubectlError::NotNow(format!(
            "the run {value} was ordered before; another --id orders another"
        )));
    }
    annotate(place, cluster, REBALANCE, &value).await?;
    Ok(asked(cluster, "a rebalance", REBALANCE, &value))
}

async fn annotate(place: &Place, cluster: &WscCluster, key: &str, value: &str) -> Result<(), KubectlError> {
    let name = names::cluster(cluster);
    let patch = json!({"metadata": {"annotations": {key: value}}});
    let parameters = PatchParams { field_manager: Some("kubectl-wsc".to_owned()), ..PatchParams::default() };
    place
        .api::<WscCluster>()
        .patch(name, &parameters, &Patch::Merge(&patch))
        .await
        .map(|_| ())
        .map_err(KubectlError::api(format!("annotating WscCluster {name}")))
}

fn asked(cluster: &WscCluster, what: &str, key: &str, value: &str) -> Answer {
    let name = names::cluster(cluster);
    let mut text = format!("{what} is ordered; watch it with `kubectl wsc status {name}`\n");
    if let Some(why) = standstill(cluster) {
        text.push_str(&format!("it waits: {why}\n"));
    }
    Answer {
        text,
        json: json!({"name": name, "annotation": key, "value": value, "waits": standstill(cluster)}),
    }
}

fn standstill(cluster: &WscCluster) -> Option<&'static str> {
    let disabled = cluster.annotations().get("wsc.dev/reconcile").is_some_and(|value| value == "disabled");
    if disabled {
        Some("the annotation wsc.dev/reconcile is disabled")
    } else if cluster.spec.paused {
        Some("spec.paused is true")
    } else if cluster.spec.stopped {
        Some("spec.stopped is true")
    } else {
        None
    }
}
