//! Which nodes run with the hot settings that the spec asks for, by their own word.

use super::pod::HubPod;
use super::world::World;

/// How far the hot settings have come.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AppliedSettings {
    /// Pods whose hub answers and has other settings, by ordinal.
    pub lagging: Vec<HubPod>,
    /// Names of those among them that refuse the file they have, with the hub's sentence.
    pub refused: Vec<(String, String)>,
}

impl AppliedSettings {
    /// Judges the pods with ordinals below `replicas` by the hash that each should report. Pods that do not answer or
    /// are about to end are left to the other verdicts.
    #[must_use]
    pub fn judge(world: &World, replicas: i32, wanted: &str) -> Self {
        let mut found = Self::default();
        let pods = world.pods.iter().filter(|pod| pod.ordinal < replicas && !pod.terminating);
        for pod in pods {
            let Some(report) = world.hubs.get(&pod.uid).and_then(|view| view.report()) else {
                continue;
            };
            if report.hot_hash.as_deref() == Some(wanted) && report.hot_error.is_none() {
                continue;
            }
            found.lagging.push(pod.clone());
            found.refused.extend(report.hot_error.clone().map(|error| (pod.name.clone(), error)));
        }
        found
    }
}
