//! Hot settings on their way to the nodes: what is said about it.

use crate::api::conditions::reasons;
use crate::desired;
use crate::observed::applied_settings::AppliedSettings;

use super::verdicts::{Findings, Verdict};

/// Nodes named in a message at most.
const NAMED: usize = 5;

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
