//! Kubelets are hurried to bring changed settings and keys.
//!
//! A mounted ConfigMap or Secret reaches a pod when the kubelet looks at the pod again, within a minute or so. A changed
//! annotation makes it look at once.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;

use crate::observed::pod::HubPod;

use super::apply::FIELD_MANAGER;
use super::error::{ReconcileError, status_code};
use super::hot_settings;
use super::memory::ClusterMemory;
use super::pass::Pass;
use super::secrets::Secrets;
use super::verdicts::Findings;

/// Annotation on a hub pod; its value is when it was hurried.
const HURRY: &str = "wsc.dev/hurried-at";

/// The kubelet may look before its own watch has brought the change; then it is hurried again.
const AGAIN_AFTER: Duration = Duration::from_secs(10);

/// What is remembered of it.
#[derive(Debug, Default)]
pub struct Hurried {
    /// When the pods that lag were hurried, by UID.
    pods: BTreeMap<String, Instant>,
    /// The Secrets as they were at the last look; none before the first.
    secrets: Option<BTreeMap<String, String>>,
}

impl Hurried {
    /// Whether a Secret is another than at the last look.
    fn secrets_changed(&mut self, versions: &BTreeMap<String, String>) -> bool {
        self.secrets.replace(versions.clone()).is_some_and(|before| before != *versions)
    }

    /// Whether a pod that lags is to be hurried now.
    fn is_due(&self, uid: &str, now: Instant) -> bool {
        self.pods.get(uid).is_none_or(|at| now.duration_since(*at) >= AGAIN_AFTER)
    }
}

impl Pass<'_> {
    /// Hurries the kubelets of all pods once when a Secret changed, and of those that lag behind the hot settings every
    /// few seconds. A node that refuses the settings has them.
    ///
    /// # Errors
    /// When the API server cannot be reached.
    pub(super) async fn hurry(
        &self,
        findings: &Findings<'_>,
        secrets: &Secrets,
        memory: &mut ClusterMemory,
    ) -> Result<(), ReconcileError> {
        if self.standstill.is_some() || !findings.faults.is_empty() {
            return Ok(());
        }
        let now = Instant::now();
        let hurried = &mut memory.hurried;
        let applied = hot_settings::applied(findings);
        hurried.pods.retain(|uid, _| applied.lagging.iter().any(|pod| &pod.uid == uid));
        let keys_changed = hurried.secrets_changed(&secrets.versions);
        let lags = |pod: &HubPod| {
            applied.lagging.iter().any(|other| other.uid == pod.uid)
                && !applied.refused.iter().any(|(name, _)| name == &pod.name)
        };
        for pod in findings.world.pods.iter().filter(|pod| pod.running && !pod.terminating) {
            let lags = lags(pod);
            if keys_changed || (lags && hurried.is_due(&pod.uid, now)) {
                self.annotate(pod).await?;
                if lags {
                    hurried.pods.insert(pod.uid.clone(), now);
                }
            }
        }
        Ok(())
    }

    async fn annotate(&self, pod: &HubPod) -> Result<(), ReconcileError> {
        let api: Api<Pod> = Api::namespaced(self.applier.client.clone(), self.applier.namespace);
        let now = Timestamp::now().to_string();
        let patch = json!({"metadata": {"uid": pod.uid, "annotations": {HURRY: now}}});
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        self.applier.metrics.wrote("patch", "Pod");
        match api.patch_metadata(&pod.name, &params, &Patch::Merge(&patch)).await {
            Ok(_) => Ok(()),
            // Another pod has the name by now, or the right is missing: then it takes a minute.
            Err(error) if matches!(status_code(&error), Some(403 | 404 | 409 | 422)) => {
                tracing::debug!(pod = pod.name, "not hurried: {error}");
                Ok(())
            }
            Err(error) => Err(ReconcileError::api(format!("annotating pod {}", pod.name))(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::{Duration, Instant};

    use super::Hurried;

    #[test]
    fn the_first_look_at_the_secrets_hurries_nobody_and_a_change_does_once() {
        let mut hurried = Hurried::default();
        let versions = |version: &str| BTreeMap::from([("chat-api".to_owned(), version.to_owned())]);
        let looks = ["1", "1", "2", "2"].map(|version| hurried.secrets_changed(&versions(version)));
        assert_eq!(looks, [false, false, true, false]);
    }

    #[test]
    fn a_pod_that_lags_is_hurried_at_once_and_again_after_a_while() {
        let mut hurried = Hurried::default();
        let now = Instant::now();
        assert!(hurried.is_due("uid", now));
        hurried.pods.insert("uid".to_owned(), now);
        assert!(!hurried.is_due("uid", now + Duration::from_secs(9)));
        assert!(hurried.is_due("uid", now + Duration::from_secs(10)));
    }
}
