//! Hot settings on their way to the nodes: what is said about it, and what hurries it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;

use crate::api::conditions::reasons;
use crate::desired;
use crate::observed::applied_settings::AppliedSettings;

use super::apply::FIELD_MANAGER;
use super::error::{ReconcileError, status_code};
use super::pass::Pass;
use super::verdicts::{Findings, Verdict};

/// Annotation on a hub pod: a new value makes the kubelet look at the pod, and so at its ConfigMap, at once instead of
/// within a minute or so.
const HURRY: &str = "wsc.dev/hot-settings";

/// The kubelet may look before its own watch has brought the ConfigMap; then it is hurried again.
const HURRY_EVERY: Duration = Duration::from_secs(10);

/// Nodes named in a message at most.
const NAMED: usize = 5;

/// Which pods were hurried, and when: by pod UID.
pub type Hurried = BTreeMap<String, Instant>;

/// How far the hot settings have come; nothing lags where the spec has none that can be written.
pub(super) fn applied(findings: &Findings<'_>) -> AppliedSettings {
    let wanted = desired::hot_hash(findings.cluster);
    wanted.map_or_else(
        |_| AppliedSettings::default(),
        |wanted| AppliedSettings::judge(findings.world, findings.wish.replicas, &wanted),
    )
}

/// What is said while some nodes run with other hot settings than the spec's.
pub(super) fn progressing(applied: &AppliedSettings, replicas: i32) -> Option<Verdict> {
    let lagging = applied.lagging.len();
    (lagging > 0).then(|| {
        let named: Vec<&str> = applied.lagging.iter().take(NAMED).map(|pod| pod.name.as_str()).collect();
        Verdict::new(
            true,
            reasons::APPLYING_SETTINGS,
            format!(
                "{lagging} of {replicas} nodes ({}{}) do not have the changed settings yet; the kubelet brings them within about a minute",
                named.join(", "),
                if lagging > NAMED { ", .." } else { "" }
            ),
        )
    })
}

/// What is said when a node refuses them.
pub(super) fn refused(applied: &AppliedSettings) -> Option<Verdict> {
    let (node, error) = applied.refused.first()?;
    Some(Verdict::new(
        true,
        reasons::SETTINGS_REFUSED,
        format!(
            "{} of the nodes keep their earlier settings; {node} says: {error}; correct the spec, they are applied without a restart",
            applied.refused.len()
        ),
    ))
}

impl Pass<'_> {
    /// Hurries the kubelets of the nodes that lag. Pods that are gone are forgotten.
    ///
    /// # Errors
    /// When the API server cannot be reached.
    pub(super) async fn hurry(
        &self,
        applied: &AppliedSettings,
        hurried: &mut Hurried,
    ) -> Result<(), ReconcileError> {
        hurried.retain(|uid, _| applied.lagging.iter().any(|pod| &pod.uid == uid));
        let now = Instant::now();
        let api: Api<Pod> = Api::namespaced(self.applier.client.clone(), self.applier.namespace);
        let due = |uid: &str| hurried.get(uid).is_none_or(|at| now.duration_since(*at) >= HURRY_EVERY);
        let pods: Vec<_> = applied
            .lagging
            .iter()
            .filter(|pod| due(&pod.uid) && !applied.refused.iter().any(|(name, _)| name == &pod.name))
            .collect();
        for pod in pods {
            let value = k8s_openapi::jiff::Timestamp::now().to_string();
            let patch = json!({"metadata": {"uid": pod.uid, "annotations": {HURRY: value}}});
            let params =
                PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
            self.applier.metrics.wrote("patch", "Pod");
            match api.patch_metadata(&pod.name, &params, &Patch::Merge(&patch)).await {
                Ok(_) => {}
                // Another pod has the name by now, or the right is missing: then it takes a minute.
                Err(error) if matches!(status_code(&error), Some(403 | 404 | 409 | 422)) => {
                    tracing::debug!(pod = pod.name, "not hurried: {error}");
                }
                Err(error) => {
                    return Err(ReconcileError::api(format!("annotating pod {}", pod.name))(error));
                }
            }
            hurried.insert(pod.uid.clone(), now);
        }
        Ok(())
    }
}
